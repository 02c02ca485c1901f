//! The cache of replies: a call that is sent again gets the reply of its first time, or none while that is under way.
//!
//! A call is the same where client address and port, xid, procedure, caller and arguments are (these last by a keyed
//! checksum). The port is part of it, as in the server of Linux: clients come back from their old port, and two short-lived
//! programs on one machine that count their xids from the same start are not taken for one. Bounded in both classes: names
//! do not lose their replies to a stream of writes. Where a class is full, the address with the most replies in it loses its
//! oldest: no client loses one to a client that keeps more than it does.
//!
//! A call on names leaves a receipt with its change ([`crate::receipts`]): after a restart it is known to be carried out, and
//! a repeat is answered from what is there then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use fs_api::Receipt;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Auth, Body};
use parking_lot::Mutex;

use crate::handle::HandleKey;
use crate::protocol::Procedure;
use crate::protocol::status::Status;
use crate::receipts::{self, Slots};

/// Completed replies kept per class, of all clients together. A reply is below 400 bytes: 4 MiB in all.
const REPLIES_MAX: usize = 8192;
/// Calls under way that are followed; above this a repeat is carried out.
const IN_PROGRESS_MAX: usize = 16_384;
/// Bytes of arguments that go into the checksum: all of a call on names, the head of a write.
const CHECKED_BYTES_MAX: usize = 2048;

/// What makes two calls the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) address: u128,
    pub(crate) port: u16,
    pub(crate) xid: u32,
    pub(crate) procedure: u32,
    pub(crate) checksum: u64,
}

enum State {
    InProgress,
    /// With the slot of its receipt, where it changed something.
    Completed(Bytes, Option<u32>),
    /// Carried out before the service was started, as its receipt in this slot says.
    CarriedOut(u32),
}

#[derive(Default)]
struct Replies {
    calls: BTreeMap<Key, State>,
    in_progress: usize,
    /// Calls on names, and writes.
    completed: [Completed; 2],
    slots: Slots,
}

/// The order in which one class loses its replies.
#[derive(Default)]
struct Completed {
    /// By address, oldest first; none is empty.
    clients: BTreeMap<u128, VecDeque<Key>>,
    /// How many replies each address has: the largest is at the end.
    lengths: BTreeSet<(usize, u128)>,
    total: usize,
}

/// What to do with a call.
pub(crate) enum Turn {
    First(Ticket),
    InProgress,
    Answered(Body),
    /// It was carried out in an earlier life of the service, which took the reply with it.
    CarriedOut,
    Untracked,
}

pub(crate) struct DuplicateCache {
    replies: Arc<Mutex<Replies>>,
    key: HandleKey,
}

impl DuplicateCache {
    /// A cache that knows the calls of an earlier life by their receipts. What is no receipt of this door is passed over.
    pub(crate) fn new(key: HandleKey, receipts: &[Receipt]) -> Self {
        let mut found: Vec<(u64, Key, u32)> = receipts
            .iter()
            .filter_map(|receipt| receipts::parse(&receipt.bytes).map(|(number, key)| (number, key, receipt.slot)))
            .collect();
        found.sort_unstable();
        let mut replies = Replies { slots: Slots::behind(&found), ..Replies::default() };
        for (_, key, slot) in found {
            match replies.calls.insert(key, State::CarriedOut(slot)) {
                // It has its place in the order already.
                Some(State::CarriedOut(older)) => replies.slots.give_back(older),
                _ => replies.remember(key),
            }
        }
        Self { replies: Arc::new(Mutex::new(replies)), key }
    }

    pub(crate) fn turn(&self, xid: u32, procedure: Procedure, peer: SocketAddr, auth: &Auth, args: &Decoder) -> Turn {
        let checksum = self.checksum(auth, args);
        let key = Key { address: wide(peer.ip()), port: peer.port(), xid, procedure: procedure as u32, checksum };
        let mut replies = self.replies.lock();
        match replies.calls.get(&key) {
            Some(State::InProgress) => return Turn::InProgress,
            Some(State::Completed(reply, _)) => return Turn::Answered(body(reply)),
            Some(State::CarriedOut(_)) => return Turn::CarriedOut,
            None => {}
        }
        if replies.in_progress >= IN_PROGRESS_MAX {
            return Turn::Untracked;
        }
        replies.in_progress += 1;
        replies.calls.insert(key, State::InProgress);
        let place = (procedure != Procedure::Write).then(|| replies.slots.take());
        drop(replies);
        Turn::First(Ticket { key, place, replies: Arc::clone(&self.replies), reply: None })
    }

    fn checksum(&self, auth: &Auth, args: &Decoder) -> u64 {
        let mut hasher = self.key.hasher(b'd');
        if let Auth::Sys { uid, gid, .. } = auth {
            hasher.write(&uid.to_be_bytes());
            hasher.write(&gid.to_be_bytes());
        }
        let args = args.rest();
        hasher.write(&args.len().to_be_bytes());
        hasher.write(args.get(..CHECKED_BYTES_MAX).unwrap_or(args));
        hasher.finish()
    }
}

impl Replies {
    fn remember(&mut self, key: Key) {
        let class = usize::from(key.procedure == Procedure::Write as u32);
        let Some(completed) = self.completed.get_mut(class) else { return };
        completed.push(key);
        if completed.total > REPLIES_MAX
            && let Some(oldest) = completed.pop()
            && let Some(State::Completed(_, Some(slot)) | State::CarriedOut(slot)) = self.calls.remove(&oldest)
        {
            self.slots.give_back(slot);
        }
    }
}

impl Completed {
    fn push(&mut self, key: Key) {
        let queue = self.clients.entry(key.address).or_default();
        self.lengths.remove(&(queue.len(), key.address));
        queue.push_back(key);
        self.lengths.insert((queue.len(), key.address));
        self.total += 1;
    }

    /// The oldest of the address that has the most.
    fn pop(&mut self) -> Option<Key> {
        let (length, address) = self.lengths.pop_last()?;
        let queue = self.clients.get_mut(&address)?;
        let oldest = queue.pop_front();
        if length > 1 {
            self.lengths.insert((length - 1, address));
        } else {
            self.clients.remove(&address);
        }
        self.total -= 1;
        oldest
    }
}

/// The right to carry out a call. Dropped without a reply (a refusal, a cancelled call) the call is forgotten.
pub(crate) struct Ticket {
    key: Key,
    /// Slot and number of its receipt, where it has one.
    place: Option<(u32, u64)>,
    replies: Arc<Mutex<Replies>>,
    reply: Option<Bytes>,
}

impl Ticket {
    /// What has to be stored with the change that the call makes.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        self.place.map(|(slot, number)| Receipt { slot, bytes: receipts::receipt(&self.key, number) })
    }

    pub(crate) fn complete(mut self, body: &Body) {
        self.reply = Some(body.to_bytes());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut replies = self.replies.lock();
        replies.in_progress -= 1;
        let slot = self.place.map(|(slot, _)| slot);
        match self.reply.take() {
            Some(reply) => {
                // A failure changed nothing, and leaves no receipt.
                let done = reply.starts_with(&(Status::Ok as u32).to_be_bytes());
                if let Some(slot) = slot.filter(|_| !done) {
                    replies.slots.give_back(slot);
                }
                replies.calls.insert(self.key, State::Completed(reply, slot.filter(|_| done)));
                replies.remember(self.key);
            }
            None => {
                replies.calls.remove(&self.key);
                if let Some(slot) = slot {
                    replies.slots.give_back(slot);
                }
            }
        }
    }
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

/// A reply is a multiple of four bytes, so that nothing is padded.
fn body(reply: &Bytes) -> Body {
    let mut out = Encoder::new();
    out.fixed(reply);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 700);

    fn turn(cache: &DuplicateCache, xid: u32, procedure: Procedure) -> Turn {
        turn_of(cache, PEER, xid, procedure)
    }

    fn turn_of(cache: &DuplicateCache, peer: SocketAddr, xid: u32, procedure: Procedure) -> Turn {
        cache.turn(xid, procedure, peer, &Auth::None, &Decoder::new(Bytes::from_static(b"args")))
    }

    fn neighbour(number: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], port))
    }

    fn complete(turn: Turn, status: u32) {
        let Turn::First(ticket) = turn else { panic!("the call is new") };
        let mut reply = Encoder::new();
        reply.u32(status);
        ticket.complete(&reply.finish());
    }

    #[test]
    fn h47_a_repeat_under_way_is_dropped_and_a_call_that_was_given_up_is_new_again() {
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), &[]);
        let first = turn(&cache, 1, Procedure::Remove);
        assert!(matches!(turn(&cache, 1, Procedure::Remove), Turn::InProgress));
        drop(first);
        complete(turn(&cache, 1, Procedure::Remove), 2);
        let Turn::Answered(reply) = turn(&cache, 1, Procedure::Remove) else { panic!("it has its reply") };
        assert_eq!(reply.to_bytes()[..], [0, 0, 0, 2]);
    }

    #[test]
    fn replies_are_bounded_and_writes_do_not_push_out_names() {
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), &[]);
        complete(turn(&cache, 0, Procedure::Remove), 0);
        for xid in 1..=3 * REPLIES_MAX as u32 {
            complete(turn(&cache, xid, Procedure::Write), 0);
        }
        assert_eq!(cache.replies.lock().calls.len(), REPLIES_MAX + 1);
        assert!(matches!(turn(&cache, 0, Procedure::Remove), Turn::Answered(_)));
        assert!(matches!(turn(&cache, 1, Procedure::Write), Turn::First(_)));
    }

    #[test]
    fn h47_a_busy_client_does_not_push_out_the_replies_of_another() {
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), &[]);
        for xid in 0..1024 {
            complete(turn_of(&cache, neighbour(1, 700), xid, Procedure::Remove), xid);
        }
        // From many ports, which make it no more than one client.
        for xid in 0..2 * REPLIES_MAX as u32 {
            complete(turn_of(&cache, neighbour(2, xid as u16), xid, Procedure::Remove), 0);
        }
        for xid in 0..1024 {
            let Turn::Answered(reply) = turn_of(&cache, neighbour(1, 700), xid, Procedure::Remove) else {
                panic!("reply {xid} is gone")
            };
            assert_eq!(reply.to_bytes()[..], xid.to_be_bytes());
        }
        let last = 2 * REPLIES_MAX as u32 - 1;
        assert!(matches!(turn_of(&cache, neighbour(2, last as u16), last, Procedure::Remove), Turn::Answered(_)));
        assert!(matches!(turn_of(&cache, neighbour(2, 0), 0, Procedure::Remove), Turn::First(_)));
        assert_eq!(cache.replies.lock().calls.len(), REPLIES_MAX);
    }

    #[test]
    fn replies_of_more_clients_than_there_is_room_for_stay_bounded() {
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), &[]);
        for client in 0..2 * REPLIES_MAX as u32 {
            let peer = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 | client), 700));
            complete(turn_of(&cache, peer, 1, Procedure::Remove), 0);
        }
        let replies = cache.replies.lock();
        let [names, _] = &replies.completed;
        let kept = [replies.calls.len(), names.total, names.clients.len(), names.lengths.len()];
        assert_eq!(kept, [REPLIES_MAX; 4]);
    }

    /// What the filesystem has stored in each slot, after each of `xids` was carried out in turn.
    fn carried_out(cache: &DuplicateCache, stored: &mut BTreeMap<u32, Receipt>, xids: std::ops::Range<u32>) {
        for xid in xids {
            let Turn::First(ticket) = turn(cache, xid, Procedure::Remove) else { panic!("call {xid} is new") };
            let receipt = ticket.receipt().expect("a call on names leaves one");
            stored.insert(receipt.slot, receipt);
            complete(Turn::First(ticket), 0);
        }
    }

    fn restarted(stored: &BTreeMap<u32, Receipt>) -> DuplicateCache {
        DuplicateCache::new(HandleKey::new([1; 16]), &stored.values().cloned().collect::<Vec<_>>())
    }

    #[test]
    fn h47_receipts_tell_the_latest_calls_after_any_number_of_restarts() {
        let (max, mut stored) = (REPLIES_MAX as u32, BTreeMap::new());
        let mut cache = restarted(&stored);
        for life in 0..4 {
            let (first, end) = (life * max * 3 / 2, (life + 1) * max * 3 / 2);
            carried_out(&cache, &mut stored, first..end);
            cache = restarted(&stored);
            for xid in end - max..end {
                assert!(matches!(turn(&cache, xid, Procedure::Remove), Turn::CarriedOut), "{xid} in life {life}");
            }
            assert!(stored.len() <= REPLIES_MAX + 1, "slots are used again: {}", stored.len());
        }
    }

    #[test]
    fn what_failed_or_was_given_up_leaves_its_slot_to_the_next() {
        let (cache, mut stored) = (DuplicateCache::new(HandleKey::new([1; 16]), &[]), BTreeMap::new());
        for xid in 0..100 {
            complete(turn(&cache, xid, Procedure::Remove), Status::NoEnt as u32);
            drop(turn(&cache, 1000 + xid, Procedure::Remove));
        }
        carried_out(&cache, &mut stored, 2000..2001);
        assert_eq!(stored.keys().collect::<Vec<_>>(), [&0]);
        let Turn::First(write) = turn(&cache, 1, Procedure::Write) else { panic!("it is new") };
        assert_eq!(write.receipt(), None);
    }

    #[test]
    fn a_receipt_of_something_else_is_passed_over() {
        let receipts = [Receipt { slot: 7, bytes: [1, 2, 3].into() }, Receipt { slot: 9, bytes: [].into() }];
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), &receipts);
        assert!(matches!(turn(&cache, 1, Procedure::Remove), Turn::First(_)));
    }
}

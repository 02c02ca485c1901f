//! The cache of replies: a call that is sent again gets the reply of its first time, or none while that is under way.
//!
//! A call is the same where client address and port, xid, procedure, caller and arguments are (these last by a keyed
//! checksum). The port is part of it, as in the server of Linux: clients come back from their old port, and two short-lived
//! programs on one machine that count their xids from the same start are not taken for one. Bounded in both classes: names
//! do not lose their replies to a stream of writes. Where a class is full, the address with the most replies in it loses its
//! oldest: no client loses one to a client that keeps more than it does.
//!
//! A completed reply goes to the [`ReplyJournal`] before it goes out; [`DuplicateCache::restore`] takes it back after a
//! restart. The change and the record are two steps: a crash between them leaves the change without its reply.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Auth, Body};
use parking_lot::Mutex;

use crate::handle::HandleKey;
use crate::protocol::Procedure;

/// Completed replies kept per class, of all clients together. A reply is below 400 bytes: 4 MiB in all.
const REPLIES_MAX: usize = 8192;
/// Calls under way that are followed; above this a repeat is carried out.
const IN_PROGRESS_MAX: usize = 16_384;
/// Bytes of arguments that go into the checksum: all of a call on names, the head of a write.
const CHECKED_BYTES_MAX: usize = 2048;
/// First byte of a record.
pub const RECORD_VERSION: u8 = 1;
/// Version, address, port, xid, procedure, checksum.
const RECORD_HEAD_BYTES: usize = 1 + 16 + 2 + 4 + 4 + 8;

/// Where completed replies are kept across a restart.
pub trait ReplyJournal: Send + Sync {
    /// Keeps `record`, which [`DuplicateCache::restore`] understands, or lets it go: it is a help, not a promise.
    fn completed(&self, record: Bytes);
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    address: u128,
    port: u16,
    xid: u32,
    procedure: u32,
    checksum: u64,
}

enum State {
    InProgress,
    Completed(Bytes),
}

#[derive(Default)]
struct Replies {
    calls: BTreeMap<Key, State>,
    in_progress: usize,
    /// Calls on names, and writes.
    completed: [Completed; 2],
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
    Untracked,
}

pub struct DuplicateCache {
    replies: Arc<Mutex<Replies>>,
    key: HandleKey,
    journal: Option<Arc<dyn ReplyJournal>>,
}

impl DuplicateCache {
    pub(crate) fn new(key: HandleKey, journal: Option<Arc<dyn ReplyJournal>>) -> Self {
        Self { replies: Arc::default(), key, journal }
    }

    pub(crate) fn turn(&self, xid: u32, procedure: Procedure, peer: SocketAddr, auth: &Auth, args: &Decoder) -> Turn {
        let checksum = self.checksum(auth, args);
        let key = Key { address: wide(peer.ip()), port: peer.port(), xid, procedure: procedure as u32, checksum };
        let mut replies = self.replies.lock();
        match replies.calls.get(&key) {
            Some(State::InProgress) => return Turn::InProgress,
            Some(State::Completed(reply)) => return Turn::Answered(body(reply)),
            None => {}
        }
        if replies.in_progress >= IN_PROGRESS_MAX {
            return Turn::Untracked;
        }
        replies.in_progress += 1;
        replies.calls.insert(key, State::InProgress);
        drop(replies);
        Turn::First(Ticket { key, replies: Arc::clone(&self.replies), journal: self.journal.clone(), reply: None })
    }

    /// Takes back a record of an earlier life, oldest first. False where it is none of ours.
    pub fn restore(&self, record: &[u8]) -> bool {
        let Some((key, reply)) = parse(record) else { return false };
        let mut replies = self.replies.lock();
        let known = replies.calls.insert(key, State::Completed(Bytes::copy_from_slice(reply)));
        // A record that comes twice has one place in the order, or the second would be lost with the first.
        if known.is_none() {
            replies.remember(key);
        }
        true
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
        {
            self.calls.remove(&oldest);
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
    replies: Arc<Mutex<Replies>>,
    journal: Option<Arc<dyn ReplyJournal>>,
    reply: Option<Bytes>,
}

impl Ticket {
    pub(crate) fn complete(mut self, body: &Body) {
        let reply = body.to_bytes();
        if let Some(journal) = &self.journal
            && self.key.procedure != Procedure::Write as u32
        {
            journal.completed(record(&self.key, &reply));
        }
        self.reply = Some(reply);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut replies = self.replies.lock();
        replies.in_progress -= 1;
        match self.reply.take() {
            Some(reply) => {
                replies.calls.insert(self.key, State::Completed(reply));
                replies.remember(self.key);
            }
            None => {
                replies.calls.remove(&self.key);
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

fn record(key: &Key, reply: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(RECORD_HEAD_BYTES + reply.len());
    bytes.push(RECORD_VERSION);
    bytes.extend(key.address.to_be_bytes());
    bytes.extend(key.port.to_be_bytes());
    bytes.extend(key.xid.to_be_bytes());
    bytes.extend(key.procedure.to_be_bytes());
    bytes.extend(key.checksum.to_be_bytes());
    bytes.extend(reply);
    bytes.into()
}

fn parse(record: &[u8]) -> Option<(Key, &[u8])> {
    let (version, rest) = record.split_first_chunk::<1>()?;
    let (address, rest) = rest.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (xid, rest) = rest.split_first_chunk()?;
    let (procedure, rest) = rest.split_first_chunk()?;
    let (checksum, reply) = rest.split_first_chunk()?;
    let key = Key {
        address: u128::from_be_bytes(*address),
        port: u16::from_be_bytes(*port),
        xid: u32::from_be_bytes(*xid),
        procedure: u32::from_be_bytes(*procedure),
        checksum: u64::from_be_bytes(*checksum),
    };
    let sound = *version == [RECORD_VERSION]
        && reply.len().is_multiple_of(4)
        && Procedure::from_number(key.procedure).is_some();
    sound.then_some((key, reply))
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
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), None);
        let first = turn(&cache, 1, Procedure::Remove);
        assert!(matches!(turn(&cache, 1, Procedure::Remove), Turn::InProgress));
        drop(first);
        complete(turn(&cache, 1, Procedure::Remove), 2);
        let Turn::Answered(reply) = turn(&cache, 1, Procedure::Remove) else { panic!("it has its reply") };
        assert_eq!(reply.to_bytes()[..], [0, 0, 0, 2]);
    }

    #[test]
    fn replies_are_bounded_and_writes_do_not_push_out_names() {
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), None);
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
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), None);
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
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), None);
        for client in 0..2 * REPLIES_MAX as u32 {
            let peer = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 | client), 700));
            complete(turn_of(&cache, peer, 1, Procedure::Remove), 0);
        }
        let replies = cache.replies.lock();
        let [names, _] = &replies.completed;
        let kept = [replies.calls.len(), names.total, names.clients.len(), names.lengths.len()];
        assert_eq!(kept, [REPLIES_MAX; 4]);
    }

    #[test]
    fn a_record_restored_twice_is_kept_as_one() {
        let key = Key { address: 1, port: 2, xid: 3, procedure: Procedure::Remove as u32, checksum: 5 };
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), None);
        assert!(cache.restore(&record(&key, &[0; 8])));
        assert!(cache.restore(&record(&key, &[0; 8])));
        assert_eq!(cache.replies.lock().completed[0].total, 1);
    }

    #[test]
    fn a_record_that_is_cut_or_of_another_version_is_not_taken() {
        let key = Key { address: 1, port: 2, xid: 3, procedure: Procedure::Remove as u32, checksum: 5 };
        let whole = record(&key, &[0; 8]);
        let cache = DuplicateCache::new(HandleKey::new([1; 16]), None);
        assert!(cache.restore(&whole));
        for cut in (0..RECORD_HEAD_BYTES).chain([RECORD_HEAD_BYTES + 1]) {
            assert!(!cache.restore(&whole[..cut]), "{cut}");
        }
        let newer = [&[RECORD_VERSION + 1], &whole[1..]].concat();
        assert!(!cache.restore(&newer));
    }
}

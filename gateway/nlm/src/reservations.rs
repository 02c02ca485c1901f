//! Share reservations of SHARE and UNSHARE: what clients of this protocol deny each other, as DOS programs want it. No
//! other door knows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fs_api::Ino;
use parking_lot::Mutex;

use crate::limits::NlmLimits;
use crate::protocol::Status;

/// Reservations of one file: each new one is compared with all of them.
const PER_FILE_MAX: usize = 1024;

#[derive(Clone, Copy)]
pub(crate) struct Reservation {
    pub(crate) client: IpAddr,
    pub(crate) owner: u64,
    /// 1 reads, 2 writes.
    pub(crate) access: u32,
    pub(crate) deny: u32,
}

#[derive(Default)]
struct Table {
    files: BTreeMap<Ino, Vec<Reservation>>,
    counts: BTreeMap<IpAddr, usize>,
    total: usize,
}

#[derive(Default)]
pub(crate) struct Reservations(Mutex<Table>);

impl Reservations {
    /// Makes a reservation, in place of one of the same owner.
    pub(crate) fn reserve(&self, ino: Ino, wanted: Reservation, limits: &NlmLimits) -> Status {
        let mut table = self.0.lock();
        let others = table.files.get(&ino).map_or(&[][..], Vec::as_slice);
        let excluded = |other: &Reservation| {
            other.owner != wanted.owner && (other.deny & wanted.access != 0 || wanted.deny & other.access != 0)
        };
        if others.iter().any(excluded) {
            return Status::Denied;
        }
        let replaces = others.iter().any(|other| other.owner == wanted.owner);
        let own = table.counts.get(&wanted.client).copied().unwrap_or(0);
        let full = others.len() >= PER_FILE_MAX || own >= limits.held_per_client_max || table.total >= limits.held_max;
        if full && !replaces {
            return Status::DeniedNoLocks;
        }
        table.remove(ino, |other| other.owner == wanted.owner);
        table.files.entry(ino).or_default().push(wanted);
        *table.counts.entry(wanted.client).or_default() += 1;
        table.total += 1;
        Status::Granted
    }

    pub(crate) fn give_back(&self, ino: Ino, owner: u64) {
        self.0.lock().remove(ino, |held| held.owner == owner);
    }

    pub(crate) fn drop_client(&self, client: IpAddr) {
        let mut table = self.0.lock();
        if table.counts.contains_key(&client) {
            let files: Vec<Ino> = table.files.keys().copied().collect();
            files.into_iter().for_each(|ino| table.remove(ino, |held| held.client == client));
        }
    }
}

impl Table {
    fn remove(&mut self, ino: Ino, gone: impl Fn(&Reservation) -> bool) {
        let Some(held) = self.files.get_mut(&ino) else { return };
        for reservation in held.extract_if(.., |held| gone(held)) {
            self.total -= 1;
            if let Some(count) = self.counts.get_mut(&reservation.client) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&reservation.client);
                }
            }
        }
        if held.is_empty() {
            self.files.remove(&ino);
        }
    }
}

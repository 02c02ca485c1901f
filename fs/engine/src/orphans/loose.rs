//! [`Loose`]: removed inodes that nothing ties any more, in the order in which they are freed.
//!
//! Each has a number in the order in which they came, so that one who needs their room can tell whether what was here at
//! some moment is gone, whoever frees it.

use std::collections::{BTreeMap, VecDeque};

use fs_api::Ino;
use parking_lot::Mutex;

/// Inodes freed in one record.
const GROUP: usize = 32;

#[derive(Default)]
pub(super) struct Loose(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Ino>,
    /// The number of the next one that comes; those that wait have the ones before it.
    next: u64,
    /// What is being freed: of each group its first number, and how many they are.
    groups: BTreeMap<u64, usize>,
}

/// A few inodes on their way out.
pub(super) struct Group {
    first: u64,
    pub(super) inos: Vec<Ino>,
}

/// What was loose at a moment: all before this number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LooseUntil(u64);

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeing {
    /// Some of it waits for whoever comes.
    Waiting,
    /// Others are freeing the rest.
    UnderWay,
    Done,
}

impl State {
    fn push(&mut self, ino: Ino) {
        self.waiting.push_back(ino);
        self.next += 1;
    }

    fn first_waiting(&self) -> u64 {
        self.next - self.waiting.len() as u64
    }
}

impl Loose {
    pub(super) fn push(&self, ino: Ino) {
        self.0.lock().push(ino);
    }

    /// How many there are, with those that are being freed.
    pub(super) fn len(&self) -> usize {
        let state = self.0.lock();
        state.waiting.len() + state.groups.values().sum::<usize>()
    }

    /// `None` where nothing waits.
    pub(super) fn take(&self) -> Option<Group> {
        let mut state = self.0.lock();
        let (first, count) = (state.first_waiting(), state.waiting.len().min(GROUP));
        let inos: Vec<Ino> = state.waiting.drain(..count).collect();
        (count > 0).then(|| {
            state.groups.insert(first, count);
            Group { first, inos }
        })
    }

    /// The group is freed, or it is to be tried again, after all others.
    pub(super) fn put_back(&self, group: Group, freed: bool) {
        let mut state = self.0.lock();
        state.groups.remove(&group.first);
        if !freed {
            group.inos.into_iter().for_each(|ino| state.push(ino));
        }
    }

    pub(super) fn now(&self) -> LooseUntil {
        LooseUntil(self.0.lock().next)
    }

    pub(super) fn freeing(&self, until: LooseUntil) -> Freeing {
        let state = self.0.lock();
        if state.first_waiting() < until.0 {
            return Freeing::Waiting;
        }
        match state.groups.first_key_value() {
            Some((first, _)) if *first < until.0 => Freeing::UnderWay,
            _ => Freeing::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loose_at_a_moment_is_done_when_all_of_it_is_freed_and_nothing_later_counts() {
        let loose = Loose::default();
        assert_eq!(loose.freeing(loose.now()), Freeing::Done);
        (0..40).for_each(|ino| loose.push(Ino(ino)));
        let until = loose.now();
        let first = loose.take().expect("40 wait");
        assert_eq!((first.inos.len(), loose.freeing(until)), (GROUP, Freeing::Waiting));
        loose.push(Ino(100));
        let second = loose.take().expect("9 wait");
        loose.push(Ino(101));
        assert_eq!((second.inos.len(), loose.freeing(until), loose.len()), (9, Freeing::UnderWay, 42));
        loose.put_back(second, true);
        assert_eq!(loose.freeing(until), Freeing::UnderWay, "the first group is slower");
        loose.put_back(first, false);
        assert_eq!((loose.freeing(until), loose.len()), (Freeing::Done, 33), "it comes again after all others");
        assert_eq!(loose.take().expect("33 wait").inos[0], Ino(101));
    }
}

//! What the engine committed, in order: the ground truth for what a crash may leave.

use fs_engine::CommitObserver;
use parking_lot::Mutex;

/// One journal record that carries requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub lsn: u64,
    pub requests: Vec<u64>,
}

/// Every commit since the last start.
#[derive(Debug, Default)]
pub struct CommitLog(Mutex<Vec<Commit>>);

impl CommitLog {
    pub fn commits(&self) -> Vec<Commit> {
        self.0.lock().clone()
    }

    /// How many commits there are, which is a position in their order.
    pub fn position(&self) -> usize {
        self.0.lock().len()
    }

    /// The LSN of the commit before `position`.
    pub fn lsn_before(&self, position: usize) -> u64 {
        position.checked_sub(1).and_then(|last| self.0.lock().get(last).map(|commit| commit.lsn)).unwrap_or(0)
    }

    /// The position right behind the last commit that carries any of `requests`, and whether each is carried.
    pub fn behind(&self, requests: &[u64]) -> usize {
        let commits = self.0.lock();
        let last = commits.iter().rposition(|commit| commit.requests.iter().any(|r| requests.contains(r)));
        last.map_or(0, |last| last + 1)
    }

    pub fn carries(&self, request: u64) -> bool {
        self.0.lock().iter().any(|commit| commit.requests.contains(&request))
    }

    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

impl CommitObserver for CommitLog {
    fn committed(&self, lsn: u64, requests: &[u64]) {
        let mut commits = self.0.lock();
        assert!(commits.last().is_none_or(|last| last.lsn < lsn), "commits are told in the order of the journal");
        commits.push(Commit { lsn, requests: requests.to_vec() });
    }
}

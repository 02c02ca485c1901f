//! Failpoints by value: named places where a test makes the program fail, stall or die.
//!
//! There is no global registry. Without a plan a hit costs one branch.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

type Hook = Arc<dyn Fn(&'static str, u64) -> FailAction + Send + Sync>;

/// What a hit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailAction {
    Continue,
    /// The place reports this errno, as the system call behind it would.
    Errno(i32),
    /// The process dies at once, as by `kill -9`.
    Abort,
}

#[derive(Default)]
struct Plan {
    hook: Option<Hook>,
    hits: Mutex<HashMap<&'static str, u64>>,
}

/// A handle on the plan; clones share it.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Arc<Plan>>);

impl Failpoints {
    /// No plan: every place continues.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Asks `hook(name, nth)` at every hit; `nth` counts from 1 per name.
    pub fn with(hook: impl Fn(&'static str, u64) -> FailAction + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Plan { hook: Some(Arc::new(hook)), hits: Mutex::default() })))
    }

    /// Passes the place `name` (`"journal.sync"`).
    ///
    /// # Errors
    /// The errno of the plan.
    pub fn hit(&self, name: &'static str) -> io::Result<()> {
        let Some(plan) = &self.0 else { return Ok(()) };
        let nth = {
            let mut hits = plan.hits.lock();
            let count = hits.entry(name).or_insert(0);
            *count += 1;
            *count
        };
        match plan.hook.as_ref().map_or(FailAction::Continue, |hook| hook(name, nth)) {
            FailAction::Continue => Ok(()),
            FailAction::Errno(errno) => Err(io::Error::from_raw_os_error(errno)),
            FailAction::Abort => std::process::abort(),
        }
    }

    /// How often each place was passed: a test fails when one it names was never reached.
    pub fn hits(&self) -> HashMap<&'static str, u64> {
        self.0.as_ref().map(|plan| plan.hits.lock().clone()).unwrap_or_default()
    }
}

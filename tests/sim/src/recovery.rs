//! After a crash: which prefix of the commits is it?

use std::collections::{BTreeMap, BTreeSet};

use fs_api::{Context, Credentials, Durability, Vfs};
use futures::FutureExt;
use tests_model::compare::{Depth, Tree, difference, dump};
use tests_model::{Model, State};

use crate::commits::Commit;
use crate::execute::{Nodes, Outcome, execute};
use crate::op::Op;

/// What was called since the last start.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// As it has to be repeated: an append at the offset where it landed, a handle as its inode.
    pub(crate) replay: Op,
    /// It changed only what no crash can show: an inode without names.
    pub(crate) invisible: bool,
}

/// The start of the epoch: the filesystem, and which node is which inode of the model.
pub(crate) struct Base {
    pub(crate) state: State,
    pub(crate) nodes: Nodes,
}

/// The model after a prefix of the commits.
pub(crate) struct Prefix {
    pub(crate) model: Model,
    pub(crate) nodes: Nodes,
    done: BTreeSet<u64>,
}

impl Prefix {
    pub(crate) fn new(base: &Base) -> Self {
        Self { model: Model::from_state(base.state.clone()), nodes: base.nodes.clone(), done: BTreeSet::new() }
    }

    /// Repeats what one commit carries.
    ///
    /// # Errors
    /// The model refuses it: the order of commits is not one in which the calls make sense.
    pub(crate) fn apply(&mut self, commit: &Commit, entries: &BTreeMap<u64, Entry>) -> Result<(), String> {
        for request in &commit.requests {
            let Some(entry) = entries.get(request) else {
                return Err(format!("record {} carries request {request}, which was never made", commit.lsn));
            };
            if entry.invisible || !self.done.insert(*request) {
                continue;
            }
            let outcome = now(execute(&self.model, &mut self.nodes, &entry.replay));
            if let Outcome::Failed(kind) = outcome {
                return Err(format!(
                    "record {}: {:?} fails with {kind:?} in the order of commits",
                    commit.lsn, entry.replay
                ));
            }
        }
        Ok(())
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the model never waits")
}

pub(crate) fn root() -> Context {
    Context { durability: Durability::Buffered, ..Context::new(u64::MAX, Credentials::root()) }
}

pub(crate) fn model_tree(model: &Model) -> Tree {
    now(dump(model as &dyn Vfs, &root(), Depth::default())).expect("the model can be read")
}

/// Finds the prefix, no shorter than `acknowledged`, whose state is `found`. `likely` is tried first.
///
/// # Errors
/// There is none: what `found` differs by from the likely one.
pub(crate) fn find_prefix(
    base: &Base,
    commits: &[Commit],
    entries: &BTreeMap<u64, Entry>,
    acknowledged: usize,
    likely: usize,
    found: &Tree,
) -> Result<(usize, Prefix), String> {
    let likely = likely.clamp(acknowledged, commits.len());
    let first = prefix_at(base, commits, entries, likely)?;
    let nearest = difference(&model_tree(&first.model), found);
    if nearest.is_empty() {
        return Ok((likely, first));
    }
    for length in acknowledged..=commits.len() {
        let prefix = prefix_at(base, commits, entries, length)?;
        if model_tree(&prefix.model) == *found {
            return Ok((length, prefix));
        }
    }
    let mut older = String::new();
    for length in 0..acknowledged {
        if model_tree(&prefix_at(base, commits, entries, length)?.model) == *found {
            older = format!("it is prefix {length}, OLDER THAN ACKNOWLEDGED; ");
        }
    }
    Err(format!(
        "{older}no prefix of {acknowledged}..={} commits; against prefix {likely} (left) it has (right):\n{nearest}",
        commits.len()
    ))
}

fn prefix_at(base: &Base, commits: &[Commit], entries: &BTreeMap<u64, Entry>, length: usize) -> Result<Prefix, String> {
    let mut prefix = Prefix::new(base);
    commits[..length].iter().try_for_each(|commit| prefix.apply(commit, entries))?;
    Ok(prefix)
}

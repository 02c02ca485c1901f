//! Directory entries, live and durable.
//!
//! An operation on names is atomic: a rename is seen whole or not at all. After a crash the operations on one name, and
//! on names that a rename ties together, keep their order; names that have nothing to do with each other do not.

use std::collections::{BTreeMap, BTreeSet};

use super::state::NodeId;
use super::survival::Chooser;

type Name = (NodeId, String);

#[derive(Clone)]
struct Operation {
    sequence: u64,
    /// What each name leads to afterwards.
    effects: Vec<(Name, Option<NodeId>)>,
}

#[derive(Clone, Default)]
pub(super) struct Names {
    live: BTreeMap<NodeId, BTreeMap<String, NodeId>>,
    durable: BTreeMap<NodeId, BTreeMap<String, NodeId>>,
    unsynced: Vec<Operation>,
    /// Nodes whose last live name went.
    unnamed: BTreeSet<NodeId>,
}

fn set(names: &mut BTreeMap<NodeId, BTreeMap<String, NodeId>>, (dir, name): &Name, node: Option<NodeId>) {
    let entries = names.entry(*dir).or_default();
    match node {
        Some(node) => entries.insert(name.clone(), node),
        None => entries.remove(name),
    };
}

impl Names {
    pub(super) fn get(&self, dir: NodeId, name: &str) -> Option<NodeId> {
        self.live.get(&dir)?.get(name).copied()
    }

    pub(super) fn list(&self, dir: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.live.get(&dir).into_iter().flatten().map(|(name, &node)| (name.as_str(), node))
    }

    pub(super) fn change<const N: usize>(&mut self, sequence: u64, effects: [(Name, Option<NodeId>); N]) {
        for ((dir, name), node) in &effects {
            let before = self.get(*dir, name);
            self.unnamed.extend(before);
            if let Some(node) = node {
                self.unnamed.remove(node);
            }
            set(&mut self.live, &(*dir, name.clone()), *node);
        }
        self.unsynced.push(Operation { sequence, effects: effects.to_vec() });
    }

    /// Makes the names in `dir` durable, with what must have happened before them.
    pub(super) fn sync(&mut self, dir: NodeId) {
        let mut needed: BTreeSet<Name> = BTreeSet::new();
        let mut lasting = vec![false; self.unsynced.len()];
        for (operation, lasts) in self.unsynced.iter().zip(&mut lasting).rev() {
            let touches = operation.effects.iter().any(|(name, _)| name.0 == dir || needed.contains(name));
            if touches {
                *lasts = true;
                needed.extend(operation.effects.iter().map(|(name, _)| name.clone()));
            }
        }
        let mut lasting = lasting.into_iter();
        let durable = &mut self.durable;
        self.unsynced.retain(|operation| {
            let lasts = lasting.next() == Some(true);
            if lasts {
                operation.effects.iter().for_each(|(name, node)| set(durable, name, *node));
            }
            !lasts
        });
    }

    pub(super) fn sync_all(&mut self) {
        self.durable = self.live.clone();
        self.unsynced.clear();
    }

    pub(super) fn first_unsynced(&self) -> Option<u64> {
        self.unsynced.first().map(|operation| operation.sequence)
    }

    /// Takes the nodes that can never be reached again.
    pub(super) fn take_unnamed(&mut self, is_open: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        if self.unnamed.is_empty() {
            return Vec::new();
        }
        let possible = self.possible();
        let unnamed = self.unnamed.iter().copied();
        let gone: Vec<NodeId> = unnamed.filter(|node| !possible.contains(node) && !is_open(*node)).collect();
        for node in &gone {
            self.unnamed.remove(node);
        }
        gone
    }

    /// Every node that a crash can leave a name of.
    pub(super) fn possible(&self) -> BTreeSet<NodeId> {
        let durable = self.durable.values().flat_map(BTreeMap::values).copied();
        durable.chain(self.unsynced.iter().flat_map(|op| &op.effects).filter_map(|(_, node)| *node)).collect()
    }

    /// The names after a crash.
    pub(super) fn crash(&self, chooser: &mut Chooser) -> Self {
        let mut durable = self.durable.clone();
        for group in self.groups() {
            let lasting = chooser.lasting(group.iter().map(|operation| operation.sequence));
            for operation in group.into_iter().take(lasting) {
                operation.effects.iter().for_each(|(name, node)| set(&mut durable, name, *node));
            }
        }
        Self { live: durable.clone(), durable, unsynced: Vec::new(), unnamed: BTreeSet::new() }
    }

    /// The unsynced operations by the names they share, each group in order.
    fn groups(&self) -> Vec<Vec<&Operation>> {
        let mut groups: Vec<(BTreeSet<&Name>, Vec<&Operation>)> = Vec::new();
        for operation in &self.unsynced {
            let mut names: BTreeSet<&Name> = operation.effects.iter().map(|(name, _)| name).collect();
            let mut operations = Vec::new();
            let (tied, apart): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|(others, _)| !others.is_disjoint(&names));
            for (others, earlier) in tied {
                names.extend(others);
                operations.extend(earlier);
            }
            operations.push(operation);
            operations.sort_by_key(|operation| operation.sequence);
            groups = apart;
            groups.push((names, operations));
        }
        groups.into_iter().map(|(_, operations)| operations).collect()
    }

    pub(super) fn retain_dirs(&mut self, reachable: &BTreeSet<NodeId>) {
        self.live.retain(|dir, _| reachable.contains(dir));
        self.durable.retain(|dir, _| reachable.contains(dir));
    }
}

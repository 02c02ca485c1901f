//! How the operations of a history reach the store: straight, or through a door that has words of its own for them.

use std::sync::Arc;

use fs_engine::Engine;
use futures::FutureExt;
use objstore_base::BoxFuture;
use tests_model::Model;

use crate::execute::{Nodes, Outcome, execute};
use crate::op::Op;

/// An operation as a door will have it.
#[derive(Clone, Debug)]
pub struct Worded {
    /// What is called.
    pub call: Op,
    /// What that means to the model, which carries it out now, and again after a crash. The same request as `call`.
    pub meaning: Op,
}

/// The way from a history to its store. One operation is under way at a time: `word`, then `call`, then `agree`.
pub trait Doors: Send + Sync {
    /// The store runs (again) as `engine`; `model` and both kinds of nodes are what it has.
    fn started(&self, engine: &Arc<Engine>, model: &Model, model_nodes: &Nodes, engine_nodes: &Nodes);

    /// The store is about to stop or to die: nothing of it may be held on to.
    fn stopped(&self);

    /// Chooses the way for `op`, before anybody has carried it out.
    fn word(&self, op: Op, model: &Model, model_nodes: &Nodes, engine_nodes: &Nodes) -> Worded;

    /// Carries out the operation that was worded last.
    fn call<'a>(&'a self, engine: &'a Engine, nodes: &'a mut Nodes, op: &'a Op) -> BoxFuture<'a, Outcome>;

    /// Whether the answer of the store is the one that the model expects.
    fn agree(&self, answer: &Outcome, expected: &Outcome) -> bool;
}

/// No door at all: the engine's `Vfs`, as mounts call it.
pub struct Straight;

impl Doors for Straight {
    fn started(&self, _engine: &Arc<Engine>, _model: &Model, _model_nodes: &Nodes, _engine_nodes: &Nodes) {}

    fn stopped(&self) {}

    fn word(&self, op: Op, _model: &Model, _model_nodes: &Nodes, _engine_nodes: &Nodes) -> Worded {
        Worded { call: op.clone(), meaning: op }
    }

    fn call<'a>(&'a self, engine: &'a Engine, nodes: &'a mut Nodes, op: &'a Op) -> BoxFuture<'a, Outcome> {
        execute(engine, nodes, op).boxed()
    }

    fn agree(&self, answer: &Outcome, expected: &Outcome) -> bool {
        answer == expected
    }
}

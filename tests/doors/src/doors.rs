//! [`RandomDoors`]: each operation of a history by one of two ways, chosen by the seed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use bytes::Bytes;
use fs_api::{ROOT_INO, Target, Vfs};
use fs_engine::Engine;
use futures::FutureExt;
use gateway_nfs::{Door, DoorOptions, FileHandle, HandleKey, Share, ShareId, Shares, Squash};
use objstore_base::BoxFuture;
use objstore_env::Rng;
use objstore_env::sim::SimRng;
use parking_lot::Mutex;
use tests_model::Model;
use tests_nfs::now;
use tests_sim::{Action, Doors, Key, Nodes, Op, Outcome, Seen, Via, Worded, execute};

use crate::carry::{carry_out, seen};
use crate::client::{Answer, Client, Kept};
use crate::meaning::{agree, attr_of, kind_of, say};
use crate::tally::Tally;

const STALE: u32 = 70;
const SHARE: ShareId = ShareId(1);
/// Of a hundred operations that NFS has words for.
const NFS_PERCENT: u64 = 60;
const PROBE_PERCENT: u64 = 30;

/// What the service remembers over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The secret of its handles, as it has to.
    Secret,
    /// Nothing: every start makes handles of its own.
    Nothing,
}

/// The way that was chosen for the operation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Straight,
    Nfs,
}

/// A handle to ask for before the operation, and what has to be found: the attributes, or that nothing is there.
struct Probe {
    handle: Bytes,
    expected: Option<Seen>,
}

pub struct RandomDoors {
    rng: SimRng,
    memory: Memory,
    kept: Arc<Mutex<Kept>>,
    xid: Arc<AtomicU32>,
    now: Mutex<Now>,
}

struct Now {
    client: Option<Client>,
    starts: u64,
    way: Way,
    probe: Option<Probe>,
    verifiers: BTreeSet<[u8; 8]>,
}

impl RandomDoors {
    pub fn new(seed: u64, memory: Memory) -> Arc<Self> {
        let at_first = Now { client: None, starts: 0, way: Way::Straight, probe: None, verifiers: BTreeSet::new() };
        Arc::new(Self {
            rng: SimRng::stream(seed, 102),
            memory,
            kept: Arc::default(),
            xid: Arc::default(),
            now: Mutex::new(at_first),
        })
    }

    /// What went through the doors.
    pub fn tally(&self) -> Tally {
        self.kept.lock().tally.clone()
    }

    fn percent(&self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    /// `op` for the NFS door, where it can be said there and its files have handles, or names to find handles by.
    fn by_nfs(&self, op: &Op, model: &Model, model_nodes: &Nodes, engine_nodes: &Nodes) -> Option<Worded> {
        let worded = say(op, model, model_nodes)?;
        let reachable = |key: Key| {
            let has_name = attr_of(model, model_nodes, key).is_ok_and(|attr| attr.nlink > 0);
            has_name || engine_nodes.ino(key).is_some_and(|ino| self.kept.lock().knows(ino))
        };
        nodes_of(&worded.call.action).into_iter().all(reachable).then_some(worded)
    }

    /// Any handle that was ever given out.
    fn probe(&self, model: &Model, model_nodes: &Nodes, engine_nodes: &Nodes) -> Option<Probe> {
        let kept = self.kept.lock();
        if !kept.dead.is_empty() && self.percent(50) {
            let handle = kept.dead[self.rng.below(kept.dead.len() as u64) as usize].clone();
            return Some(Probe { handle, expected: None });
        }
        let inos = kept.inos();
        let ino = *inos.get(self.rng.below(inos.len() as u64) as usize)?;
        let attr = engine_nodes.key(ino).and_then(|key| attr_of(model, model_nodes, key).ok());
        let handle = kept.handle(ino)?;
        Some(Probe { handle, expected: attr.map(|attr| Seen::of(model_nodes, &attr)) })
    }

    /// Whatever else happens, a handle leads to the file that it was given out for, or nowhere.
    ///
    /// # Errors
    /// The status of a store that lost its power.
    async fn ask(client: &Client, nodes: &Nodes, probe: Probe) -> Answer<()> {
        let found = client.getattr(&probe.handle).await;
        match (probe.expected, found) {
            (Some(expected), Ok(attr)) => assert_eq!(seen(nodes, attr), expected, "a handle leads to its file"),
            (None, Err(STALE)) => client.kept.lock().tally.dead_handles += 1,
            // Without names, and not taken away yet.
            (None, Ok(attr)) if attr.nlink == 0 => {}
            (_, Err(status)) if status != STALE => return Err(status),
            (expected, found) => panic!("a handle has to lead to {expected:?}, and leads to {found:?}"),
        }
        Ok(())
    }
}

/// The nodes that a call names by handles.
fn nodes_of(action: &Action) -> Vec<Key> {
    let via = |via: &Via| match via {
        Via::Node(key) => vec![*key],
        Via::Handle(_) => Vec::new(),
    };
    match action {
        Action::Lookup { parent, .. }
        | Action::Make { parent, .. }
        | Action::Create { parent, .. }
        | Action::Unlink { parent, .. }
        | Action::Rmdir { parent, .. } => vec![*parent],
        Action::Link { node, parent, .. } => vec![*node, *parent],
        Action::Rename { from, to, .. } => vec![from.0, to.0],
        Action::Readlink { node }
        | Action::Readdir { node }
        | Action::Getattr { node }
        | Action::Chmod { node, .. }
        | Action::Chown { node, .. } => vec![*node],
        Action::Truncate { via: file, .. }
        | Action::Write { via: file, .. }
        | Action::Read { via: file, .. }
        | Action::Fsync { via: file, .. } => via(file),
        _ => Vec::new(),
    }
}

impl Doors for RandomDoors {
    fn started(&self, engine: &Arc<Engine>, model: &Model, model_nodes: &Nodes, engine_nodes: &Nodes) {
        let mut now_open = self.now.lock();
        now_open.starts += 1;
        let start = now_open.starts;
        let secret = match self.memory {
            Memory::Secret => *b"a store's secret",
            Memory::Nothing => (u128::from(start) << 64 | 1).to_be_bytes(),
        };
        let share = Share { squash: Squash::None, ..Share::local(SHARE, b"/all", ROOT_INO) };
        let (vfs, requests) = (Arc::clone(engine) as Arc<dyn Vfs>, Arc::new(AtomicU64::new(1)));
        let options = DoorOptions { secret, start, manage_gids: None, requests: Arc::clone(&requests) };
        let door = Door::new(vfs, Arc::new(Shares::new(vec![share])), options).expect("the index is read");
        let client =
            Client { door, kept: Arc::clone(&self.kept), xid: Arc::clone(&self.xid), start, requests, operation: 0 };
        if start == 1 {
            let root = HandleKey::new(secret).seal(FileHandle { share: SHARE, ino: ROOT_INO });
            client.learn(ROOT_INO, Bytes::copy_from_slice(&root));
        }
        now_open.client = Some(client);
        let mut kept = self.kept.lock();
        for ino in kept.inos() {
            let key = engine_nodes.key(ino).and_then(|key| model_nodes.ino(key));
            let cx = fs_api::Context::new(0, fs_api::Credentials::root());
            if key.is_none_or(|ino| now(model.getattr(&cx, Target::inode(ino))).is_err()) {
                kept.bury(ino);
            }
        }
        let verifier = kept.verifier.take();
        let is_new = verifier.is_none_or(|verifier| now_open.verifiers.insert(verifier));
        assert!(is_new, "two starts have the verifier {verifier:?}");
    }

    fn stopped(&self) {
        self.now.lock().client = None;
    }

    fn word(&self, op: Op, model: &Model, model_nodes: &Nodes, engine_nodes: &Nodes) -> Worded {
        let worded = self.percent(NFS_PERCENT).then(|| self.by_nfs(&op, model, model_nodes, engine_nodes)).flatten();
        let probe = self.percent(PROBE_PERCENT).then(|| self.probe(model, model_nodes, engine_nodes)).flatten();
        let mut now_open = self.now.lock();
        let mut kept = self.kept.lock();
        now_open.probe = probe;
        match worded {
            Some(worded) => {
                now_open.way = Way::Nfs;
                kept.tally.nfs += 1;
                kept.tally.overrides += u64::from(worded.call.actor != worded.meaning.actor);
                worded
            }
            None => {
                now_open.way = Way::Straight;
                kept.tally.straight += 1;
                Worded { call: op.clone(), meaning: op }
            }
        }
    }

    fn call<'a>(&'a self, engine: &'a Engine, nodes: &'a mut Nodes, op: &'a Op) -> BoxFuture<'a, Outcome> {
        let (mut client, way, probe) = {
            let mut now_open = self.now.lock();
            (now_open.client.clone().expect("the doors are open"), now_open.way, now_open.probe.take())
        };
        client.operation = op.request;
        async move {
            if let Some(probe) = probe {
                let asked = Self::ask(&client, nodes, probe).await;
                if let Err(status) = asked {
                    return Outcome::Failed(kind_of(status));
                }
            }
            match way {
                Way::Straight => execute(engine, nodes, op).await,
                Way::Nfs => carry_out(&client, nodes, op).await,
            }
        }
        .boxed()
    }

    fn agree(&self, answer: &Outcome, expected: &Outcome) -> bool {
        match self.now.lock().way {
            Way::Straight => answer == expected,
            Way::Nfs => agree(answer, expected),
        }
    }
}

//! [`History`]: one seed's worth of operations through the store and the model.
//!
//! Every answer is compared. After a crash the store must be a prefix of the order of its commits, no older than what
//! was acknowledged as durable; the model then goes on from that prefix. The model's history is the order of commits,
//! not of calls: a gathered write counts from when it is settled.

mod losses;
mod starts;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fs_api::{Context, Durability, ROOT_INO, Target, Vfs};
use fs_engine::{Compaction, QuotaLimits};
use futures::FutureExt;
use objstore_base::{ErrorKind, Result};
use objstore_env::sim::{Effect, Fault, Ops, SimDisk, SimRng, Survival, When};
use objstore_env::{Clock, FailAction, Failpoints, Rng};
use objstore_pool::HealReport;
use tests_model::Model;
use tests_model::compare::{Depth, Tree, difference, dump};

use crate::doors::{Doors, Straight, Worded};
use crate::drives::{BadDrives, break_drives};
use crate::execute::{Nodes, Outcome, execute};
use crate::generate::{Generator, Known, Step};
use crate::op::{Action, Key, Op, Via};
use crate::recovery::{Base, Entry, model_tree, root};
use crate::store::{Settings, SimStore};

const EIO: i32 = 5;
/// Virtual time that one step may take: far more than any retry or back-off adds up to.
const STEP_TIME_MAX: Duration = Duration::from_secs(3600);

/// Longer than the pool avoids a drive after its last error.
const SUSPICION: Duration = Duration::from_secs(120);
/// Steps of one round of compaction.
const COMPACTION_STEPS: usize = 8;

/// What a history did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub calls: u64,
    pub commits: u64,
    pub crashes: u64,
    pub restarts: u64,
    /// Commits that a crash took away, as it may.
    pub lost: u64,
    pub indexes_lost: u64,
    pub machines_lost: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.lost += other.lost;
        self.indexes_lost += other.indexes_lost;
        self.machines_lost += other.machines_lost;
    }
}

/// One run; see the module.
pub struct History {
    seed: u64,
    store: SimStore,
    doors: Arc<dyn Doors>,
    generator: Generator,
    model: Model,
    model_nodes: Nodes,
    engine_nodes: Nodes,
    base: Base,
    /// The last record of the base, and the timeline that it is in.
    base_lsn: u64,
    timeline: u64,
    entries: BTreeMap<u64, Entry>,
    /// Which requests changed a node in this epoch.
    touched: BTreeMap<Key, Vec<u64>>,
    /// Writes that must be in the log once their file is synced.
    owed: BTreeMap<Key, Vec<u64>>,
    /// The position in the order of commits up to which everything is acknowledged.
    acknowledged: usize,
    /// The drives that are bad: until everything they missed is made good they stay the only ones.
    broken: Option<BadDrives>,
    /// The disk under the journal ignores syncs.
    lying: bool,
    /// Decides what is lost when, where this history loses more than power.
    losing: Option<SimRng>,
    log: Vec<String>,
    summary: Summary,
}

impl History {
    /// Runs `steps` steps from `seed`.
    ///
    /// # Panics
    /// With the seed, the steps and the difference, where the store breaks a promise.
    pub fn run(seed: u64, steps: usize) -> Summary {
        Self::finished(seed, steps).summary
    }

    /// As `run`, with the operations going through `doors`.
    ///
    /// # Panics
    /// As `run`.
    pub fn run_through(doors: Arc<dyn Doors>, seed: u64, steps: usize) -> Summary {
        let mut history = Self::begin(seed, Failpoints::none(), doors);
        history.finish(steps);
        history.summary
    }

    /// What happened, line by line, down to the LSNs and the requests made of the disk.
    ///
    /// # Panics
    /// As `run`.
    pub fn trace(seed: u64, steps: usize) -> Vec<String> {
        let mut finished = Self::finished(seed, steps);
        finished.log.push(format!("{:?}", finished.store.disk().counts()));
        finished.log.push(format!("{:?}", finished.store.engine().status()));
        finished.log
    }

    /// As `run`, but the power goes at the `nth` time that the program passes the failpoint `place`. Gives whether it
    /// ever did.
    ///
    /// # Panics
    /// As `run`.
    pub fn run_dying_at(seed: u64, steps: usize, place: &'static str, nth: u64) -> bool {
        let disk: Arc<OnceLock<SimDisk>> = Arc::default();
        let died = Arc::new(AtomicBool::new(false));
        let (dying, noted) = (Arc::clone(&disk), Arc::clone(&died));
        let failpoints = Failpoints::with(move |name, hit| match dying.get() {
            Some(disk) if name == place && hit == nth => {
                disk.power_off();
                noted.store(true, Ordering::Relaxed);
                FailAction::Errno(EIO)
            }
            _ => FailAction::Continue,
        });
        let mut history = Self::begin(seed, failpoints, Arc::new(Straight));
        history.log.push(format!("dying at {place}, {nth}"));
        disk.get_or_init(|| history.store.disk().clone());
        history.finish(steps);
        died.load(Ordering::Relaxed)
    }

    /// As `run`, on a disk that ignores the syncs of the journal: this must not go well for long.
    ///
    /// # Panics
    /// As `run`: where the histories are worth anything, for most seeds.
    pub fn run_on_lying_disk(seed: u64, steps: usize) {
        let mut history = Self::begin(seed, Failpoints::none(), Arc::new(Straight));
        history.lying = true;
        history.lie();
        history.finish(steps);
    }

    /// The failpoints that a history passes.
    ///
    /// # Panics
    /// As `run`.
    pub fn places(seed: u64, steps: usize) -> Vec<&'static str> {
        let failpoints = Failpoints::with(|_, _| FailAction::Continue);
        Self::begin(seed, failpoints.clone(), Arc::new(Straight)).finish(steps);
        failpoints.hits().into_keys().collect()
    }

    fn lie(&self) {
        if self.lying {
            self.store.disk().arm(Fault::new("/journal", Ops::SYNC, When::Always, Effect::IgnoreSync));
        }
    }

    fn finished(seed: u64, steps: usize) -> Self {
        let mut history = Self::begin(seed, Failpoints::none(), Arc::new(Straight));
        history.finish(steps);
        history
    }

    fn begin(seed: u64, failpoints: Failpoints, doors: Arc<dyn Doors>) -> Self {
        let settings = Settings::random(&SimRng::stream(seed, 101));
        let shown = format!("{settings:?}");
        let store = SimStore::with_failpoints(seed, settings, failpoints);
        let store = store.unwrap_or_else(|e| panic!("SEED={seed}: a new store: {e}"));
        let mut history = Self::new(seed, store, doors);
        history.log.push(shown);
        history.open_doors();
        history
    }

    fn finish(&mut self, steps: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.steps(steps)));
        if let Err(panic) = outcome {
            eprintln!("history of SEED={}:\n{}", self.seed, self.log.join("\n"));
            resume_unwind(panic);
        }
    }

    fn new(seed: u64, store: SimStore, doors: Arc<dyn Doors>) -> Self {
        let model = Model::with_root(0, 0, 0o777);
        let base = Base { state: model.snapshot(), nodes: Nodes::new() };
        Self {
            seed,
            base_lsn: store.recovered_lsn(),
            timeline: 1,
            store,
            doors,
            generator: Generator::new(seed),
            model,
            model_nodes: Nodes::new(),
            engine_nodes: Nodes::new(),
            base,
            entries: BTreeMap::new(),
            touched: BTreeMap::new(),
            owed: BTreeMap::new(),
            acknowledged: 0,
            broken: None,
            lying: false,
            losing: None,
            log: Vec::new(),
            summary: Summary::default(),
        }
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            let known = Known::of(&self.model, |ino| self.model_nodes.key(ino), self.model_nodes.slots());
            let step = self.generator.step(&known);
            self.log.push(format!("{step:?}"));
            self.step(step);
            self.lose_sometimes();
            if self.store.disk().is_off() {
                self.log.push("  the power went".to_owned());
                let survival = Survival::ALL[self.store.world().rng().below(4) as usize];
                self.crash(survival);
            }
        }
        // What was doomed and not reached does not come any more.
        self.store.disk().spare();
        self.lose_at_last();
        self.compare("at the end");
        self.check("at the end");
        self.restart();
        if self.store.disk().is_off() {
            self.crash(Survival::Nothing);
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("SEED={}: {why}", self.seed)
    }

    /// Runs a future of the store; one that never answers is a finding. `None` where the power went meanwhile: a
    /// dead disk is tried again for ever.
    fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> Option<T> {
        let clock = self.store.world().clock();
        let limit = async {
            let until = clock.monotonic() + STEP_TIME_MAX;
            while clock.monotonic() < until && !self.store.disk().is_off() {
                clock.sleep(Duration::from_secs(1)).await;
            }
        };
        let outcome = self.store.world().run(async {
            tokio::select! {
                biased;
                outcome = future => Some(outcome),
                () = limit => None,
            }
        });
        if outcome.is_none() && !self.store.disk().is_off() {
            self.fail(&format!("{what} never ends"));
        }
        outcome
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call(op) => self.call(op),
            Step::Flush => {
                let engine = self.store.engine().clone();
                let flushed = self.wait("flush", engine.flush());
                self.background("flush", flushed);
            }
            Step::Compact => self.compact(),
            Step::Checkpoint => {
                let engine = self.store.engine().clone();
                let done = self.wait("checkpoint", engine.checkpoint());
                self.background("checkpoint", done.map(|done| done.map(drop)));
            }
            Step::Quota(bytes) => {
                let engine = self.store.engine().clone();
                let limits = QuotaLimits { bytes, inodes: bytes };
                let set = self.wait("set quota", engine.set_quota(ROOT_INO, limits, &[]));
                self.background("set quota", set.map(|set| set.map(drop)));
            }
            Step::Pass(duration) => self.store.world().pass(duration),
            Step::JumpWall(nanos) => self.store.world().clock().jump_wall(nanos),
            Step::Break(drives, fault) => {
                let drives = *self.broken.get_or_insert(drives);
                break_drives(self.store.disk(), drives, fault);
                self.lie();
            }
            Step::Mend => {
                self.store.disk().clear_faults();
                self.lie();
                self.broken = None;
                // The pool has not trusted the drives for a while.
                self.store.world().pass(SUSPICION);
                self.heal();
            }
            Step::Restart => self.restart(),
            Step::Crash(survival) => self.crash(survival),
            Step::Doom(changes) => self.store.disk().power_off_after(changes),
        }
    }

    fn heal(&self) {
        let pool = self.store.pool().clone();
        let healed = self.wait("heal", pool.heal(|_| {}));
        if let Some(Ok(report)) = &healed {
            self.check_heal(report);
        }
        self.background("heal", healed.map(|healed| healed.map(drop)));
    }

    /// Good drives leave nothing to be healed, but for what a put that a crash cut short left: too little to be read.
    fn check_heal(&self, report: &HealReport) {
        let is_remnant = |(_, why): &(String, String)| why.contains("shards are good, 4 are needed");
        let done = report.drives_away.is_empty() && report.failures.iter().all(is_remnant);
        if !done && !self.store.disk().is_off() {
            self.fail(&format!("a heal of good drives is not complete: {report:?}"));
        }
    }

    fn compact(&self) {
        let engine = self.store.engine().clone();
        for _ in 0..COMPACTION_STEPS {
            let step = self.wait("compaction", engine.compact_step());
            if matches!(step, None | Some(Ok(Compaction::Idle))) {
                return;
            }
            self.background("compaction", step.map(|step| step.map(drop)));
        }
    }

    /// I1 and I6: everything counted again.
    fn check(&self, when: &str) {
        let engine = self.store.engine().clone();
        match self.wait("check", engine.check()) {
            _ if self.store.disk().is_off() => {}
            Some(Ok(report)) if report.is_clean() => {}
            Some(Ok(report)) => self.fail(&format!("{when}, a check finds:\n{}", report.findings.join("\n"))),
            Some(Err(error)) => self.fail(&format!("{when}, the check fails: {error}")),
            None => {}
        }
    }

    /// The result of what no client asked for: it succeeds while the power is on.
    fn background(&self, what: &str, result: Option<Result<()>>) {
        if let Some(Err(error)) = result
            && !self.store.disk().is_off()
        {
            self.fail(&format!("{what}: {error}"));
        }
    }

    // Calls ------------------------------------------------------------------------------------------------------

    fn open_doors(&self) {
        self.doors.started(self.store.engine(), &self.model, &self.model_nodes, &self.engine_nodes);
    }

    fn call(&mut self, op: Op) {
        self.summary.calls += 1;
        let doors = Arc::clone(&self.doors);
        let Worded { call, meaning: op } = doors.word(op, &self.model, &self.model_nodes, &self.engine_nodes);
        let entry = self.entry(&op);
        let written = op.action.written().and_then(|via| self.model_nodes.key_of(via));
        let engine = self.store.engine().clone();
        let mut nodes = self.engine_nodes.clone();
        let outcome = self.wait("call", doors.call(&engine, &mut nodes, &call));
        self.engine_nodes = nodes;
        let outcome = outcome.unwrap_or(Outcome::Failed(ErrorKind::Io));
        let invisible = entry.invisible;
        self.entries.insert(op.request, entry);
        if self.store.disk().is_off() && outcome.is_failure() {
            // Whether it happened is open; if it was committed, the order of commits says so.
            return;
        }
        let expected = execute(&self.model, &mut self.model_nodes, &op).now_or_never();
        let expected = expected.expect("the model never waits");
        if !doors.agree(&outcome, &expected) {
            self.fail(&format!("{call:?}:\n  store {outcome:?}\n  model {expected:?}"));
        }
        if !outcome.is_failure() && !invisible {
            self.note(&op, written, &outcome);
        }
        if !outcome.is_failure() {
            self.acknowledge(&op, written);
        }
    }

    /// How the call is repeated after a crash. Made before it runs: afterwards an append's offset is not known.
    fn entry(&self, op: &Op) -> Entry {
        let mut replay = Op { durability: Durability::Buffered, ..op.clone() };
        let mut invisible = false;
        if let Some(via) = op.action.written()
            && let Some(key) = self.model_nodes.key_of(via)
            && let Some(attr) = self.model_attr(key)
        {
            invisible = attr.nlink == 0;
            replay.action = by_inode(&op.action, key, self.model_nodes.is_append(via).then_some(attr.size));
        }
        if let Action::Create { slot, .. } = &mut replay.action {
            *slot = None;
        }
        Entry { replay, invisible }
    }

    fn model_attr(&self, key: Key) -> Option<fs_api::Attr> {
        let ino = self.model_nodes.ino(key)?;
        self.model.getattr(&root(), Target::inode(ino)).now_or_never()?.ok()
    }

    /// Remembers what the call changed.
    fn note(&mut self, op: &Op, written: Option<Key>, outcome: &Outcome) {
        for key in op.action.touched(op.request).into_iter().chain(written) {
            self.touched.entry(key).or_default().push(op.request);
        }
        if let (Action::Write { .. }, Some(key), Outcome::Count(1..)) = (&op.action, written, outcome) {
            self.owed.entry(key).or_default().push(op.request);
        }
    }

    /// What the answer promises about durability.
    fn acknowledge(&mut self, op: &Op, written: Option<Key>) {
        let commits = self.store.commits();
        let position = match &op.action {
            Action::Sync => commits.position(),
            Action::Fsync { via, .. } => {
                let Some(key) = self.model_nodes.key_of(*via) else { return };
                self.check_owed(key);
                commits.behind(self.touched.get(&key).map_or(&[], Vec::as_slice))
            }
            _ if op.durability == Durability::Synced => commits.behind(&[op.request]),
            // A write of nothing syncs nothing, as on Linux: what was written before it may still wait.
            Action::Write { fill, .. } if fill.len == 0 => return,
            Action::Write { via: via @ Via::Handle(_), .. } if self.model_nodes.is_sync(*via) => {
                written.inspect(|key| self.check_owed(*key));
                commits.behind(&[op.request])
            }
            _ => return,
        };
        self.acknowledged = self.acknowledged.max(position);
        let (durable, promised) = (self.store.engine().journal().durable().0, commits.lsn_before(self.acknowledged));
        if durable < promised && !self.store.disk().is_off() {
            self.fail(&format!("{op:?} is acknowledged, it needs LSN {promised}, but only {durable} is durable"));
        }
    }

    /// A synced file has no write that is not in the log.
    fn check_owed(&self, key: Key) {
        let linked = self.model_attr(key).is_some_and(|attr| attr.nlink > 0);
        let owed = self.owed.get(&key).filter(|_| linked);
        for request in owed.into_iter().flatten() {
            if !self.store.commits().carries(*request) {
                self.fail(&format!("node {key} was synced, but its write {request} is in no record"));
            }
        }
    }

    /// `None` where the power went.
    fn engine_tree(&self) -> Option<Tree> {
        let engine = self.store.engine().clone();
        let cx: Context = root();
        match self.wait("reading everything", dump(&*engine as &dyn Vfs, &cx, Depth::default()))? {
            Ok(tree) => Some(tree),
            Err(_) if self.store.disk().is_off() => None,
            Err(error) => self.fail(&format!("reading everything: {error}")),
        }
    }

    fn compare(&self, when: &str) {
        let Some(tree) = self.engine_tree() else { return };
        let different = difference(&model_tree(&self.model), &tree);
        if !different.is_empty() && !self.store.disk().is_off() {
            self.fail(&format!("{when}, model (left) and store (right) differ:\n{different}"));
        }
    }
}

/// A change of a file without its handle; an append goes to the offset where it landed.
fn by_inode(action: &Action, key: Key, append_at: Option<u64>) -> Action {
    let via = Via::Node(key);
    match action.clone() {
        Action::Write { offset, fill, .. } => Action::Write { via, offset: append_at.unwrap_or(offset), fill },
        Action::Truncate { size, .. } => Action::Truncate { via, size },
        Action::Fallocate { offset, len, mode, .. } => Action::Fallocate { via, offset, len, mode },
        Action::CopyRange { from, from_offset, to_offset, len, .. } => {
            Action::CopyRange { from, from_offset, to: via, to_offset, len }
        }
        other => other,
    }
}

//! Starts of a history's store, after a stop or a crash, and what the model goes on from.

use fs_api::{FileKind, ROOT_INO, Target, Vfs};
use futures::FutureExt;
use objstore_base::Result;
use objstore_env::Rng;
use objstore_env::sim::Survival;
use tests_model::Model;
use tests_model::compare::Tree;

use super::History;
use crate::commits::Commit;
use crate::recovery::{Base, find_prefix, root};
use crate::store::SimStore;

impl History {
    pub(super) fn restart(&mut self) {
        let commits = self.store.commits().position();
        self.doors.stopped();
        if let Err(error) = self.store.restart() {
            if self.store.disk().is_off() {
                return;
            }
            self.fail(&format!("restart: {error}"));
        }
        self.summary.restarts += 1;
        self.summary.commits += commits as u64;
        self.model = Model::from_state(self.model.snapshot());
        self.begin_epoch();
        self.open_doors();
        self.compare("after a clean restart");
        self.check("after a clean restart");
    }

    pub(super) fn crash(&mut self, survival: Survival) {
        let commits = self.store.commits().commits();
        self.doors.stopped();
        let rng = self.store.world().rng();
        let (again, changes) = (rng.one_in(4), rng.below(60));
        if again {
            self.log.push(format!("  the power goes again {changes} changes into the start"));
            self.store.crash_while_starting(survival, changes);
        }
        let how = format!("a crash ({survival:?})");
        let (recovered, tree) = self.start_after(&how, |store| store.crash(survival));
        self.summary.crashes += 1;
        self.go_on_from(&how, &commits, self.acknowledged, recovered, &tree);
    }

    /// The model goes on from the prefix that `tree` is: one of `due` commits at least, and likely of those up to LSN
    /// `recovered`.
    pub(super) fn go_on_from(&mut self, how: &str, commits: &[Commit], due: usize, recovered: u64, tree: &Tree) {
        let likely = commits.iter().take_while(|commit| commit.lsn <= recovered).count();
        let found = find_prefix(&self.base, commits, &self.entries, due, likely, tree);
        let (length, prefix) =
            found.unwrap_or_else(|why| self.fail(&format!("after {how} with {due} commits due: {why}")));
        self.log.push(format!("  {length} of {} commits are left, {due} were due", commits.len()));
        self.summary.commits += length as u64;
        self.summary.lost += (commits.len() - length) as u64;
        self.model = Model::from_state(prefix.model.snapshot());
        self.model_nodes = prefix.nodes;
        self.begin_epoch();
        self.learn_unanswered();
        self.open_doors();
        self.check(&format!("after {how}"));
    }

    /// What was made and committed, but not answered before the power went, is there: its number is found by its name.
    fn learn_unanswered(&mut self) {
        let engine = self.store.engine().clone();
        let mut pending = vec![ROOT_INO];
        while let Some(dir) = pending.pop() {
            let listed = self.model.readdir(&root(), Target::inode(dir), 0, usize::MAX, false).now_or_never();
            let listing = listed.and_then(Result::ok).unwrap_or_default();
            for entry in listing.entries.into_iter().filter(|entry| !entry.name.starts_with(b".")) {
                if entry.kind == FileKind::Directory {
                    pending.push(entry.ino);
                }
                let keys = (self.model_nodes.key(dir), self.model_nodes.key(entry.ino));
                let (Some(parent), Some(key)) = keys else { continue };
                let Some(parent) = self.engine_nodes.ino(parent).filter(|_| self.engine_nodes.ino(key).is_none())
                else {
                    continue;
                };
                let found = self.store.world().run(engine.lookup(&root(), parent, &entry.name));
                match found {
                    Ok(attr) => self.engine_nodes.learn(key, attr.ino),
                    Err(_) if self.store.disk().is_off() => return,
                    Err(error) => self.fail(&format!("{:?} was listed and is not found: {error}", entry.name)),
                }
            }
        }
    }

    /// Crashes and starts as `start` does, until a start lives long enough to be looked at: a failpoint may cut the
    /// power in it. Gives the last LSN that the log had, and all that is there.
    pub(super) fn start_after(&mut self, how: &str, start: impl Fn(&mut SimStore) -> Result<()>) -> (u64, Tree) {
        loop {
            match start(&mut self.store) {
                Ok(()) => {
                    let recovered = self.store.recovered_lsn();
                    if let Some(tree) = self.engine_tree() {
                        return (recovered, tree);
                    }
                }
                Err(_) if self.store.disk().is_off() => {}
                Err(error) => self.fail(&format!("it does not start after {how}: {error}")),
            }
        }
    }

    fn begin_epoch(&mut self) {
        let survivors = self.model_nodes.clone();
        self.model_nodes.restart(&survivors);
        self.engine_nodes.restart(&survivors);
        self.base_lsn = self.store.recovered_lsn();
        self.base = Base { state: self.model.snapshot(), nodes: self.model_nodes.clone() };
        self.entries.clear();
        self.touched.clear();
        self.owed.clear();
        self.acknowledged = 0;
    }
}

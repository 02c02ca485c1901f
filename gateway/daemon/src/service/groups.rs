//! Groups of NFS callers by this machine's user database (`manage_gids`).
//!
//! The database may be a directory service on the network, so it is asked on a thread that may block, before the call
//! enters the door, and its answers are kept for some minutes. The door's own question is answered from what is kept.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use gateway_nfs::{Door, ManageGids};
use gateway_sunrpc::{Auth, Body, Call, Program, Refusal};
use nix::unistd::{Uid, User, getgrouplist};
use objstore_base::BoxFuture;
use objstore_env::Env;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// As long as the kernel's own server keeps them, about.
const KEPT: Duration = Duration::from_secs(300);
/// A directory service that does not answer is asked again after this time.
const KEPT_WITHOUT_ANSWER: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Users that are kept; with more at once the table begins anew.
const USERS_MAX: usize = 16_384;
/// Questions under way: a database that hangs must not take every thread that may block.
const QUESTIONS_MAX: usize = 8;

struct Known {
    gids: Vec<u32>,
    until: Duration,
}

pub(crate) struct UserGroups {
    env: Env,
    known: Mutex<BTreeMap<u32, Known>>,
    questions: Arc<Semaphore>,
}

impl UserGroups {
    pub(crate) fn new(env: &Env) -> Arc<Self> {
        let questions = Arc::new(Semaphore::new(QUESTIONS_MAX));
        Arc::new(Self { env: env.clone(), known: Mutex::default(), questions })
    }

    /// The door's question: never waits. A user who is not known is in no group.
    pub(crate) fn for_door(self: &Arc<Self>) -> ManageGids {
        let groups = Arc::clone(self);
        Arc::new(move |uid| groups.known.lock().get(&uid).map(|known| known.gids.clone()).unwrap_or_default())
    }

    fn is_fresh(&self, uid: u32) -> bool {
        let now = self.env.clock.monotonic();
        self.known.lock().get(&uid).is_some_and(|known| now < known.until)
    }

    /// Asks the database where what is kept of `uid` is too old. A call waits no longer than `ANSWER_MAX`, its turn
    /// included: questions that hang keep their turns.
    async fn refresh(&self, uid: u32) {
        if self.is_fresh(uid) {
            return;
        }
        tokio::select! {
            () = self.ask(uid) => {}
            () = self.env.clock.sleep(ANSWER_MAX) => self.go_on_without_answer(uid),
        }
    }

    async fn ask(&self, uid: u32) {
        let Ok(turn) = Arc::clone(&self.questions).acquire_owned().await else { return };
        if self.is_fresh(uid) {
            return;
        }
        let asked = self.env.blocking(move || {
            // Held by the thread: one that hangs counts until it comes back.
            let _turn = turn;
            groups_of(uid)
        });
        let gids = asked.await;
        let until = self.env.clock.monotonic() + KEPT;
        let mut known = self.known.lock();
        if known.len() >= USERS_MAX && !known.contains_key(&uid) {
            known.clear();
        }
        known.insert(uid, Known { gids, until });
    }

    /// Whoever is known keeps the groups known before, and no stranger takes their place.
    fn go_on_without_answer(&self, uid: u32) {
        tracing::warn!(uid, "the user database does not answer; the groups known before are used");
        let until = self.env.clock.monotonic() + KEPT_WITHOUT_ANSWER;
        let mut known = self.known.lock();
        let is_full = known.len() >= USERS_MAX;
        match known.get_mut(&uid) {
            Some(old) => old.until = until,
            None if is_full => {}
            None => drop(known.insert(uid, Known { gids: Vec::new(), until })),
        }
    }
}

fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let Ok(name) = CString::new(user.name) else { return Vec::new() };
    getgrouplist(&name, user.gid).unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// The NFS program, with the caller's groups at hand.
pub(crate) struct WithGroups {
    pub(crate) door: Arc<Door>,
    pub(crate) groups: Arc<UserGroups>,
}

impl Program for WithGroups {
    fn number(&self) -> u32 {
        self.door.number()
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.door.versions()
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        Box::pin(async move {
            if let Auth::Sys { uid, .. } = call.auth {
                self.groups.refresh(uid).await;
            }
            Arc::clone(&self.door).call(call).await
        })
    }
}

#[cfg(test)]
mod tests {
    use objstore_env::sim::SimWorld;

    use super::*;

    #[tokio::test]
    async fn groups_come_from_the_database_and_a_stranger_has_none() {
        let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
        let groups = UserGroups::new(&env);
        let ask = groups.for_door();
        assert_eq!(ask(0), Vec::<u32>::new(), "nothing is known before it was asked for");
        let stranger = 3_999_999_999;
        groups.refresh(0).await;
        groups.refresh(stranger).await;
        assert!(ask(0).contains(&0), "root is in the group of root");
        assert!(ask(stranger).is_empty() && groups.is_fresh(stranger));
    }
    /// The threads of the questions before never come back.
    #[test]
    fn a_database_that_hangs_keeps_a_call_waiting_so_long_and_no_longer() {
        let world = SimWorld::new(1);
        let env = world.env();
        let groups = UserGroups::new(&env);
        world.run(groups.refresh(0));
        let before = groups.for_door()(0);
        let turns = u32::try_from(QUESTIONS_MAX).expect("a few");
        let hung = Arc::clone(&groups.questions).try_acquire_many_owned(turns).expect("nobody asks");
        world.pass(KEPT);
        for uid in [0, 1] {
            let begin = env.clock.monotonic();
            world.run(groups.refresh(uid));
            assert_eq!(env.clock.monotonic() - begin, ANSWER_MAX);
            assert!(groups.is_fresh(uid), "the next call does not wait again");
        }
        assert_eq!((groups.for_door()(0), groups.for_door()(1)), (before, Vec::new()));
        drop(hung);
    }

    #[test]
    fn users_who_are_not_known_when_the_database_hangs_take_nobodys_place() {
        let world = SimWorld::new(1);
        let groups = UserGroups::new(&world.env());
        let users = 0..u32::try_from(USERS_MAX).expect("not that many");
        users.clone().for_each(|uid| groups.go_on_without_answer(uid));
        groups.go_on_without_answer(users.end);
        let known = groups.known.lock();
        assert!(known.len() == USERS_MAX && !known.contains_key(&users.end));
    }
}

//! What goes through the doors, watched: every door's way to the engine, and the audit log.

use std::sync::Arc;

use fs_api::Vfs;
use gateway_admin::{AuditConfig, AuditLog, Observatory, Observed, Stats, Trace, TraceFilter};
use objstore_env::Env;
use parking_lot::Mutex;

use crate::exit::Failure;

pub(super) struct Watching {
    env: Env,
    observatory: Arc<Observatory>,
    audit: Mutex<Option<Arc<AuditLog>>>,
}

impl Watching {
    /// # Errors
    /// Where the audit log cannot be opened: what has to be audited is not served without.
    pub(super) fn start(env: &Env, audit: Option<&AuditConfig>) -> Result<Self, Failure> {
        let log = audit.map(|config| AuditLog::start(env, config.clone())).transpose()?;
        let observatory = Observatory::new();
        observatory.audit(log.clone());
        Ok(Self { env: env.clone(), observatory, audit: Mutex::new(log) })
    }

    pub(super) fn observatory(&self) -> Arc<Observatory> {
        Arc::clone(&self.observatory)
    }

    /// `vfs`, as `door` is to use it.
    pub(super) fn door(&self, vfs: Arc<dyn Vfs>, door: &str) -> Arc<dyn Vfs> {
        Observed::new(vfs, &self.env, self.observatory(), door)
    }

    pub(super) fn stats(&self) -> Stats {
        self.observatory.stats(&*self.env.clock)
    }

    pub(super) fn trace(&self, filter: TraceFilter) -> Option<Trace> {
        self.observatory.trace(filter)
    }

    /// Audits as `wanted` says from the next operation on.
    ///
    /// # Errors
    /// Where another log cannot be opened; the one that is being written goes on.
    pub(super) async fn follow(&self, wanted: Option<AuditConfig>) -> Result<(), Failure> {
        let current = self.audit.lock().clone();
        if let (Some(log), Some(config)) = (&current, &wanted)
            && log.follow(config.clone())
        {
            return Ok(());
        }
        drop(current);
        let next = wanted.map(|config| AuditLog::start(&self.env, config)).transpose()?;
        self.change(next).await;
        Ok(())
    }

    /// Writes the audit log to its end.
    pub(super) async fn close(&self) {
        self.change(None).await;
    }

    async fn change(&self, log: Option<Arc<AuditLog>>) {
        let before = std::mem::replace(&mut *self.audit.lock(), log.clone());
        self.observatory.audit(log);
        if let Some(before) = before {
            before.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn config(path: PathBuf) -> AuditConfig {
        AuditConfig { path, shares: Vec::new(), file_bytes_max: 1 << 20, older_files_max: 1 }
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_opened_changes_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("chance");
        let nowhere = config(dir.path().join("no/such/folder/audit.log"));
        let refused = Watching::start(&env, Some(&nowhere)).map(drop).expect_err("no folder");
        assert!(refused.message.contains("no/such/folder"), "{}", refused.message);

        let watching = Watching::start(&env, Some(&config(dir.path().join("a")))).expect("opened");
        assert!(watching.follow(Some(nowhere)).await.is_err());
        assert!(watching.audit.lock().is_some(), "the one that is written goes on");
        watching.follow(Some(config(dir.path().join("b")))).await.expect("another file");
        assert!(dir.path().join("b").exists());
        watching.follow(None).await.expect("none any more");
        assert!(watching.audit.lock().is_none());
        watching.close().await;
    }
}

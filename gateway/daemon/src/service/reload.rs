//! Another look at the configuration, while the service runs. What can change does; what cannot is named, and the
//! service goes on as it is.

use super::{Service, ServiceOptions};
use crate::config;
use crate::door_reports::ReloadReport;
use crate::exit::Failure;
use crate::supervisor::Moment;

impl Service {
    /// As [`Self::reload`], said to the log and to the service manager: nobody waits for the answer.
    pub(super) async fn reload_and_tell(&self) {
        self.supervisor.tell(Moment::Reloading, "reading the configuration");
        match self.reload().await {
            Ok(report) => tracing::info!(
                applied = ?report.applied, needs_restart = ?report.needs_restart, unresolved = ?report.unresolved_clients,
                "configuration read again"
            ),
            Err(failure) => tracing::error!(failure.message, "the configuration stays as it was"),
        }
        self.supervisor.tell(Moment::Ready, &self.summary());
    }

    /// # Errors
    /// Where the file is not valid: nothing changes then.
    pub(super) async fn reload(&self) -> Result<ReloadReport, Failure> {
        let _one = self.reloading.lock().await;
        let file = self.running.lock().config.clone().ok_or_else(|| {
            let advice =
                "it was started by `tidegate mount`, which has no configuration: stop it, and use `tidegate serve`";
            Failure::refuse("reload", self.layout.data.display(), advice)
        })?;
        let wanted = self.env.blocking(move || config::read(&file).map(|read| read.into_options(&file))).await?;
        let mut running = self.running.lock().clone();
        let needs_restart = needs_restart(&running, &wanted);
        let mut applied = Vec::new();
        if running.log != wanted.log {
            self.log_filter
                .set(wanted.log.as_deref())
                .map_err(|error| Failure::refuse("change the log", "[service] log", error))?;
            running.log = wanted.log;
            applied.push("service.log".to_owned());
        }
        if running.stop_limit != wanted.stop_limit {
            running.stop_limit = wanted.stop_limit;
            applied.push("service.stop_limit".to_owned());
        }
        if let (Some(now), Some(then)) = (&mut running.nfs, &wanted.nfs)
            && now.privileged_port != then.privileged_port
        {
            now.privileged_port = then.privileged_port;
            applied.push("nfs.privileged_port".to_owned());
        }
        if running.audit != wanted.audit {
            self.watching.follow(wanted.audit.clone()).await?;
            running.audit = wanted.audit;
            applied.push("audit".to_owned());
        }
        let privileged_port = running.nfs.as_ref().is_some_and(|nfs| nfs.privileged_port);
        *self.running.lock() = running;
        let unresolved_clients = self.shares.resolve_again(privileged_port).await;
        Ok(ReloadReport { applied, needs_restart, unresolved_clients })
    }
}

/// Keys whose values differ and that a running service cannot follow: the store is open, the doors stand.
fn needs_restart(running: &ServiceOptions, wanted: &ServiceOptions) -> Vec<String> {
    let (store, new_store) = (&running.store, &wanted.store);
    let mut keys: Vec<(&str, bool)> = vec![
        ("store.data", store.data != new_store.data),
        ("store.code", store.code != new_store.code),
        ("store.compression", store.compression != new_store.compression),
        ("drives", store.drives != new_store.drives),
        ("cache.size", store.cache_size != new_store.cache_size),
        ("cache.max_dirty", store.max_dirty != new_store.max_dirty),
        ("cache.upload_delay", store.upload_delay != new_store.upload_delay),
        ("mounts", running.mounts != wanted.mounts),
    ];
    match (&running.nfs, &wanted.nfs) {
        (Some(now), Some(then)) => keys.extend([
            ("nfs.listen", now.listen != then.listen),
            ("nfs.register_portmapper", now.register_portmapper != then.register_portmapper),
            ("nfs.manage_gids", now.manage_gids != then.manage_gids),
        ]),
        (None, None) => {}
        _ => keys.push(("nfs", true)),
    }
    match (&running.admin, &wanted.admin) {
        (Some(now), Some(then)) => keys.extend([
            ("admin.listen", now.listen != then.listen),
            ("admin.token_file", now.token_file != then.token_file),
        ]),
        (None, None) => {}
        _ => keys.push(("admin", true)),
    }
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{AdminSection, NfsSection};
    use gateway_admin::AuditConfig;

    #[test]
    fn what_needs_a_restart_is_named_and_nothing_else() {
        let nfs = Some(NfsSection::default());
        let running = ServiceOptions { nfs, admin: Some(AdminSection::default()), ..ServiceOptions::default() };
        let live = ServiceOptions {
            nfs: Some(NfsSection { privileged_port: true, ..NfsSection::default() }),
            stop_limit: Duration::from_secs(1),
            log: Some("debug".to_owned()),
            audit: Some(AuditConfig { path: "/a".into(), shares: vec![], file_bytes_max: 1, older_files_max: 1 }),
            ..running.clone()
        };
        assert_eq!(needs_restart(&running, &live), [""; 0]);
        let mut other = ServiceOptions { mounts: vec!["/m".into()], nfs: None, admin: None, ..live.clone() };
        other.store.cache_size = Some(1);
        assert_eq!(needs_restart(&running, &other), ["cache.size", "mounts", "nfs", "admin"]);
        let listen = NfsSection { listen: vec!["[::1]:1".parse().expect("an address")], ..NfsSection::default() };
        assert_eq!(needs_restart(&running, &ServiceOptions { nfs: Some(listen), ..live.clone() }), ["nfs.listen"]);
        let token = AdminSection { token_file: Some("/t".into()), ..AdminSection::default() };
        assert_eq!(needs_restart(&running, &ServiceOptions { admin: Some(token), ..live }), ["admin.token_file"]);
    }
}

//! What is said of doors, and of the configuration that they stand in.

use serde::{Deserialize, Serialize};

use crate::reports::line;

/// More shares than this are left to `share list`.
const MOUNT_LINES_MAX: usize = 8;

/// The NFS door.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NfsReport {
    pub(crate) listen: Vec<String>,
    pub(crate) connections: u64,
    pub(crate) shares: Vec<String>,
    /// How each share is mounted.
    pub(crate) mount_lines: Vec<String>,
}

impl NfsReport {
    /// `127.0.0.1:2049: 2 shares, 1 connection`.
    pub(crate) fn summary(&self) -> String {
        let count = |n: u64, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        let (shares, connections) = (count(self.shares.len() as u64, "share"), count(self.connections, "connection"));
        format!("{}: {shares}, {connections}", self.listen.join(", "))
    }

    /// How shares are mounted, a line each.
    pub(crate) fn mounts_into(&self, out: &mut String) {
        for mount in self.mount_lines.iter().take(MOUNT_LINES_MAX) {
            line(out, "", mount);
        }
        if self.mount_lines.len() > MOUNT_LINES_MAX {
            line(out, "", "and more: tidegate share list");
        }
    }
}

/// `reload`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ReloadReport {
    /// Keys of the configuration that hold from now on.
    pub(crate) applied: Vec<String>,
    /// Keys whose new values hold after a restart only.
    pub(crate) needs_restart: Vec<String>,
    /// Names of clients that lead nowhere and admit nobody.
    pub(crate) unresolved_clients: Vec<String>,
}

impl ReloadReport {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let said = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        line(&mut out, "changed", &said(&self.applied));
        if !self.needs_restart.is_empty() {
            line(&mut out, "restart", &format!("needed for {}", self.needs_restart.join(", ")));
        }
        if !self.unresolved_clients.is_empty() {
            line(&mut out, "NOT FOUND", &format!("clients that admit nobody: {}", self.unresolved_clients.join(", ")));
        }
        out
    }
}

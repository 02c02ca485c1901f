//! What is said of shares.

use serde::{Deserialize, Serialize};

use super::quota::QuotaReport;
use super::record::{AckRule, SquashRule};
use crate::reports::line;

/// One share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShareReport {
    pub(crate) id: u32,
    pub(crate) path: String,
    /// Where the directory was when it was shared.
    pub(crate) directory: String,
    pub(crate) inode: u64,
    /// `there`, `renamed` (it is shared all the same), or `removed`.
    pub(crate) state: String,
    pub(crate) clients: Vec<String>,
    /// Names of clients that lead nowhere and admit nobody.
    pub(crate) unresolved: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) squash: SquashRule,
    pub(crate) anonymous_uid: u32,
    pub(crate) anonymous_gid: u32,
    pub(crate) ack: AckRule,
    /// Null where nothing limits it.
    pub(crate) quota: Option<QuotaReport>,
    /// Paths of other shares that lie in this one or around it.
    pub(crate) overlaps: Vec<String>,
}

/// `share list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShareList {
    pub(crate) shares: Vec<ShareReport>,
    /// How each is mounted; nothing where no NFS door is open.
    pub(crate) mount_lines: Vec<String>,
}

/// `share create`, `share set`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShareChanged {
    pub(crate) share: ShareReport,
    /// What whoever changed it should know.
    pub(crate) notes: Vec<String>,
    /// How it is mounted; nothing where no NFS door is open.
    pub(crate) mount_line: Option<String>,
}

impl ShareReport {
    fn text_into(&self, out: &mut String) {
        line(out, "share", &format!("{} (number {})", self.path, self.id));
        let directory = match self.state.as_str() {
            "there" => self.directory.clone(),
            "renamed" => format!("{} when it was shared, renamed since; inode {}", self.directory, self.inode),
            _ => format!("{} is REMOVED: `tidegate share delete {}`", self.directory, self.path),
        };
        line(out, "directory", &directory);
        line(out, "clients", &self.clients.join(", "));
        if !self.unresolved.is_empty() {
            line(out, "", &format!("NOT FOUND, admit nobody: {}", self.unresolved.join(", ")));
        }
        let access = if self.read_only { "read only" } else { "read and write" };
        let squash = match self.squash {
            SquashRule::Root => format!("root is {}:{}", self.anonymous_uid, self.anonymous_gid),
            SquashRule::All => format!("everybody is {}:{}", self.anonymous_uid, self.anonymous_gid),
            SquashRule::None => "root is root".to_owned(),
        };
        let ack = match self.ack {
            AckRule::Synced => "answered when on disk",
            AckRule::Async => "changes of names answered before they are on disk",
        };
        line(out, "access", &format!("{access}; {squash}; {ack}"));
        if let Some(quota) = &self.quota {
            line(out, "quota", &quota.text(self.inode));
        }
        if !self.overlaps.is_empty() {
            line(out, "overlaps", &self.overlaps.join(", "));
        }
    }
}

impl ShareList {
    pub(crate) fn text(&self) -> String {
        if self.shares.is_empty() {
            return "no shares: `tidegate share create DIRECTORY` makes one".to_owned();
        }
        let mut out = String::new();
        for share in &self.shares {
            share.text_into(&mut out);
        }
        for mount in &self.mount_lines {
            line(&mut out, "mount", mount);
        }
        out
    }
}

impl ShareChanged {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.share.text_into(&mut out);
        for note in &self.notes {
            line(&mut out, "note", note);
        }
        if let Some(mount) = &self.mount_line {
            line(&mut out, "mount", mount);
        }
        out
    }
}

//! How commands talk to a running service: a socket in the store's folder, one request per connection.
//!
//! Both sides speak JSON lines: the request is one, the answer is any number of `progress` (or, of a trace, `operations`)
//! lines and then one `done` or `failed`. Only the owner of the store may connect (mode 0600).

mod client;
mod conversation;
mod server;

use std::path::PathBuf;

use gateway_admin::{Line, TraceFilter};
use serde::{Deserialize, Serialize};

use crate::door_reports::ReloadReport;
use crate::exit::Exit;
use crate::reports::{CheckOutcome, DropOutcome, HealOutcome, InfoReport, Left, PoolReport, Progress, StatusReport};
use crate::shares::{ShareChanged, ShareList, ShareTerms};
use crate::watch_reports::Sample;

pub(crate) use client::{Conversation, ask, ask_for};
pub(crate) use conversation::{Ear, converse, parse};
pub(crate) use server::{Control, Stop, Stopped, serve};

/// Longest request or answer line.
const LINE_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op", deny_unknown_fields)]
pub(crate) enum Request {
    Status,
    /// What the doors counted.
    Stats,
    /// Every operation of the doors that the filter lets through, from now on, until whoever asked goes.
    Trace {
        filter: TraceFilter,
    },
    Info {
        inode: u64,
    },
    PoolStatus,
    PoolHeal,
    Flush,
    Check,
    CacheDrop,
    /// Read the configuration again.
    Reload,
    ShareList,
    ShareCreate {
        directory: String,
        make: bool,
        terms: ShareTerms,
    },
    ShareSet {
        share: String,
        terms: ShareTerms,
    },
    ShareDelete {
        share: String,
    },
    /// Drain, unmount, and end where no other door is open.
    Stop {
        mountpoint: PathBuf,
        force: bool,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Progress(Progress),
    Operations {
        lines: Vec<Line>,
        /// That whoever listens was too slow for.
        lost: u64,
    },
    Done(Box<Answer>),
    Failed {
        exit: Exit,
        message: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Box<StatusReport>),
    Stats(Box<Sample>),
    Info(InfoReport),
    Pool(PoolReport),
    Healed(HealOutcome),
    Checked(CheckOutcome),
    Dropped(DropOutcome),
    Finished,
    Reloaded(ReloadReport),
    Shares(ShareList),
    ShareChanged(Box<ShareChanged>),
    /// Unmounted; the service goes on with its other doors.
    Unmounted(Left),
    /// Unmounted; the service ends.
    Stopped(Left),
}

/// Runs `connect` with a path to `socket` that fits the 108 bytes of a socket address, however deep the folder lies.
fn with_short_path<T>(
    socket: &std::path::Path,
    connect: impl FnOnce(&std::path::Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    use std::os::fd::AsRawFd;
    const ADDRESS_BYTES_MAX: usize = 100;
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else { return connect(socket) };
    if socket.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return connect(socket);
    }
    let folder = crate::host::open_directory(folder)?;
    let short = std::path::PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    connect(&short)
}

//! Serving in the background: the command starts the same program again, waits until that one serves or fails, and
//! prints what it reports.
//!
//! The service's standard output is the pipe between the two; it is closed when the service is up. Its standard error
//! stays the terminal until the store's log takes over, so that nothing said before is lost.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::reports::ServingReport;

/// What the service tells the command that started it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Announcement {
    Serving(Box<ServingReport>),
    Failed { exit: Exit, message: String },
}

/// Starts the service with this process's own arguments and waits for its announcement.
pub(crate) fn start() -> Result<ServingReport, Failure> {
    let failed = |error: std::io::Error| Failure::refuse("start the service", "this program", error);
    let program = std::env::current_exe().map_err(failed)?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut child = Command::new(program)
        .args(arguments)
        .arg("--in-background")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut text = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut text).map_err(failed)?;
    }
    match serde_json::from_slice(&text) {
        Ok(Announcement::Serving(report)) => Ok(*report),
        Ok(Announcement::Failed { exit, message }) => {
            // It ends right after; a failure to wait changes nothing for the user.
            drop(child.wait());
            Err(Failure { exit, message })
        }
        Err(_) => {
            let status = child.wait().map_err(failed)?;
            Err(Failure::refuse(
                "start the service",
                "it ended without a word",
                format!("{status}: run it with --foreground to see why"),
            ))
        }
    }
}

/// Leaves the terminal's session, so that closing it does not end the service.
pub(crate) fn detach() {
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "the service stays in its session");
    }
}

/// Sends `announcement` up and closes the pipe. Whoever waited may be gone; the service goes on.
pub(crate) fn announce(announcement: &Announcement) {
    let mut out = std::io::stdout().lock();
    let sent = serde_json::to_vec(announcement)
        .map_err(std::io::Error::from)
        .and_then(|text| out.write_all(&text))
        .and_then(|()| out.flush());
    if let Err(error) = sent {
        tracing::debug!(%error, "nobody waits for the announcement");
    }
    drop(out);
    close_stdout();
}

fn close_stdout() {
    // Descriptor 1 must stay taken, or the next file opened would get what is printed.
    let closed = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_WRONLY, nix::sys::stat::Mode::empty())
        .and_then(nix::unistd::dup2_stdout);
    if let Err(error) = closed {
        tracing::debug!(%error, "the pipe to the command stays open");
    }
}

//! What ends a mount whose server was killed in the middle of an announcement.
//!
//! The kernel ends a mount's connection when the last descriptor of it is closed. A thread that announces a change may wait
//! in the kernel, for the lock of a directory that a program holds until its own request is answered. If the server is
//! killed then, nobody answers; the program keeps the lock, the thread keeps the descriptor, and both wait for ever, with
//! the dead process's locks and ports. So where announcements are made, a small process of its own waits for the
//! server's end and then ends the connection from outside.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use objstore_base::{Error, Result};
use tracing::debug;

use crate::host;
use crate::mountpoint::find_mount;

/// Sent by the kernel when the thread that started the guard ends.
const SERVER_ENDS: Signal = Signal::SIGUSR1;
/// From that thread's end to that of the process.
const END_STEP: Duration = Duration::from_millis(20);
const END_STEPS_MAX: u32 = 500;

/// Starts the guard of `mounts` as `program` with `arguments`, which has to come to [`run`] with what follows them. Called
/// on a thread that lives as long as the process.
///
/// # Errors
/// Where the process cannot be started, or a mount is not there.
pub fn start(program: &Path, arguments: &[&str], mounts: &[PathBuf]) -> Result<Child> {
    const OP: &str = "start the guard of mounts";
    let mut command = Command::new(program);
    command.args(arguments).arg(std::process::id().to_string());
    for path in mounts {
        if let Some(entry) = find_mount(path)? {
            command.arg(entry.device).arg(path);
        }
    }
    // Of its own group: what a terminal sends to the server is not meant for it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| Error::io(OP, error).entity(program.display()))
}

/// The guard's life: waits for the end of process `server`, then ends the connections of `mounts` (device and path).
///
/// # Errors
/// Where the wait cannot be set up.
pub fn run(server: u32, mounts: &[(String, PathBuf)]) -> Result<()> {
    const OP: &str = "guard mounts";
    let failed = |errno: nix::errno::Errno| Error::io(OP, errno.into());
    // A request to end is for the server; it ends the guard with it.
    let ignored: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    ignored.thread_block().map_err(failed)?;
    let ends: SigSet = [SERVER_ENDS].into_iter().collect();
    ends.thread_block().map_err(failed)?;
    host::close_inherited();
    set_pdeathsig(SERVER_ENDS).map_err(failed)?;
    while !has_ended(server) {
        if nix::unistd::getppid().as_raw().cast_unsigned() == server {
            ends.wait().map_err(failed)?;
        }
        for _ in 0..END_STEPS_MAX {
            if has_ended(server) {
                break;
            }
            host::pause(END_STEP);
        }
    }
    mounts.iter().for_each(|(device, path)| end_connection(device, path));
    Ok(())
}

/// Whether the process is gone, or would be but for a thread that the kernel holds.
pub fn has_ended(process: u32) -> bool {
    let stat = host::read_text(&format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_ascii_whitespace().next());
    state.is_none_or(|state| matches!(state, "Z" | "X"))
}

/// Ends the connection behind the mount at `path`, if that is still the one of `device`.
pub fn end_connection(device: &str, path: &Path) {
    if !matches!(find_mount(path), Ok(Some(entry)) if entry.device == device && entry.is_ours()) {
        return;
    }
    let minor = device.rsplit(':').next().unwrap_or_default();
    if host::write_text(&format!("/sys/fs/fuse/connections/{minor}/abort"), "1").is_ok() {
        return;
    }
    // A forced unmount ends the connection first, and fails then where the mount is in use.
    if let Err(errno) = umount2(path, MntFlags::MNT_FORCE) {
        debug!(%errno, path = %path.display(), "the mount stays, without its server");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_ended_when_it_is_gone_or_a_zombie() {
        assert!(!has_ended(std::process::id()));
        let mut child = Command::new("true").spawn().expect("it can be started");
        let id = child.id();
        for _ in 0..END_STEPS_MAX {
            if has_ended(id) {
                break;
            }
            std::thread::sleep(END_STEP);
        }
        assert!(has_ended(id), "nobody has waited for it, so it is a zombie");
        child.wait().expect("an own child");
        assert!(has_ended(id));
    }
}

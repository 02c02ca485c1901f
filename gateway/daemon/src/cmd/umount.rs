//! `tidegate umount`: everything into the pool, then the mount goes, and the service with its last door.

use gateway_fuse::{Busy, MountEntry, absolute, find_mount, unmount};
use serde::Serialize;

use crate::cli::UmountArgs;
use crate::cmd::progress::Bar;
use crate::cmd::unexpected;
use crate::control::{Answer, Request, ask};
use crate::exit::{Exit, Failure};
use crate::reports::Left;
use crate::store::Layout;
use crate::units::show_bytes;
use crate::{Outcome, output};

/// What ends a wait for the pool.
const ADVICE: &str = "Ctrl-C leaves the mount and the service as they are; `tidegate umount --force` gives up after half a \
                      minute and leaves the rest in the journal, safe on this machine";

#[derive(Serialize)]
struct UmountReport {
    mountpoint: std::path::PathBuf,
    /// The service had died; its mount was only taken away.
    was_dead: bool,
    /// Bytes that are in the journal only and go to the pool after the next mount; null where nobody could say.
    dirty_bytes: Option<u64>,
    /// The pool has everything; null where nobody could say.
    complete: Option<bool>,
    /// The service goes on with its other doors.
    goes_on: bool,
}

impl UmountReport {
    fn text(&self) -> String {
        let point = self.mountpoint.display();
        if self.goes_on {
            return format!("{point} unmounted; the service goes on with its other doors");
        }
        let kept = "safe in the journal on this machine's disk, the only copy: the next `tidegate mount` uploads them";
        match (self.was_dead, self.dirty_bytes, self.complete) {
            (true, ..) => format!(
                "{point} was left by a service that died; it is gone. What was not in the pool is in the journal: the next `tidegate mount` goes on with it"
            ),
            (_, _, Some(true)) => format!("{point} unmounted; everything is in the pool"),
            (_, Some(0), _) => {
                format!("{point} unmounted; the last changes of names and attributes are NOT in the pool: {kept}")
            }
            (_, Some(bytes), _) => format!("{point} unmounted; {} are NOT in the pool: {kept}", show_bytes(bytes)),
            _ => format!("{point} unmounted; the service drains into the pool and ends"),
        }
    }
}

pub(crate) fn run(args: &UmountArgs, json: bool) -> Outcome {
    let entry = our_mount(args)?;
    let was_dead = entry.is_dead();
    let (left, goes_on) = if was_dead {
        unmount(&entry.point, Busy::Detach)?;
        (None, false)
    } else {
        stop(&entry, args.force, json)?
    };
    let report = UmountReport {
        mountpoint: entry.point,
        was_dead,
        dirty_bytes: left.map(|left| left.dirty_bytes),
        complete: left.map(|left| left.complete),
        goes_on,
    };
    output::report(&report, json, || report.text());
    Ok(Exit::Ok)
}

fn our_mount(args: &UmountArgs) -> Result<MountEntry, Failure> {
    let place = args.mountpoint.display();
    let not_ours = |why: &str| Failure::refuse("unmount", place.to_string(), why).with_exit(Exit::NotRunning);
    let path = absolute(&args.mountpoint).map_err(|_| not_ours("there is no such directory"))?;
    let entry = find_mount(&path)?.ok_or_else(|| not_ours("nothing is mounted there"))?;
    if entry.is_ours() { Ok(entry) } else { Err(not_ours("what is mounted there is not tidegate: use umount(8)")) }
}

/// What the service left, where it could be asked, and whether it goes on.
fn stop(entry: &MountEntry, force: bool, json: bool) -> Result<(Option<Left>, bool), Failure> {
    let data = entry
        .data_folder()
        .ok_or_else(|| Failure::refuse("unmount", entry.point.display(), "it names no data folder"))?;
    let request = Request::Stop { mountpoint: entry.point.clone(), force };
    let mut bar = Bar::new(json, ADVICE);
    let stopped = ask(&Layout::new(data), &request, |step| bar.show(step));
    bar.end();
    match stopped {
        Ok(Answer::Stopped(left)) => Ok((Some(left), false)),
        Ok(Answer::Unmounted(left)) => Ok((Some(left), true)),
        Ok(_) => Err(unexpected()),
        // Its control socket is gone, but the mount answers: the kernel's own way ends it as well.
        Err(failure) if failure.exit == Exit::NotRunning => {
            unmount(&entry.point, if force { Busy::Detach } else { Busy::Fail })?;
            Ok((None, false))
        }
        Err(failure) => Err(failure),
    }
}

//! `tidegate umount`: everything into the pool, then the mount goes and the service ends.

use gateway_fuse::{Busy, MountEntry, absolute, find_mount, unmount};
use serde::Serialize;

use crate::cli::UmountArgs;
use crate::cmd::progress::Bar;
use crate::control::{Request, ask};
use crate::exit::{Exit, Failure};
use crate::store::Layout;
use crate::{Outcome, output};

#[derive(Serialize)]
struct UmountReport {
    mountpoint: std::path::PathBuf,
    /// The service had died; its mount was only taken away.
    was_dead: bool,
}

pub(crate) fn run(args: &UmountArgs, json: bool) -> Outcome {
    let entry = our_mount(args)?;
    let was_dead = entry.is_dead();
    if was_dead {
        unmount(&entry.point, Busy::Detach)?;
    } else {
        stop(&entry, args.force, json)?;
    }
    let report = UmountReport { mountpoint: entry.point, was_dead };
    output::report(&report, json, || {
        let what = if was_dead {
            "was left by a service that died; it is gone"
        } else {
            "unmounted; everything is in the pool"
        };
        format!("{} {what}", report.mountpoint.display())
    });
    Ok(Exit::Ok)
}

fn our_mount(args: &UmountArgs) -> Result<MountEntry, Failure> {
    let place = args.mountpoint.display();
    let not_ours = |why: &str| Failure::refuse("unmount", place.to_string(), why).with_exit(Exit::NotRunning);
    let path = absolute(&args.mountpoint).map_err(|_| not_ours("there is no such directory"))?;
    let entry = find_mount(&path)?.ok_or_else(|| not_ours("nothing is mounted there"))?;
    if entry.is_ours() { Ok(entry) } else { Err(not_ours("what is mounted there is not tidegate: use umount(8)")) }
}

fn stop(entry: &MountEntry, force: bool, json: bool) -> Result<(), Failure> {
    let data = entry
        .data_folder()
        .ok_or_else(|| Failure::refuse("unmount", entry.point.display(), "it names no data folder"))?;
    let mut bar = Bar::new(json);
    let stopped = ask(&Layout::new(data), &Request::Stop { force }, |step| bar.show(step));
    bar.end();
    match stopped {
        Ok(_) => Ok(()),
        // Its control socket is gone, but the mount answers: the kernel's own way ends it as well.
        Err(failure) if failure.exit == Exit::NotRunning => {
            Ok(unmount(&entry.point, if force { Busy::Detach } else { Busy::Fail })?)
        }
        Err(failure) => Err(failure),
    }
}

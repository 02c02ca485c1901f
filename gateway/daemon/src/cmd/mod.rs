//! The commands, one file each.

mod cache;
mod check;
mod doctor;
mod flush;
mod guard;
mod info;
mod init;
mod mount;
mod pool;
mod progress;
mod recover;
mod reload;
mod serve;
mod share;
mod stats;
mod status;
mod top;
mod trace;
mod umount;

use std::path::{Path, PathBuf};

use gateway_fuse::{find_mount, our_mounts};

use crate::Outcome;
use crate::cli::{CacheCommand, Cli, Command, PoolCommand, StoreArgs};
use crate::exit::{Exit, Failure};
use crate::store::{self, Layout};
use crate::{config, host};

pub(crate) fn run(cli: Cli) -> Outcome {
    let json = cli.json;
    match cli.command {
        Command::Mount(args) => mount::run(&args, json),
        Command::Serve(args) => serve::run(&args, json),
        Command::Guard(args) => guard::run(&args),
        Command::Init(args) => init::run(&args, json),
        Command::Reload(args) => reload::run(&args, json),
        Command::Share(command) => share::run(command, json),
        Command::Umount(args) => umount::run(&args, json),
        Command::Status(args) => status::run(&args, json),
        Command::Stats(args) => stats::run(&args, json),
        Command::Top(args) => top::run(&args, json),
        Command::Trace(args) => trace::run(args, json),
        Command::Info(args) => info::run(&args, json),
        Command::Pool(PoolCommand::Status(args)) => pool::status(&args, json),
        Command::Pool(PoolCommand::Heal(args)) => pool::heal(&args, json),
        Command::Flush(args) => flush::run(&args, json),
        Command::Check(args) => check::run(&args, json),
        Command::Cache(CacheCommand::Drop(args)) => cache::drop_copies(&args, json),
        Command::Recover(args) => recover::run(&args, json),
        Command::Doctor(args) => doctor::run(&args, json),
    }
}

/// The store a command means: by its folder, by its mount point, the only one mounted here, the one of the configuration
/// that `tidegate serve` takes, or the default one.
fn find_store(args: &StoreArgs) -> Result<Layout, Failure> {
    if let Some(mountpoint) = &args.mountpoint {
        return mounted_at(mountpoint);
    }
    let data = store::data_folder(args.data.as_deref())?;
    let layout = Layout::new(data);
    if args.data.is_none() && host::metadata(&layout.store_file()).is_err() {
        let mounts = our_mounts()?;
        if let [only] = mounts.as_slice()
            && let Some(data) = only.data_folder()
        {
            return Ok(Layout::new(data));
        }
        if mounts.len() > 1 {
            let points: Vec<String> = mounts.iter().map(|mount| mount.point.display().to_string()).collect();
            return Err(Failure::refuse(
                "find the store",
                "several are mounted",
                format!("name one of {}", points.join(", ")),
            ));
        }
        if let Some(data) = configured_store()? {
            return Ok(Layout::new(data));
        }
    }
    store::existing(&layout.data)?;
    Ok(layout)
}

/// The store of the default configuration, where there is one.
fn configured_store() -> Result<Option<PathBuf>, Failure> {
    let file = config::find(None)?;
    if host::metadata(&file).is_err() {
        return Ok(None);
    }
    let options = config::read(&file)?.into_options(&file);
    options.store.data.map(|data| store::data_folder(Some(&data))).transpose()
}

fn mounted_at(mountpoint: &Path) -> Result<Layout, Failure> {
    let nothing = || {
        Failure::refuse(
            "find the store",
            mountpoint.display(),
            "no store is mounted there: see the mount points with `findmnt -t fuse.tidegate`",
        )
        .with_exit(Exit::NotRunning)
    };
    let path = gateway_fuse::absolute(mountpoint).map_err(|_| nothing())?;
    find_mount(&path)?.and_then(|mount| mount.data_folder()).map(Layout::new).ok_or_else(nothing)
}

/// An answer of another kind than was asked for: two versions talk to each other.
fn unexpected() -> Failure {
    Failure::new(
        Exit::Failure,
        "talk to the service: it answered something else: restart it with this version of tidegate",
    )
}

//! `tidegate info`: where one file lies.

use std::path::Path;

use gateway_fuse::our_mounts;

use crate::cli::InfoArgs;
use crate::cmd::unexpected;
use crate::control::{Answer, Request, ask_for};
use crate::exit::{Exit, Failure};
use crate::store::Layout;
use crate::{Outcome, host, output};

pub(crate) fn run(args: &InfoArgs, json: bool) -> Outcome {
    let path = gateway_fuse::place_of(&args.path)?;
    let inode = host::inode_number(&path).map_err(|error| Failure::refuse("find", args.path.display(), error))?;
    let layout = store_of(&path)?;
    let Answer::Info(mut report) = ask_for(&layout, &Request::Info { inode })? else { return Err(unexpected()) };
    report.path = path.to_string_lossy().into_owned().into();
    output::report(&report, json, || report.text());
    Ok(Exit::Ok)
}

fn store_of(path: &Path) -> Result<Layout, Failure> {
    let mounts = our_mounts()?;
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let innermost = around.max_by_key(|mount| mount.point.as_os_str().len());
    innermost.and_then(|mount| mount.data_folder()).map(Layout::new).ok_or_else(|| {
        Failure::refuse("find", path.display(), "it is not in a tidegate mount").with_exit(Exit::NotRunning)
    })
}

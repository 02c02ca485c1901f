//! `tidegate check`: everything the index claims, counted again by the running service; or, with `-c`, a configuration
//! looked at without starting anything.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Outcome;
use crate::cli::CheckArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::exit::{Exit, Failure};
use crate::service::{Places, ServiceOptions};
use crate::store::{self, Layout, Plan};
use crate::{config, output};

#[derive(Serialize)]
struct ConfigReport {
    config: PathBuf,
    data: PathBuf,
    /// The first start makes the store.
    new_store: bool,
    mounts: Vec<PathBuf>,
    nfs_listen: Vec<String>,
    admin_listen: Option<String>,
    audit: Option<PathBuf>,
    /// A service has the store open: whether its places are free was not looked at.
    running: bool,
}

pub(crate) fn run(args: &CheckArgs, json: bool) -> Outcome {
    if let Some(file) = &args.config {
        return configuration(file, json);
    }
    let layout = find_store(&args.store)?;
    let Answer::Checked(report) = ask_for(&layout, &Request::Check)? else { return Err(unexpected()) };
    output::report(&report, json, || report.text());
    Ok(if report.findings_total == 0 { Exit::Ok } else { Exit::Damaged })
}

fn configuration(file: &Path, json: bool) -> Outcome {
    let file = config::find(Some(file))?;
    let options = config::read(&file)?.into_options(&file);
    let layout = Layout::new(store::data_folder(options.store.data.as_deref())?);
    let running = ask_for(&layout, &Request::PoolStatus).is_ok();
    let plan = look(&options, &layout, running)?;
    let listen = options.nfs.iter().flat_map(|nfs| &nfs.listen);
    let report = ConfigReport {
        config: file,
        data: layout.data,
        new_store: matches!(plan, Plan::Create(_)),
        nfs_listen: listen.map(ToString::to_string).collect(),
        admin_listen: options.admin.map(|admin| admin.listen.to_string()),
        audit: options.audit.map(|audit| audit.path),
        mounts: options.mounts,
        running,
    };
    output::report(&report, json, || text(&report));
    Ok(Exit::Ok)
}

/// What a start would find, as far as can be seen without one. The places of a service that runs are taken by itself.
fn look(options: &ServiceOptions, layout: &Layout, running: bool) -> Result<Plan, Failure> {
    if running {
        let points: Vec<&Path> = options.mounts.iter().map(PathBuf::as_path).collect();
        return store::plan(&options.store, layout, &points);
    }
    let places = Places::check(options)?;
    store::plan(&options.store, layout, &places.mountpoints())
}

fn text(report: &ConfigReport) -> String {
    let store = match (report.new_store, report.running) {
        (true, _) => "the first start makes it",
        (false, true) => "there, and being served",
        (false, false) => "there",
    };
    let mut out = format!("{} is valid\nstore: {} ({store})", report.config.display(), report.data.display());
    for mount in &report.mounts {
        out.push_str(&format!("\nmount: {}", mount.display()));
    }
    if !report.nfs_listen.is_empty() {
        out.push_str(&format!("\nNFS:   {}", report.nfs_listen.join(", ")));
    }
    if let Some(admin) = &report.admin_listen {
        out.push_str(&format!("\nadmin: {admin}"));
    }
    if let Some(audit) = &report.audit {
        out.push_str(&format!("\naudit: {}", audit.display()));
    }
    out
}

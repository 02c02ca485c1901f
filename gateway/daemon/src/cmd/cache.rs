//! `tidegate cache drop`: forget every local copy of what the pool has.

use crate::Outcome;
use crate::cli::StoreArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::exit::Exit;
use crate::output;
use crate::units::show_bytes;

pub(crate) fn drop_copies(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let Answer::Dropped(report) = ask_for(&layout, &Request::CacheDrop)? else { return Err(unexpected()) };
    output::report(&report, json, || {
        format!("freed {} of local copies; reads come from the pool", show_bytes(report.freed_bytes))
    });
    Ok(Exit::Ok)
}

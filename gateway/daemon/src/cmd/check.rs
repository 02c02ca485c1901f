//! `tidegate check`: everything the index claims, counted again by the running service.

use crate::Outcome;
use crate::cli::StoreArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::exit::Exit;
use crate::output;

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let Answer::Checked(report) = ask_for(&layout, &Request::Check)? else { return Err(unexpected()) };
    output::report(&report, json, || report.text());
    Ok(if report.findings_total == 0 { Exit::Ok } else { Exit::Damaged })
}

//! `tidegate status`: is the data safe, what is not in the pool yet, what is full?

use crate::cli::StoreArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::{Outcome, output};

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let Answer::Status(report) = ask_for(&layout, &Request::Status)? else { return Err(unexpected()) };
    output::report(&report, json, || report.text());
    Ok(report.health.exit())
}

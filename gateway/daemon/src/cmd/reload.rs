//! `tidegate reload`: the running service reads its configuration again.

use crate::cli::StoreArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::exit::Exit;
use crate::{Outcome, output};

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let Answer::Reloaded(report) = ask_for(&layout, &Request::Reload)? else { return Err(unexpected()) };
    output::report(&report, json, || report.text());
    Ok(Exit::Ok)
}

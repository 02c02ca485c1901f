//! `tidegate stats`: what went through the doors since the start.

use crate::cli::StoreArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::exit::{Exit, Failure};
use crate::store::Layout;
use crate::watch_reports::Sample;
use crate::{Outcome, output};

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let sample = look(&find_store(args)?)?;
    output::report(&sample.report(), json, || sample.table());
    Ok(Exit::Ok)
}

pub(super) fn look(layout: &Layout) -> Result<Sample, Failure> {
    match ask_for(layout, &Request::Stats)? {
        Answer::Stats(sample) => Ok(*sample),
        _ => Err(unexpected()),
    }
}

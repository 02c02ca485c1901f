//! `tidegate pool status` and `tidegate pool heal`.

use crate::cli::StoreArgs;
use crate::cmd::progress::Bar;
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask, ask_for};
use crate::{Outcome, output};

pub(crate) fn status(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let Answer::Pool(report) = ask_for(&layout, &Request::PoolStatus)? else { return Err(unexpected()) };
    output::report(&report, json, || report.text());
    Ok(report.health.exit())
}

pub(crate) fn heal(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let mut bar = Bar::new(json, "");
    let answer = ask(&layout, &Request::PoolHeal, |step| bar.show(step));
    bar.end();
    let Answer::Healed(outcome) = answer? else { return Err(unexpected()) };
    output::report(&outcome, json, || outcome.text());
    Ok(outcome.health().exit())
}

//! `tidegate flush`: everything into the pool, now.

use serde::Serialize;

use crate::cli::StoreArgs;
use crate::cmd::find_store;
use crate::cmd::progress::Bar;
use crate::control::{Request, ask};
use crate::exit::Exit;
use crate::{Outcome, output};

/// What ends a wait for the pool.
const ADVICE: &str = "Ctrl-C ends this wait; the service goes on and uploads when it can";

#[derive(Serialize)]
struct FlushReport {
    data: std::path::PathBuf,
}

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let mut bar = Bar::new(json, ADVICE);
    let flushed = ask(&layout, &Request::Flush, |step| bar.show(step));
    bar.end();
    flushed?;
    output::report(&FlushReport { data: layout.data }, json, || "everything written before is in the pool".to_owned());
    Ok(Exit::Ok)
}

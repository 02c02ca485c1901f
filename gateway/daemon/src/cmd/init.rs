//! `tidegate init`: a configuration to start from.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::ConfigArgs;
use crate::exit::Exit;
use crate::{Outcome, config, output};

#[derive(Serialize)]
struct InitReport {
    config: PathBuf,
}

pub(crate) fn run(args: &ConfigArgs, json: bool) -> Outcome {
    let report = InitReport { config: config::write_starter(args.config.as_deref())? };
    output::report(&report, json, || {
        let file = report.config.display();
        format!("{file} written: look through it, then `tidegate check -c {file}` and `tidegate serve -c {file}`")
    });
    Ok(Exit::Ok)
}

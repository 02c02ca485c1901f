//! The `tidegate` program: its command line, the store's folder, the service that holds everything together.
//!
//! Commands are one file each under `cmd/`. `service/` opens a store and serves it; `control/` is how commands talk
//! to a running service. Semantics of files, blobs and protocols live in the crates below; nothing of it is here.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod background;
mod board;
mod budget;
mod cli;
mod cmd;
mod config;
mod control;
mod door_reports;
mod exit;
mod failpoints;
mod host;
mod log;
mod output;
mod pool_reports;
mod reports;
mod resources;
mod service;
mod settings;
mod shares;
mod signals;
mod store;
mod supervisor;
mod units;
mod watch_reports;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::exit::Exit;

/// Runs the command line `args` (the program's name first) to its end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return output::show_usage(&error, args.iter().any(|arg| arg == "--json")),
    };
    let json = cli.json;
    match cmd::run(cli) {
        Ok(exit) => exit.code(),
        Err(failure) => {
            output::show_failure(&failure, json);
            failure.exit.code()
        }
    }
}

/// What a command gives back.
type Outcome = Result<Exit, exit::Failure>;

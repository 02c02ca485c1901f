//! What the program says: reports on standard output, one line of failure on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Writes `text` to standard output. A reader that went away (`| head`) is no failure of ours.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output is closed");
    }
}

/// Writes `report` as JSON, or `text` where people read.
pub(crate) fn report<T: Serialize>(report: &T, json: bool, text: impl FnOnce() -> String) {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(json) => say(&json),
            Err(error) => complain(&format!("write the report: {error}")),
        }
    } else {
        say(&text());
    }
}

/// One line on standard error.
pub(crate) fn complain(message: &str) {
    let mut err = io::stderr().lock();
    // Where standard error is closed there is nobody to tell.
    drop(writeln!(err, "tidegate: {message}"));
}

#[derive(Serialize)]
struct FailureReport<'a> {
    error: &'a str,
    exit: Exit,
}

pub(crate) fn show_failure(failure: &Failure, json: bool) {
    complain(&failure.message);
    if json {
        report(&FailureReport { error: &failure.message, exit: failure.exit }, true, String::new);
    }
}

/// `--help` and `--version` are answers; everything else clap has to say is a usage error.
pub(crate) fn show_usage(error: &clap::Error) -> ExitCode {
    if let Err(error) = error.print() {
        tracing::debug!(%error, "the message could not be printed");
    }
    if error.use_stderr() { Exit::Usage.code() } else { Exit::Ok.code() }
}

//! What the program says: reports on standard output, one line of failure on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Writes `text` to standard output. A reader that went away (`| head`) is no failure of ours.
pub(crate) fn say(text: &str) {
    if !say_if_heard(text.trim_end_matches('\n')) {
        tracing::debug!("standard output is closed");
    }
}

/// As [`say`], and whether the reader is still there: one who is gone needs no more.
pub(crate) fn say_if_heard(text: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
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

/// One line of failure on standard error.
pub(crate) fn complain(message: &str) {
    tell(&format!("tidegate: {message}"));
}

/// One line on standard error.
pub(crate) fn tell(line: &str) {
    let mut err = io::stderr().lock();
    // Where standard error is closed there is nobody to tell.
    drop(writeln!(err, "{line}"));
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

/// `--help` and `--version` are answers; everything else clap has to say is a usage error, in one line.
pub(crate) fn show_usage(error: &clap::Error, json: bool) -> ExitCode {
    use clap::error::ErrorKind;
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.use_stderr() && !is_help {
        let failure = Failure::new(Exit::Usage, usage_line(&error.to_string()));
        show_failure(&failure, json);
        return failure.exit.code();
    }
    if let Err(error) = error.print() {
        tracing::debug!(%error, "the message could not be printed");
    }
    if error.use_stderr() { Exit::Usage.code() } else { Exit::Ok.code() }
}

/// clap's message without its form: what is wrong, its tips, and where the help is.
fn usage_line(text: &str) -> String {
    let wrong: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let wrong = wrong.join(" ");
    let command = text.lines().find_map(|line| line.trim().strip_prefix("Usage: ")).unwrap_or("tidegate");
    let command: Vec<&str> = command.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    format!("{}: see `{} --help`", wrong.strip_prefix("error: ").unwrap_or(&wrong), command.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn said(args: &[&str]) -> String {
        let error = Cli::try_parse_from(["tidegate"].iter().chain(args)).expect_err("a usage error");
        usage_line(&error.to_string())
    }

    #[test]
    fn a_usage_error_is_one_line_that_says_what_is_wrong() {
        let none = said(&["mount"]);
        assert!(none.contains("<MOUNTPOINT>") && none.ends_with("see `tidegate mount --help`"), "{none}");
        let code = said(&["mount", "--code", "-1+2", "m"]);
        assert!(code.contains("`-1+2` is no code") && !code.contains('\n'), "{code}");
        let unknown = said(&["mount", "--no-such", "m"]);
        assert!(unknown.contains("--no-such"), "{unknown}");
        let dirty = said(&["mount", "--max-dirty", "1", "m"]);
        assert!(dirty.contains("at least 16.0 MiB"), "{dirty}");
    }
}

//! Exit codes, and which error has which.

use std::process::ExitCode;

use objstore_base::{Error, ErrorKind};

/// How the program ends. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    Ok,
    Failure,
    /// The command line does not make sense (as clap does).
    Usage,
    /// No store there, not running, or not mounted.
    NotRunning,
    /// It works, with less redundancy than it should have.
    Degraded,
    /// Something cannot be read any more.
    Damaged,
    /// In use: the store by another process, or the mount by programs.
    InUse,
}

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0  done, all is well
  1  it failed; the message says what and what to do
  2  the command line does not make sense
  3  no store there, not running, or not mounted
  4  degraded: everything is readable, something is missing on the drives
  5  damaged: something cannot be read any more
  6  in use: the store by another process, or the mount by programs";

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::Degraded => 4,
            Self::Damaged => 5,
            Self::InUse => 6,
        })
    }
}

/// An error on its way to the user, with the exit code it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// `what failed: where: what to do`, one line.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { exit, message: message.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// A refusal of what was asked for, with what to do instead.
    pub(crate) fn refuse(what: &str, place: impl std::fmt::Display, advice: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failure, format!("{what}: {place}: {advice}"))
    }

    #[must_use]
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Damaged | ErrorKind::Corrupt => Exit::Damaged,
            ErrorKind::StoreLocked | ErrorKind::Busy => Exit::InUse,
            _ => Exit::Failure,
        };
        // The error's own form is "operation entity: reasons"; here the place stands on its own.
        let text = error.to_string();
        let (op, entity) = (error.op(), error.entity_name());
        let reasons = text.strip_prefix(op).unwrap_or(&text).trim_start();
        let reasons = reasons.strip_prefix(entity).unwrap_or(reasons).trim_start_matches(": ");
        let message = if entity.is_empty() { format!("{op}: {reasons}") } else { format!("{op}: {entity}: {reasons}") };
        Self::new(exit, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_one_line_with_its_place_apart() {
        let error = Error::new(ErrorKind::StoreLocked, "open store").entity("/d").context("stop it\nfirst");
        let failure = Failure::from(error);
        assert_eq!(failure.message, "open store: /d: stop it first");
        assert_eq!(failure.exit, Exit::InUse);
        assert_eq!(Failure::from(Error::new(ErrorKind::Io, "sync")).message, "sync: Io");
    }
}

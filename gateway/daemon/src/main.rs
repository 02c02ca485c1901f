//! The `tidegate` binary.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_daemon::run(std::env::args_os())
}

//! Measurements of the real program, each against a yardstick in the same run.
//!
//! `cargo run --release -p tools-bench -- --help` says how to run them.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a measurement outside the program")]

mod memory;
mod mount;
mod nfs;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: tools-bench [--runs N] [--only TEXT] [--mib N] [--files N] [--json]
           the mount against the local filesystem under it
       tools-bench nfs [--runs N] [--only TEXT] [--secs N] [--mib N] [--files N] [--json] [--alone]
           the NFS door against nfs-ganesha on the same filesystem
       tools-bench nfs --null [--secs N]
           the load generator against a server that does nothing, and the disk: what bounds every server

  --runs N    pairs of runs, of which the medians are compared (5)
  --only TEXT only what has TEXT in its name
  --secs N    seconds of a run (1)
  --mib N     size of the large file
  --files N   files that are made and removed
  --json      figures as JSON
  --alone     without nfs-ganesha

TIDEGATE_BIN names the program that is measured (a release build, please); TIDEGATE_TEST_DIR a folder on the filesystem
to measure on (/var/tmp): whether that one keeps a journal decides what a commit costs the peer.";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let done = if args.next_if_eq("nfs").is_some() { nfs::run(args) } else { mount::run(args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::from(2)
        }
    }
}

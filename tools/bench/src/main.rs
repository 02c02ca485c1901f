//! Measurements of the real program, each against a yardstick in the same run.
//!
//! `cargo run --release -p tools-bench [-- --runs N] [--only NAME] [--mib N] [--files N] [--json]`: the mount against the
//! local filesystem under it.
//!
//! `cargo run --release -p tools-bench -- nfs [--runs N] [--only NAME] [--secs N] [--mib N] [--files N] [--json] [--alone]`:
//! the NFS door against nfs-ganesha on the same filesystem; with `--null` the load generator against a server that does
//! nothing, which says what the generator itself can do.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a measurement outside the program")]

mod mount;
mod nfs;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let done = if args.next_if_eq("nfs").is_some() { nfs::run(args) } else { mount::run(args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::from(2)
        }
    }
}

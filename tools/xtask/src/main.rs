//! House checks that no ready tool makes: `cargo run -p tools-xtask -- floors`.
//!
//! `floors`: every crate is called after its path and depends on its own or lower floors only; doors see the filesystem
//! through `fs-api` alone; RocksDB is linked through `fs/rocks` only.

#![forbid(unsafe_code)]

mod floors;
mod metadata;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let packages = match metadata::workspace_packages() {
        Ok(packages) => packages,
        Err(why) => {
            eprintln!("xtask: {why}");
            return ExitCode::FAILURE;
        }
    };
    let findings = match task.as_str() {
        "floors" => floors::check(&packages),
        other => {
            eprintln!("xtask: unknown task {other:?}; there is: floors");
            return ExitCode::from(2);
        }
    };
    for finding in &findings {
        eprintln!("xtask {task}: {finding}");
    }
    println!("xtask {task}: {} crates, {} findings", packages.len(), findings.len());
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

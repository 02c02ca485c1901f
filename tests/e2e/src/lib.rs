//! The real binary, driven as a user would drive it: its own store and mount point in a temporary folder.
//!
//! Every wait has a deadline; whatever a [`Site`] started or mounted is gone when it is dropped, also after a failure.
//! Only processes started here are killed, by their own handle.

#![forbid(unsafe_code)]
// Tests stand outside the program: they may use the clock and the disk directly.
#![allow(clippy::disallowed_methods)]

mod command;
mod guest;
pub mod load;
mod nfs;
mod portmapper;
mod site;
mod tree;
pub mod wire;

pub use command::{Finished, Run};
pub use guest::Guest;
pub use nfs::NfsClient;
pub use portmapper::Portmapper;
pub use site::{Site, SiteOptions, is_mounted, scratch};
pub use tree::{Pattern, fill_tree};

use std::path::{Path, PathBuf};

/// The binary under test: `TIDEGATE_BIN`, or where cargo puts it.
pub fn tidegate() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("tests lie in <target>/<profile>/deps");
    profile.join("tidegate")
}

/// Whether long checks were asked for.
pub fn deep() -> bool {
    std::env::var_os("TIDEGATE_DEEP").is_some()
}

/// A tool this test cannot do without; `tools/test` installs them all.
pub fn tool(name: &str) -> PathBuf {
    let mut dirs: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    dirs.extend(std::env::var_os("TIDEGATE_TOOLS").map(|d| Path::new(&d).join("bin")));
    dirs.push("/var/tmp/tidegate-tools/bin".into());
    dirs.into_iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run tools/test, which installs what the tests need"))
}

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::exit::EXIT_CODES;
use crate::settings::parse_dirty_bytes;
use crate::units::{Code, parse_bytes, parse_duration};

/// One set of files, kept in an erasure-coded pool of drives behind a journal on local disk, mounted as a directory.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Answer in JSON, one object on standard output (field names: gateway/daemon/README.md).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mount a store; the first time creates it.
    Mount(MountArgs),
    /// Bring everything into the pool, then unmount and stop the service.
    Umount(UmountArgs),
    /// Is the data safe, what is not in the pool yet, what is full?
    Status(StoreArgs),
    /// Where one file lies: inode, extents, segments, shards and their drives.
    Info(InfoArgs),
    /// The drives behind a store.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Bring everything into the pool now and wait for it.
    Flush(StoreArgs),
    /// Count again everything that the index claims; finds damage that no reader has met yet.
    Check(StoreArgs),
    /// Local copies of what is in the pool.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Build a lost or damaged index again, from the pool and the local journal; the store is not mounted.
    Recover(StoreArgs),
    /// Look whether this machine and this store are fit for service.
    Doctor(StoreArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Forget every local copy of what is in the pool; what is not there yet stays.
    Drop(StoreArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Drives, their space, and what is missing on them.
    Status(StoreArgs),
    /// Rebuild what is missing and read it back.
    Heal(StoreArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    Zstd,
    Lz4,
    None,
}

#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// The store's folder: journal, index, cache [default: $XDG_DATA_HOME/tidegate or ~/.local/share/tidegate].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// New store: data and parity cells of the erasure code [default: 4+2, or what fits the drives given].
    #[arg(long, value_name = "K+M", value_parser = Code::parse, allow_hyphen_values = true)]
    pub(crate) code: Option<Code>,
    /// New store: a folder for shards, best each on its own disk; repeat it [default: folders inside the store's].
    #[arg(long = "drive", value_name = "DIR")]
    pub(crate) drives: Vec<PathBuf>,
    /// Serve in this process and log to standard error.
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Most local disk that copies of what is in the pool may take, for reading.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, allow_hyphen_values = true)]
    pub(crate) cache_size: Option<u64>,
    /// Most data that may wait for the pool, at least 16 MiB; beyond it writers wait too.
    #[arg(long, value_name = "SIZE", value_parser = parse_dirty_bytes, allow_hyphen_values = true)]
    pub(crate) max_dirty: Option<u64>,
    /// How data is compressed on its way to the pool.
    #[arg(long, value_enum)]
    pub(crate) compression: Option<Compression>,
    /// Longest time before new data starts on its way to the pool.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) upload_delay: Option<Duration>,
    /// Directory to mount on; empty.
    pub(crate) mountpoint: PathBuf,
    /// This process is the service; it reports to its parent on standard output.
    #[arg(long, hide = true)]
    pub(crate) in_background: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// The directory it is mounted on.
    pub(crate) mountpoint: PathBuf,
    /// Take the mount away although programs use it; they get errors from then on.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StoreArgs {
    /// The store's folder.
    #[arg(long, value_name = "DIR", conflicts_with = "mountpoint")]
    pub(crate) data: Option<PathBuf>,
    /// Or the directory it is mounted on.
    pub(crate) mountpoint: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A file or directory in a mount.
    pub(crate) path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent_and_documents_its_exit_codes() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for part in
            ["mount", "umount", "status", "info", "pool", "doctor", "flush", "check", "cache", "recover", "3  no store"]
        {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn mount_takes_its_options() {
        let cli = Cli::try_parse_from([
            "tidegate",
            "mount",
            "--code",
            "2+1",
            "--drive",
            "a",
            "--drive",
            "b",
            "--drive",
            "c",
            "--max-dirty",
            "64MiB",
            "--upload-delay",
            "1s",
            "--compression",
            "lz4",
            "mnt",
            "--json",
        ])
        .expect("a valid command line");
        assert!(cli.json);
        let Command::Mount(mount) = cli.command else { panic!("mount was asked for") };
        assert_eq!(mount.drives.len(), 3);
        assert_eq!(mount.max_dirty, Some(64 << 20));
        assert_eq!(mount.compression, Some(Compression::Lz4));
    }
}

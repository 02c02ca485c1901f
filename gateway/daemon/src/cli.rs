//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gateway_admin::{Op, TraceFilter};
use serde::{Deserialize, Serialize};

use crate::exit::EXIT_CODES;
use crate::settings::parse_dirty_bytes;
use crate::shares::{AckRule, Cap, ShareTerms, SquashRule};
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
    /// Serve what a configuration file says: mounts, NFS, or both; in the foreground, as systemd wants it.
    Serve(ConfigArgs),
    /// Write a configuration to start from.
    Init(ConfigArgs),
    /// Let the running service read its configuration again; it applies what can change while it serves.
    Reload(StoreArgs),
    /// What NFS exports: directories, clients, rules.
    #[command(subcommand)]
    Share(ShareCommand),
    /// Bring everything into the pool, then unmount; the service stops with its last door.
    Umount(UmountArgs),
    /// Is the data safe, what is not in the pool yet, what is full?
    Status(StoreArgs),
    /// What went through the doors since the start: operations, errors, bytes, latencies.
    Stats(StoreArgs),
    /// What goes through the doors now, once a second, until Ctrl-C.
    Top(TopArgs),
    /// One line for each operation that goes through the doors, until Ctrl-C.
    Trace(TraceArgs),
    /// Where one file lies: inode, extents, segments, shards and their drives.
    Info(InfoArgs),
    /// The drives behind a store.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Bring everything into the pool now and wait for it.
    Flush(StoreArgs),
    /// Count again everything that the index claims; finds damage that no reader has met yet. With -c: look at a
    /// configuration.
    Check(CheckArgs),
    /// Local copies of what is in the pool.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Build a lost or damaged index again, from the pool and the local journal; the store is not mounted.
    Recover(StoreArgs),
    /// Look whether this machine and this store are fit for service.
    Doctor(StoreArgs),
    /// Started by a service: ends what is left of its mounts when it was killed.
    #[command(hide = true)]
    Guard(GuardArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    pub(crate) server: u32,
    /// Device and path of each mount.
    pub(crate) mounts: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShareCommand {
    /// Export a directory; to this machine only unless clients are named.
    Create {
        /// A directory of the store, from its root: photos, or /photos/2024; / is everything.
        directory: String,
        /// Make the directory where it is missing.
        #[arg(long)]
        make: bool,
        #[command(flatten)]
        terms: ShareTermsArgs,
        #[command(flatten)]
        store: ShareStoreArgs,
    },
    /// All shares, their clients and rules, and how they are mounted.
    List(ShareStoreArgs),
    /// Change what is named; clients that have it mounted are judged anew at once.
    Set {
        /// The path that clients mount.
        share: String,
        #[command(flatten)]
        terms: ShareTermsArgs,
        #[command(flatten)]
        store: ShareStoreArgs,
    },
    /// Export it no more; the directory stays.
    Delete {
        /// The path that clients mount.
        share: String,
        #[command(flatten)]
        store: ShareStoreArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShareStoreArgs {
    /// The store's folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShareTermsArgs {
    /// What clients mount, where it is not the directory's own path.
    #[arg(long = "as", value_name = "PATH")]
    path: Option<String>,
    /// Who may mount it: an address, a network (10.1.0.0/16), or a machine's name; repeat it. Replaces the whole list.
    #[arg(long = "client", value_name = "CLIENT")]
    clients: Option<Vec<String>>,
    /// Nothing can be changed through it.
    #[arg(long, conflicts_with = "read_write")]
    read_only: bool,
    /// It can be written to (the default of a new share).
    #[arg(long)]
    read_write: bool,
    /// Whose identity is replaced by the anonymous user [default: root].
    #[arg(long, value_enum)]
    squash: Option<SquashRule>,
    /// The anonymous user [default: 65534].
    #[arg(long, value_name = "UID")]
    anonymous_uid: Option<u32>,
    /// The anonymous group [default: 65534].
    #[arg(long, value_name = "GID")]
    anonymous_gid: Option<u32>,
    /// When a change of names or attributes is answered [default: synced].
    #[arg(long, value_enum)]
    ack: Option<AckRule>,
    /// What may lie under the directory, through every door; `none` lifts the limit.
    #[arg(long, value_name = "SIZE", value_parser = Cap::parse_bytes)]
    quota: Option<Cap>,
    /// How many files of any kind may lie there, directories included; `none` lifts the limit.
    #[arg(long, value_name = "COUNT", value_parser = Cap::parse_count)]
    quota_files: Option<Cap>,
}

impl From<ShareTermsArgs> for ShareTerms {
    fn from(args: ShareTermsArgs) -> Self {
        Self {
            path: args.path,
            clients: args.clients,
            read_only: (args.read_only || args.read_write).then_some(args.read_only),
            squash: args.squash,
            anonymous_uid: args.anonymous_uid,
            anonymous_gid: args.anonymous_gid,
            ack: args.ack,
            quota: args.quota,
            quota_files: args.quota_files,
        }
    }
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

/// The store that is to be served, and how. Of a store that is there, only what can change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct StoreOptions {
    /// The store's folder: journal, index, cache [default: $XDG_DATA_HOME/tidegate or ~/.local/share/tidegate].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// New store: data and parity cells of the erasure code [default: 4+2, or what fits the drives given].
    #[arg(long, value_name = "K+M", value_parser = Code::parse, allow_hyphen_values = true)]
    pub(crate) code: Option<Code>,
    /// New store: a folder for shards, best each on its own disk; repeat it [default: folders inside the store's].
    #[arg(long = "drive", value_name = "DIR")]
    pub(crate) drives: Vec<PathBuf>,
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
}

#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    /// Serve in this process and log to standard error.
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Directory to mount on; empty.
    pub(crate) mountpoint: PathBuf,
    /// This process is the service; it reports to its parent on standard output.
    #[arg(long, hide = true)]
    pub(crate) in_background: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration [default: $XDG_CONFIG_HOME/tidegate/tidegate.toml, or /etc/tidegate/tidegate.toml].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Look at this configuration instead, and start nothing.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["data", "mountpoint"])]
    pub(crate) config: Option<PathBuf>,
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
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// One look, over one second.
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) once: bool,
    /// End after this many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Of this door only: `nfs`, or `fuse` and the mount point.
    #[arg(long)]
    door: Option<String>,
    /// Of this share only; a mount has none.
    #[arg(long)]
    share: Option<String>,
    /// Of this client only: an address; a mount has none.
    #[arg(long)]
    client: Option<String>,
    /// Of this path, from the root of the store, and of what lies below it.
    #[arg(long)]
    path: Option<String>,
    /// This operation only: create, write, rename, …
    #[arg(long, value_parser = parse_op)]
    op: Option<String>,
    /// What failed only, also where the failure is the right answer.
    #[arg(long)]
    errors: bool,
    /// What took at least this long only.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    slower_than: Option<Duration>,
}

impl From<TraceArgs> for TraceFilter {
    fn from(args: TraceArgs) -> Self {
        let slower_than = args.slower_than.unwrap_or_default();
        Self {
            door: args.door,
            share: args.share,
            client: args.client,
            path: args.path,
            op: args.op,
            errors_only: args.errors,
            slower_than_us: u64::try_from(slower_than.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

fn parse_op(text: &str) -> Result<String, String> {
    match Op::from_name(text) {
        Some(op) => Ok(op.name().to_owned()),
        None => {
            let all: Vec<&str> = Op::ALL.iter().map(|op| op.name()).collect();
            Err(format!("`{text}` is no operation: there are {}", all.join(", ")))
        }
    }
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
        for part in [
            "mount",
            "serve",
            "init",
            "reload",
            "share",
            "umount",
            "status",
            "stats",
            "top",
            "trace",
            "info",
            "pool",
            "doctor",
            "flush",
            "check",
            "cache",
            "recover",
            "3  no store",
        ] {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn a_trace_is_told_what_to_show() {
        let parse = |args: &[&str]| Cli::try_parse_from(["tidegate", "trace"].iter().chain(args));
        let cli = parse(&["--path", "/a", "--op", "create", "--errors", "--slower-than", "5ms"]).expect("valid");
        let Command::Trace(args) = cli.command else { panic!("trace was asked for") };
        let filter = TraceFilter::from(args);
        assert_eq!((filter.path.as_deref(), filter.op.as_deref()), (Some("/a"), Some("create")));
        assert!(filter.errors_only && filter.slower_than_us == 5000);
        let wrong = parse(&["--op", "creat"]).expect_err("no operation").to_string();
        assert!(wrong.contains("`creat` is no operation") && wrong.contains("create"), "{wrong}");
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
        assert_eq!(mount.store.drives.len(), 3);
        assert_eq!(mount.store.max_dirty, Some(64 << 20));
        assert_eq!(mount.store.compression, Some(Compression::Lz4));
    }
}

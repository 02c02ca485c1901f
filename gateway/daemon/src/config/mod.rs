//! The configuration: one TOML file that says which store is served, through which doors.
//!
//! Values are written as on the command line (`"10GiB"`, `"30s"`). Nothing is guessed: a key that does not exist, a value
//! of another kind and a path that is not absolute are refused with file, line and what is expected. Shares are not here:
//! they belong to the store, and change while it serves.

mod read;
mod starter;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_admin::AuditConfig;
use serde::Deserialize;

use crate::cli::{Compression, StoreOptions};
use crate::service::{STOP_LIMIT_DEFAULT, ServiceOptions};
use crate::units::Code;

pub(crate) use read::{find, read};
pub(crate) use starter::write_starter;

/// The port of NFS.
const NFS_PORT: u16 = 2049;
/// Of the admin interface; no registered service has it.
const ADMIN_PORT: u16 = 9420;
/// A day of a busy share, about; with the older ones it bounds what the audit log takes.
const AUDIT_FILE_BYTES_MAX: u64 = 64 << 20;
const AUDIT_OLDER_FILES: u32 = 8;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    store: StoreSection,
    drives: Vec<DriveSection>,
    cache: CacheSection,
    mounts: Vec<MountSection>,
    nfs: Option<NfsSection>,
    admin: Option<AdminSection>,
    audit: Option<AuditSection>,
    service: ServiceSection,
}

/// `[store]`: the store. `code` describes a new one; one that is there must have it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreSection {
    #[serde(deserialize_with = "values::path")]
    data: Option<PathBuf>,
    #[serde(deserialize_with = "values::code")]
    code: Option<Code>,
    compression: Option<Compression>,
}

/// `[[drives]]`: a folder for shards; without any they lie in the store's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DriveSection {
    #[serde(deserialize_with = "values::required_path")]
    path: PathBuf,
}

/// `[cache]`: what local disk is used for beside the journal's own needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CacheSection {
    #[serde(deserialize_with = "values::bytes")]
    size: Option<u64>,
    #[serde(deserialize_with = "values::dirty_bytes")]
    max_dirty: Option<u64>,
    #[serde(deserialize_with = "values::duration")]
    upload_delay: Option<Duration>,
}

/// `[[mounts]]`: a FUSE mount of the whole store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MountSection {
    #[serde(deserialize_with = "values::required_path")]
    path: PathBuf,
}

/// `[nfs]`: the NFS door, there when the section is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NfsSection {
    /// This machine only unless told otherwise.
    #[serde(deserialize_with = "values::addresses")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Clients that are given no port ask the portmapper (rpcbind).
    pub(crate) register_portmapper: bool,
    /// Take a caller's groups from this machine's user database, in place of the at most 16 that clients send.
    pub(crate) manage_gids: bool,
    /// Refuse callers whose port is 1024 or higher: on the client only root has a lower one.
    pub(crate) privileged_port: bool,
}

impl Default for NfsSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, NFS_PORT))],
            register_portmapper: false,
            manage_gids: false,
            privileged_port: false,
        }
    }
}

/// `[admin]`: the HTTP interface, there when the section is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AdminSection {
    /// This machine only unless told otherwise: what is said there, the token included, is not encrypted.
    #[serde(deserialize_with = "values::address")]
    pub(crate) listen: SocketAddr,
    /// What requests have to carry; in the store's folder, made at the first start, where none is named.
    #[serde(deserialize_with = "values::path")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Default for AdminSection {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)), token_file: None }
    }
}

/// `[audit]`: the access log, there when the section is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditSection {
    #[serde(deserialize_with = "values::required_path")]
    path: PathBuf,
    /// Paths of shares; without any, everything is audited.
    #[serde(default, deserialize_with = "values::shares")]
    shares: Vec<String>,
    #[serde(default = "audit_file_bytes_max", deserialize_with = "values::audit_file_bytes")]
    file_bytes_max: u64,
    #[serde(default = "audit_older_files", deserialize_with = "values::older_files")]
    older_files: u32,
}

const fn audit_file_bytes_max() -> u64 {
    AUDIT_FILE_BYTES_MAX
}

const fn audit_older_files() -> u32 {
    AUDIT_OLDER_FILES
}

impl From<AuditSection> for AuditConfig {
    fn from(section: AuditSection) -> Self {
        Self {
            path: section.path,
            shares: section.shares,
            file_bytes_max: section.file_bytes_max,
            older_files_max: section.older_files,
        }
    }
}

/// `[service]`: the process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServiceSection {
    /// How long a stop waits for the pool; the rest stays in the journal and goes up after the next start.
    #[serde(deserialize_with = "values::required_duration")]
    stop_limit: Duration,
    #[serde(deserialize_with = "values::log_filter")]
    log: Option<String>,
}

impl Default for ServiceSection {
    fn default() -> Self {
        Self { stop_limit: STOP_LIMIT_DEFAULT, log: None }
    }
}

impl Config {
    /// What the file at `file` asks for.
    pub(crate) fn into_options(self, file: &Path) -> ServiceOptions {
        ServiceOptions {
            store: StoreOptions {
                data: self.store.data,
                code: self.store.code,
                drives: self.drives.into_iter().map(|drive| drive.path).collect(),
                cache_size: self.cache.size,
                max_dirty: self.cache.max_dirty,
                compression: self.store.compression,
                upload_delay: self.cache.upload_delay,
            },
            mounts: self.mounts.into_iter().map(|mount| mount.path).collect(),
            nfs: self.nfs,
            admin: self.admin,
            audit: self.audit.map(AuditConfig::from),
            stop_limit: self.service.stop_limit,
            log: self.service.log,
            config: Some(file.to_path_buf()),
        }
    }

    const fn opens_a_door(&self) -> bool {
        !self.mounts.is_empty() || self.nfs.is_some()
    }
}

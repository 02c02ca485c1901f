//! The NFS door: its addresses, the programs behind them, its announcement to the portmapper, its end.
//!
//! Addresses are taken before anything is opened, so that a port in use is said at once, and listened on when the store
//! serves and its count of starts is durable: no client sees the write verifier of an earlier start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fs_api::Vfs;
use fs_engine::{Engine, SettingChange};
use gateway_fuse::GateKeeper;
use gateway_nfs::protocol::{MOUNT_PROGRAM, NFS_PROGRAM, VERSION};
use gateway_nfs::{Door, DoorOptions, MountProgram, Shares};
use gateway_nlm::protocol::{NLM_PROGRAM, NSM_PROGRAM};
use gateway_sunrpc::portmap::{self, Mapping, Transport};
use gateway_sunrpc::{Hooks, Limits, Program, Server};
use objstore_base::{Error, Result};
use objstore_env::Env;
use tokio::net::TcpSocket;

use super::groups::{UserGroups, WithGroups};
use super::listening;
use super::nfs_locks::NetworkLocks;
use crate::config::NfsSection;
use crate::exit::Failure;
use crate::host;

/// Connections that wait to be taken; the kernel's own limit is lower where it is.
const BACKLOG: u32 = 1024;
/// Calls in flight when the door closes have this long to end.
const CALLS_END_MAX: Duration = Duration::from_secs(10);
const PORTMAPPER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 111);

/// Settings of the store; see FORMAT.md.
const SECRET: &str = "nfs/secret";
const STARTS: &str = "nfs/starts";
const SETTING_VERSION: u8 = 1;

/// What the door shares with the rest of the service.
pub(crate) struct Common {
    pub(crate) shares: Arc<Shares>,
    /// Of the clients that hold locks.
    pub(crate) locks_list: PathBuf,
    pub(crate) requests: Arc<AtomicU64>,
}

/// An open door.
pub(crate) struct NfsDoor {
    server: Server,
    addresses: Vec<SocketAddr>,
    mappings: Vec<Mapping>,
    /// Where clients can find them.
    locks: Option<NetworkLocks>,
}

/// Takes the addresses; nothing listens yet.
///
/// # Errors
/// One line that names the address and what to do.
pub(crate) fn reserve(options: &NfsSection) -> Result<Vec<TcpSocket>, Failure> {
    options.listen.iter().map(|address| listening::NFS.take(*address)).collect()
}

impl NfsDoor {
    /// Serves the shares of `vfs`, which is `engine`'s, on `sockets` from now on.
    pub(crate) async fn open(
        env: &Env,
        engine: &Engine,
        vfs: Arc<dyn Vfs>,
        common: Common,
        options: &NfsSection,
        sockets: Vec<TcpSocket>,
    ) -> Result<Self, Failure> {
        let Common { shares, locks_list, requests } = common;
        let (secret, start) = (secret(env, engine).await?, count_start(env, engine).await?);
        let groups = options.manage_gids.then(|| UserGroups::new(env));
        let manage_gids = groups.as_ref().map(UserGroups::for_door);
        let door_options = DoorOptions { secret, start, manage_gids, requests };
        let served = Arc::clone(&vfs);
        let door = env.blocking(move || Door::new(served, shares, door_options)).await;
        let door = door.map_err(|error| Failure::from(error.context("open the NFS door")))?;
        let locks = match (options.register_portmapper, options.listen.first()) {
            (true, Some(first)) => {
                Some(NetworkLocks::start(env, vfs, Arc::clone(&door), secret, locks_list, first.ip()).await?)
            }
            _ => None,
        };
        let mount: Arc<dyn Program> = MountProgram::new(Arc::clone(&door));
        let nfs: Arc<dyn Program> = match groups {
            Some(groups) => Arc::new(WithGroups { door, groups }),
            None => door,
        };
        let mut programs = vec![nfs, mount];
        programs.extend(locks.iter().flat_map(NetworkLocks::programs));
        let mut listeners = Vec::with_capacity(sockets.len());
        let mut addresses = Vec::with_capacity(sockets.len());
        for (socket, wanted) in sockets.into_iter().zip(&options.listen) {
            let listener = socket.listen(BACKLOG).map_err(|error| listening::NFS.refused(*wanted, &error))?;
            addresses.push(listener.local_addr().map_err(|error| listening::NFS.refused(*wanted, &error))?);
            listeners.push(listener);
        }
        let server = Server::start(listeners, programs, Limits::default(), Hooks::from(env));
        let mappings = match (&locks, addresses.first()) {
            (Some(locks), Some(address)) => register(env, address.port(), locks).await,
            _ => Vec::new(),
        };
        tracing::info!(?addresses, "the NFS door is open");
        Ok(Self { server, addresses, mappings, locks })
    }

    /// Opens the gate for locks of this machine: when clients have had the time to take theirs again, or at once where
    /// there are no locks over the network.
    pub(crate) fn open_gate(&self, gate: GateKeeper) {
        match &self.locks {
            Some(locks) => locks.open_after_grace(gate),
            None => gate.open(),
        }
    }

    /// How each of `shares` is mounted from another machine, or from this one.
    pub(crate) fn mount_lines(&self, shares: &[String]) -> Vec<String> {
        let locking = self.mappings.iter().any(|mapping| mapping.program == NLM_PROGRAM);
        mount_lines(&self.addresses, shares, if locking { Locking::Shared } else { Locking::OfClient })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Takes no more calls and lets those under way end.
    pub(crate) async fn close(self, env: &Env) {
        for mapping in self.mappings {
            if let Err(error) = portmap::unregister(Arc::clone(&env.clock), PORTMAPPER, mapping).await {
                tracing::warn!(%error, program = mapping.program, "the portmapper still announces the NFS door");
            }
        }
        self.server.drain(CALLS_END_MAX).await;
        if let Some(locks) = self.locks {
            locks.stop().await;
        }
        tracing::info!("the NFS door is closed");
    }
}

/// Announces what is served, and gives what was announced. Clients that are told the port do without.
async fn register(env: &Env, port: u16, locks: &NetworkLocks) -> Vec<Mapping> {
    let mut announced = Vec::new();
    let files = [NFS_PROGRAM, MOUNT_PROGRAM];
    let files = files.map(|program| Mapping { program, version: VERSION, transport: Transport::Tcp, port });
    for mapping in files.into_iter().chain(locks.mappings(port)) {
        let program = mapping.program;
        match portmap::register(Arc::clone(&env.clock), PORTMAPPER, mapping).await {
            Ok(true) => announced.push(mapping),
            Ok(false) if matches!(program, NLM_PROGRAM | NSM_PROGRAM) => tracing::warn!(
                program,
                "the portmapper announces another server for locks (rpc.statd, the kernel's lock manager?): end it, or \
                 clients must mount with nolock"
            ),
            Ok(false) => tracing::warn!(
                program,
                "the portmapper announces another server for this program: clients must be told port={port},mountport={port}"
            ),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "no portmapper on this machine (is rpcbind running?): clients must be told port={port},mountport={port}"
                );
                return announced;
            }
        }
    }
    announced
}

/// What file handles are made with: made once, and the same for as long as the store lives.
async fn secret(env: &Env, engine: &Engine) -> Result<[u8; 16]> {
    if let Some(value) = engine.setting(SECRET)? {
        return versioned(SECRET, &value);
    }
    let mut secret = [0; 16];
    for part in secret.chunks_exact_mut(8) {
        part.copy_from_slice(&env.rng.next_u64().to_le_bytes());
    }
    let value = [&[SETTING_VERSION][..], &secret].concat();
    engine.change_settings(&[SettingChange::put(SECRET, value)]).await?;
    Ok(secret)
}

/// A number that no earlier start had. The count makes it so; chance beside it does for a store that was recovered as of
/// a moment before its last starts.
async fn count_start(env: &Env, engine: &Engine) -> Result<u64> {
    let before = match engine.setting(STARTS)? {
        Some(value) => u64::from_le_bytes(versioned(STARTS, &value)?),
        None => 0,
    };
    let starts = before.wrapping_add(1);
    let value = [&[SETTING_VERSION][..], &starts.to_le_bytes()].concat();
    engine.change_settings(&[SettingChange::put(STARTS, value)]).await?;
    Ok(env.rng.next_u64() << 32 | starts & u64::from(u32::MAX))
}

fn versioned<const N: usize>(name: &str, value: &[u8]) -> Result<[u8; N]> {
    match value.split_first() {
        Some((&SETTING_VERSION, rest)) => {
            rest.try_into().map_err(|_| Error::corrupt("read setting", format!("{name} has {} bytes", rest.len())))
        }
        Some((version, _)) => Err(Error::new(objstore_base::ErrorKind::NewerFormat, "read setting")
            .entity(name)
            .context(format!("it has version {version}: use a newer tidegate"))),
        None => Err(Error::corrupt("read setting", format!("{name} is empty"))),
    }
}

/// Who keeps a client's locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locking {
    Shared,
    /// Nobody else hears of them.
    OfClient,
}

fn mount_lines(addresses: &[SocketAddr], shares: &[String], locking: Locking) -> Vec<String> {
    let Some(address) = addresses.first() else { return Vec::new() };
    let host = match address.ip() {
        ip if ip.is_unspecified() => machine_name(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    let port = address.port();
    let locks = if locking == Locking::Shared { "" } else { ",nolock" };
    let line = |share: &String| {
        let source = quoted(format!("{host}:{share}"));
        format!("mount -t nfs -o vers=3,tcp,port={port},mountport={port}{locks} {source} /mnt")
    };
    shares.iter().map(line).collect()
}

/// As a shell takes it for one word.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/:.-_[]".contains(c);
    if word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

pub(super) fn machine_name() -> String {
    let name = host::read_text("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "HOST".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_can_be_copied_as_it_is() {
        let lines = mount_lines(&["[::1]:20490".parse().expect("an address")], &["/a".to_owned()], Locking::OfClient);
        assert_eq!(lines, ["mount -t nfs -o vers=3,tcp,port=20490,mountport=20490,nolock [::1]:/a /mnt"]);
        let blank =
            mount_lines(&["127.0.0.1:1".parse().expect("an address")], &["/it's a".to_owned()], Locking::Shared);
        assert!(blank[0].ends_with("'127.0.0.1:/it'\\''s a' /mnt"), "{blank:?}");
        assert!(!blank[0].contains("nolock"), "{blank:?}");
        let all = mount_lines(&["0.0.0.0:2049".parse().expect("an address")], &["/a".to_owned()], Locking::Shared);
        assert!(!all[0].contains("0.0.0.0"), "{all:?}");
    }
}

//! Locks over the network beside the NFS door: the lock manager and the status monitor, on the door's TCP port, and the
//! monitor over UDP as well (Linux tells of a restart over UDP).
//!
//! Clients find both through the portmapper only, so they are there where the door is registered with it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fs_api::Vfs;
use gateway_fuse::GateKeeper;
use gateway_nfs::Door;
use gateway_nlm::protocol::{NLM_PROGRAM, NLM_VERSION, NSM_PROGRAM, NSM_VERSION};
use gateway_nlm::{FileMonitors, NlmDoor, NlmOptions, StatusMonitor};
use gateway_sunrpc::portmap::{Mapping, Transport};
use gateway_sunrpc::{DatagramServer, Hooks, Program};
use objstore_base::Error;
use objstore_env::Env;
use tokio::net::UdpSocket;

use super::nfs::machine_name;
use crate::exit::Failure;

/// Tells lock owners of clients from those of mounts, which are numbered from 1.
const DOOR_NUMBER: u32 = u32::MAX;
/// Waits and calls to clients have this long to end.
const END_MAX: Duration = Duration::from_secs(5);

pub(super) struct NetworkLocks {
    door: Arc<NlmDoor>,
    monitor: Arc<StatusMonitor>,
    datagrams: DatagramServer,
    udp_port: u16,
}

impl NetworkLocks {
    /// Takes up the list of clients that hold locks, in `list`, and begins to tell those of before this start.
    pub(super) async fn start(
        env: &Env,
        vfs: Arc<dyn Vfs>,
        nfs: Arc<Door>,
        secret: [u8; 16],
        list: PathBuf,
        address: IpAddr,
    ) -> Result<Self, Failure> {
        let store = Arc::new(FileMonitors::open(env.clone(), list).await?);
        let options = NlmOptions::new(DOOR_NUMBER, secret, machine_name().into());
        let door = NlmDoor::start(vfs, nfs, store, options, Hooks::from(env)).await?;
        let monitor = StatusMonitor::new(Arc::clone(&door));
        let failed = |error| Error::io("listen for clients that restarted", error).entity(address);
        let socket = UdpSocket::bind(SocketAddr::new(address, 0)).await.map_err(failed)?;
        let udp_port = socket.local_addr().map_err(failed)?.port();
        let programs = vec![Arc::clone(&monitor) as Arc<dyn Program>];
        let datagrams = DatagramServer::start(socket, programs, Hooks::from(env)).map_err(failed)?;
        Ok(Self { door, monitor, datagrams, udp_port })
    }

    /// What the door's own port serves too.
    pub(super) fn programs(&self) -> [Arc<dyn Program>; 2] {
        [Arc::clone(&self.door) as Arc<dyn Program>, Arc::clone(&self.monitor) as Arc<dyn Program>]
    }

    /// Opens the gate for locks of this machine when clients have had theirs again.
    pub(super) fn open_after_grace(&self, gate: GateKeeper) {
        self.door.after_grace(|| gate.open());
    }

    /// What the portmapper has to announce, for a door on `port`.
    pub(super) fn mappings(&self, port: u16) -> [Mapping; 3] {
        let nsm = |transport, port| Mapping { program: NSM_PROGRAM, version: NSM_VERSION, transport, port };
        [
            Mapping { program: NLM_PROGRAM, version: NLM_VERSION, transport: Transport::Tcp, port },
            nsm(Transport::Tcp, port),
            nsm(Transport::Udp, self.udp_port),
        ]
    }

    /// The door takes no more calls by now.
    pub(super) async fn stop(self) {
        self.door.stop(END_MAX).await;
        self.datagrams.drain(END_MAX).await;
    }
}

//! The portmapper (RFC 1833 section 3: program 100000, version 2), over TCP: registration with the machine's own, and
//! where a client's programs listen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use objstore_env::Clock;

use crate::client::{Client, ClientError};
use crate::program::Auth;
use crate::xdr::{Decoder, Encoder};

const PROGRAM: u32 = 100_000;
const VERSION: u32 = 2;
const SET: u32 = 1;
const UNSET: u32 = 2;
const GETPORT: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(5);

/// By its IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp = 6,
    Udp = 17,
}

/// One (program, version) that is reached on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    pub program: u32,
    pub version: u32,
    pub transport: Transport,
    pub port: u16,
}

/// Whether the portmapper took the mapping: it does not where another server holds it.
pub async fn register(clock: Arc<dyn Clock>, portmapper: SocketAddr, mapping: Mapping) -> Result<bool, ClientError> {
    change(clock, portmapper, SET, mapping).await
}

/// Whether there was a mapping to take back.
pub async fn unregister(clock: Arc<dyn Clock>, portmapper: SocketAddr, mapping: Mapping) -> Result<bool, ClientError> {
    change(clock, portmapper, UNSET, mapping).await
}

/// The TCP port on which `(program, version)` is reached at the machine of `portmapper`; `None` where it is not.
pub async fn find(
    clock: Arc<dyn Clock>,
    portmapper: SocketAddr,
    program: u32,
    version: u32,
) -> Result<Option<u16>, ClientError> {
    let asked = Mapping { program, version, transport: Transport::Tcp, port: 0 };
    let port = ask(clock, portmapper, GETPORT, asked).await?.u32().map_err(|_| ClientError::Garbage)?;
    let port = u16::try_from(port).map_err(|_| ClientError::Garbage)?;
    Ok((port != 0).then_some(port))
}

async fn change(
    clock: Arc<dyn Clock>,
    portmapper: SocketAddr,
    procedure: u32,
    mapping: Mapping,
) -> Result<bool, ClientError> {
    ask(clock, portmapper, procedure, mapping).await?.bool().map_err(|_| ClientError::Garbage)
}

async fn ask(
    clock: Arc<dyn Clock>,
    portmapper: SocketAddr,
    procedure: u32,
    mapping: Mapping,
) -> Result<Decoder, ClientError> {
    let mut args = Encoder::new();
    for word in [mapping.program, mapping.version, mapping.transport as u32, u32::from(mapping.port)] {
        args.u32(word);
    }
    let mut client = Client::connect(clock, portmapper, DEADLINE).await?;
    client.call(PROGRAM, VERSION, procedure, &Auth::None, args.finish()).await
}

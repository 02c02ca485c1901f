//! Registration with the machine's portmapper (RFC 1833 section 3: program 100000, version 2), over TCP on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use objstore_env::Clock;

use crate::client::{Client, ClientError};
use crate::program::Auth;
use crate::xdr::Encoder;

const PROGRAM: u32 = 100_000;
const VERSION: u32 = 2;
const SET: u32 = 1;
const UNSET: u32 = 2;
const TCP: u32 = 6;
const DEADLINE: Duration = Duration::from_secs(5);

/// One (program, version) that is reached on a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    pub program: u32,
    pub version: u32,
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

async fn change(
    clock: Arc<dyn Clock>,
    portmapper: SocketAddr,
    procedure: u32,
    mapping: Mapping,
) -> Result<bool, ClientError> {
    let mut args = Encoder::new();
    for word in [mapping.program, mapping.version, TCP, u32::from(mapping.port)] {
        args.u32(word);
    }
    let mut client = Client::connect(clock, portmapper, DEADLINE).await?;
    let mut results = client.call(PROGRAM, VERSION, procedure, &Auth::None, args.finish()).await?;
    results.bool().map_err(|_| ClientError::Garbage)
}

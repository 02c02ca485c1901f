//! Calls to clients: their lock manager and their status monitor, found through the portmapper of their address.
//!
//! Over TCP, and only to the address that a call came from: a client can make this server call nobody but itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway_sunrpc::client::{Client, ClientError};
use gateway_sunrpc::xdr::Decoder;
use gateway_sunrpc::{Auth, Body, portmap};
use objstore_env::Clock;

/// What is called, and with which arguments.
pub(crate) struct CallBack {
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) args: Body,
}

#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) portmapper_port: u16,
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
pub(crate) enum CallBackError {
    /// Its portmapper does not know the program.
    NotServed,
    Call(ClientError),
}

impl std::fmt::Display for CallBackError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotServed => f.write_str("the client's portmapper does not know the program"),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl From<ClientError> for CallBackError {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

impl Caller {
    /// The results of one attempt.
    pub(crate) async fn call(&self, client: IpAddr, what: CallBack) -> Result<Decoder, CallBackError> {
        let CallBack { program, version, procedure, args } = what;
        let portmapper = SocketAddr::new(client, self.portmapper_port);
        let port = portmap::find(self.clock.clone(), portmapper, program, version).await?;
        let address = SocketAddr::new(client, port.ok_or(CallBackError::NotServed)?);
        let mut connection = Client::connect(self.clock.clone(), address, self.deadline).await?;
        Ok(connection.call(program, version, procedure, &Auth::None, args).await?)
    }
}

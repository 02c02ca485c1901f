//! What the generator itself can do: the same calls against a server on the same transport that answers GETATTR from
//! nothing. A figure near this one would say more of the generator than of the server.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use gateway_nfs::protocol::attributes::FATTR_BYTES;
use gateway_nfs::protocol::{NFS_PROGRAM, VERSION};
use gateway_sunrpc::xdr::Encoder;
use gateway_sunrpc::{Body, Call, Hooks, Limits, Program, Refusal, Server};
use tokio::net::TcpListener;

use super::drive::{Extent, drive};
use super::export::{Export, Field};
use super::loads::LOADS;
use super::wire::Wire;

struct Nothing;

impl Program for Nothing {
    fn number(&self) -> u32 {
        NFS_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(self: Arc<Self>, _call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        let mut reply = Encoder::new();
        reply.u32(0);
        reply.fixed(&[0; FATTR_BYTES]);
        futures::future::ready(Ok(reply.finish())).boxed()
    }
}

/// Calls per second of the first load (GETATTR).
pub async fn rate(time: Duration) -> Result<f64, String> {
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let serving = serving.map_err(|error| error.to_string())?;
    let env = objstore_env::real::env(serving.handle().clone()).map_err(|error| error.to_string())?;
    let listener = serving.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).await;
    let listener = listener.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let server = Server::start(vec![listener], vec![Arc::new(Nothing)], Limits::default(), Hooks::from(&env));
    let handle = Bytes::from_static(&[0; 40]);
    let none = Bytes::new();
    let field = Field {
        root: none.clone(),
        listed: none.clone(),
        files: vec![handle],
        large: none.clone(),
        large_mib: 0,
        made: none.clone(),
        block: none,
    };
    let mut export = Export { wire: Wire::connect(address).await?, field };
    let getattr = LOADS.first().ok_or("there are no loads")?;
    let outcome = drive(&mut export, getattr, Extent { time, ops: u64::MAX, first: 0 }).await?;
    drop(export);
    server.drain(Duration::from_secs(1)).await;
    serving.shutdown_background();
    Ok(outcome.ops as f64 / outcome.took.as_secs_f64())
}

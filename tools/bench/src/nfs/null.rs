//! What bounds every server: the generator itself, against one on the same transport that answers GETATTR from nothing, and
//! the disk. A figure near these would say more of them than of the server.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::loads::{GETATTR, Load};
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

/// Rates per second.
pub struct Bounds {
    /// GETATTR with 16 and with 1 in flight.
    calls: [f64; 2],
    /// 4 KiB overwritten in a file, and synced.
    syncs: f64,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls: [many, one], syncs } = self;
        writeln!(f, "a server that does nothing: {many:.0} getattr/s with 16 in flight, {one:.0} with 1")?;
        write!(f, "4 KiB overwritten in a local file and synced: {syncs:.0}/s")
    }
}

/// Measures each for `time`.
pub async fn bounds(time: Duration) -> Result<Bounds, String> {
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
    let mut calls = [0.; 2];
    for (rate, inflight) in calls.iter_mut().zip([16, 1]) {
        let load = Load { inflight, ..GETATTR };
        let outcome = drive(&mut export, &load, Extent { time, ops: u64::MAX, first: 0 }).await?;
        *rate = outcome.ops as f64 / outcome.took.as_secs_f64();
    }
    drop(export);
    server.drain(Duration::from_secs(1)).await;
    serving.shutdown_background();
    let syncs = syncs(time).map_err(|error| error.to_string())?;
    Ok(Bounds { calls, syncs })
}

/// Syncs per second of a file in which nothing but its bytes changes.
fn syncs(time: Duration) -> io::Result<f64> {
    const PAGE_BYTES: usize = 4096;
    const PAGES: u64 = 256;
    let file = tempfile::tempfile_in(tests_e2e::scratch())?;
    file.write_all_at(&[1; PAGE_BYTES * PAGES as usize], 0)?;
    file.sync_all()?;
    let (begin, mut done) = (Instant::now(), 0_u64);
    while begin.elapsed() < time {
        file.write_all_at(&[done as u8; PAGE_BYTES], done % PAGES * PAGE_BYTES as u64)?;
        file.sync_data()?;
        done += 1;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

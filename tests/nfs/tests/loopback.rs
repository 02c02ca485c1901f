//! The door behind its transport, over TCP.

#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_nfs::MountProgram;
use gateway_nfs::protocol::{MOUNT_PROGRAM, NFS_PROGRAM, Procedure};
use gateway_sunrpc::client::Client;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Auth, Hooks, Limits, Server};
use tests_nfs::{OK, World, created, flag, mode, number, opaque, place, post_op};

const DEADLINE: Duration = Duration::from_secs(20);

async fn ask(client: &mut Client, program: u32, procedure: u32, args: impl FnOnce(&mut Encoder)) -> Decoder {
    let auth = Auth::Sys { machine: Bytes::from_static(b"test"), uid: 1000, gid: 1000, gids: vec![] };
    let mut out = Encoder::new();
    args(&mut out);
    client.call(program, 3, procedure, &auth, out.finish()).await.expect("a reply")
}

#[tokio::test]
async fn a_megabyte_goes_there_and_back() {
    let world = World::new();
    let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mount = MountProgram::new(Arc::clone(&world.door));
    let server = Server::start(vec![listener], vec![world.door.clone(), mount], Limits::default(), Hooks::from(&env));
    let mut client = Client::connect(env.clock.clone(), address, DEADLINE).await.expect("a connection");

    let mut reply = ask(&mut client, MOUNT_PROGRAM, 1, |out| out.opaque(b"/all")).await;
    assert_eq!(number(&mut reply), OK);
    let root = opaque(&mut reply);
    let reply = ask(&mut client, NFS_PROGRAM, Procedure::Create as u32, |out| {
        place(&root, b"f").encode(out);
        out.u32(1);
        mode(0o644).encode(out);
    });
    let (status, file) = created(reply.await);
    assert_eq!(status, OK);
    let data: Bytes = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<u8>>().into();
    let mut reply = ask(&mut client, NFS_PROGRAM, Procedure::Write as u32, |out| {
        out.opaque(&file);
        out.u64(0);
        out.u32(data.len() as u32);
        out.u32(2);
        out.payload(data.clone());
    })
    .await;
    assert_eq!(number(&mut reply), OK);
    let mut reply = ask(&mut client, NFS_PROGRAM, Procedure::Read as u32, |out| {
        out.opaque(&file);
        out.u64(0);
        out.u32(1 << 20);
    })
    .await;
    assert_eq!(number(&mut reply), OK);
    assert!(post_op(&mut reply).is_some());
    assert_eq!(number(&mut reply), 1 << 20);
    assert!(flag(&mut reply), "the end");
    assert_eq!(opaque(&mut reply), data);
    drop(client);
    server.drain(DEADLINE).await;
}

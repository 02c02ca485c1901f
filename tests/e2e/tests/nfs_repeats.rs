//! Calls whose reply went down with the service: the client asks again, from the same port and with the same xid.

#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use gateway_nfs::protocol::{NFS_PROGRAM, Procedure, VERSION};
use gateway_sunrpc::xdr::Encoder;
use tests_e2e::{NfsClient, Site, SiteOptions, deep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_secs(60);
const OK: u32 = 0;
const NOENT: u32 = 2;
const EXIST: u32 = 17;

/// One client port that outlives the service.
struct Port {
    runtime: Runtime,
    local: SocketAddr,
}

impl Port {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A port that was free a moment ago; it is taken with every connection.
        let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { runtime, local }
    }

    /// Sends the call and gives the status in its reply.
    fn ask(&self, server: SocketAddr, call: &[u8]) -> u32 {
        let asked = async {
            let mut stream = self.sent(server, call).await;
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.expect("a reply");
            let mut reply = vec![0; (u32::from_be_bytes(head) & 0x7fff_ffff) as usize];
            stream.read_exact(&mut reply).await.expect("all of it");
            // xid, reply, accepted, verifier (AUTH_NONE, empty), success; then the status.
            assert_eq!(reply[4..24], [&[0, 0, 0, 1][..], &[0; 16]].concat()[..], "accepted and carried out");
            u32::from_be_bytes(reply[24..28].try_into().unwrap())
        };
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, asked).await }).expect("in time")
    }

    /// Sends the call and hears nothing of it.
    fn send(&self, server: SocketAddr, call: &[u8]) {
        drop(
            self.runtime
                .block_on(async { tokio::time::timeout(DEADLINE, self.sent(server, call)).await })
                .expect("in time"),
        );
    }

    async fn sent(&self, server: SocketAddr, call: &[u8]) -> TcpStream {
        let mut stream = loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            // A connection of before may still be on its way out.
            match async {
                socket.bind(self.local)?;
                socket.connect(server).await
            }
            .await
            {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        // Ends at once, as the connection of a machine that lost it: the port is free again.
        stream.set_zero_linger().unwrap();
        stream.write_all(call).await.unwrap();
        stream
    }
}

/// A call as one record: AUTH_SYS of root, no groups.
fn call(xid: u32, procedure: Procedure, args: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new();
    for word in [xid, 0, 2, NFS_PROGRAM, VERSION, procedure as u32, 1, 20, 0, 0, 0, 0, 0, 0, 0] {
        out.u32(word);
    }
    args(&mut out);
    let body = out.finish().to_bytes();
    let mark = 0x8000_0000 | u32::try_from(body.len()).unwrap();
    [&mark.to_be_bytes()[..], &body].concat()
}

fn mkdir(xid: u32, dir: &Bytes, name: &str) -> Vec<u8> {
    call(xid, Procedure::MkDir, |out| {
        out.opaque(dir);
        out.opaque(name.as_bytes());
        // No attributes.
        (0..6).for_each(|_| out.u32(0));
    })
}

fn rmdir(xid: u32, dir: &Bytes, name: &str) -> Vec<u8> {
    call(xid, Procedure::RmDir, |out| {
        out.opaque(dir);
        out.opaque(name.as_bytes());
    })
}

#[test]
fn h47_a_repeat_after_kill_9_is_answered_as_the_first_time_and_nothing_is_done_twice() {
    let doors = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
    let mut site = Site::new(SiteOptions { doors: Some(doors), ..SiteOptions::default() });
    site.mount();
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let root = NfsClient::connect(site.nfs_address().unwrap()).mount("/files").unwrap();
    let port = Port::new();
    let rounds = if deep() { 40 } else { 4 };
    for round in 0..rounds {
        let xid = round * 10;
        let (made, gone, lost) = (format!("made-{round}"), format!("gone-{round}"), format!("lost-{round}"));
        let server = site.nfs_address().unwrap();
        assert_eq!(port.ask(server, &mkdir(xid, &root, &made)), OK);
        assert_eq!(port.ask(server, &mkdir(xid + 1, &root, &gone)), OK);
        assert_eq!(port.ask(server, &rmdir(xid + 2, &root, &gone)), OK);
        assert_eq!(port.ask(server, &rmdir(xid + 3, &root, &gone)), NOENT);
        // Whether this one was carried out nobody knows.
        port.send(server, &mkdir(xid + 4, &root, &lost));
        site.kill();
        site.mount();

        let server = site.nfs_address().unwrap();
        for again in 0..2 {
            assert_eq!(port.ask(server, &mkdir(xid + 4, &root, &lost)), OK, "round {round}, repeat {again}");
            assert_eq!(port.ask(server, &mkdir(xid, &root, &made)), OK, "round {round}, repeat {again}");
            assert_eq!(port.ask(server, &mkdir(xid + 1, &root, &gone)), OK, "round {round}, repeat {again}");
            assert_eq!(port.ask(server, &rmdir(xid + 2, &root, &gone)), OK, "round {round}, repeat {again}");
            assert_eq!(port.ask(server, &rmdir(xid + 3, &root, &gone)), NOENT, "round {round}, repeat {again}");
        }
        assert!(site.mnt().join("files").join(&made).is_dir() && site.mnt().join("files").join(&lost).is_dir());
        assert!(!site.mnt().join("files").join(&gone).exists(), "a repeat makes nothing");
        assert_eq!(port.ask(server, &mkdir(xid + 5, &root, &made)), EXIST, "another xid is another call");
    }
    site.stop();
}

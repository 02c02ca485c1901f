//! A client of the NFS door that sees what tools hide: handles and verifiers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use gateway_nfs::protocol::{MOUNT_PROGRAM, NFS_PROGRAM, Procedure, VERSION};
use gateway_sunrpc::Auth;
use gateway_sunrpc::client::Client;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use tokio::runtime::Runtime;

use crate::Pattern;
use crate::load::Ack;

const DEADLINE: Duration = Duration::from_secs(30);

pub struct NfsClient {
    runtime: Runtime,
    client: Client,
}

impl NfsClient {
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let env = objstore_env::real::env(runtime.handle().clone()).expect("the system has chance");
        let client = runtime.block_on(Client::connect(env.clock, address, DEADLINE)).expect("the door is open");
        Self { runtime, client }
    }

    /// The handle of the share at `path`, or the status of the refusal.
    pub fn mount(&mut self, path: &str) -> Result<Bytes, u32> {
        let mut reply = self.call(MOUNT_PROGRAM, 1, |out| out.opaque(path.as_bytes()));
        match number(&mut reply) {
            0 => Ok(reply.opaque(64).expect("a handle")),
            status => Err(status),
        }
    }

    /// Status of GETATTR.
    pub fn getattr(&mut self, handle: &Bytes) -> u32 {
        number(&mut self.call(NFS_PROGRAM, Procedure::GetAttr as u32, |out| out.opaque(handle)))
    }

    pub fn lookup(&mut self, directory: &Bytes, name: &str) -> Bytes {
        let mut reply = self.call(NFS_PROGRAM, Procedure::Lookup as u32, |out| {
            out.opaque(directory);
            out.opaque(name.as_bytes());
        });
        assert_eq!(number(&mut reply), 0, "{name} is there");
        reply.opaque(64).expect("a handle")
    }

    /// Writes `data` at the start of `file`, durable when this returns.
    pub fn write_synced(&mut self, file: &Bytes, data: &[u8]) {
        const FILE_SYNC: u32 = 2;
        let mut reply = self.call(NFS_PROGRAM, Procedure::Write as u32, |out| {
            out.opaque(file);
            out.u64(0);
            out.u32(u32::try_from(data.len()).expect("a small write"));
            out.u32(FILE_SYNC);
            out.opaque(data);
        });
        assert_eq!(number(&mut reply), 0, "written");
        skip_wcc(&mut reply);
        assert_eq!(number(&mut reply) as usize, data.len());
        assert_eq!(number(&mut reply), FILE_SYNC, "the promise is given");
    }

    /// Status of a synced WRITE.
    pub fn write_status(&mut self, file: &Bytes, offset: u64, data: &[u8]) -> u32 {
        let mut reply = self.call(NFS_PROGRAM, Procedure::Write as u32, |out| {
            out.opaque(file);
            out.u64(offset);
            out.u32(u32::try_from(data.len()).expect("a small write"));
            out.u32(2);
            out.opaque(data);
        });
        number(&mut reply)
    }

    /// Bytes in all and bytes left, as FSSTAT tells them at `handle`.
    pub fn space(&mut self, handle: &Bytes) -> (u64, u64) {
        let mut reply = self.call(NFS_PROGRAM, Procedure::FsStat as u32, |out| out.opaque(handle));
        assert_eq!(number(&mut reply), 0, "told");
        if reply.bool().expect("attributes") {
            reply.fixed::<84>().expect("fattr3");
        }
        let mut next = || reply.u64().expect("the reply goes on");
        (next(), next())
    }

    pub fn read(&mut self, file: &Bytes, len: u32) -> Bytes {
        let mut reply = self.call(NFS_PROGRAM, Procedure::Read as u32, |out| {
            out.opaque(file);
            out.u64(0);
            out.u32(len);
        });
        assert_eq!(number(&mut reply), 0, "read");
        if reply.bool().expect("attributes") {
            reply.fixed::<84>().expect("fattr3");
        }
        number(&mut reply);
        reply.bool().expect("whether this is the end");
        reply.opaque(1 << 20).expect("the bytes")
    }

    /// The write verifier, as COMMIT of `file` tells it.
    pub fn verifier(&mut self, file: &Bytes) -> [u8; 8] {
        let mut reply = self.call(NFS_PROGRAM, Procedure::Commit as u32, |out| {
            out.opaque(file);
            out.u64(0);
            out.u32(0);
        });
        assert_eq!(number(&mut reply), 0, "committed");
        skip_wcc(&mut reply);
        reply.fixed().expect("a verifier")
    }

    /// Writes small files (create, write, commit, rename) until `ack` says false or the door is gone: every second one by
    /// one synced write, the others unstable in parts with a COMMIT, whose verifier has to be that of the writes.
    pub fn load(&mut self, directory: &Bytes, worker: u64, round: u64, mut ack: impl FnMut(Ack) -> bool) {
        let mut go_on = true;
        for n in 0u64.. {
            let seed = 0x2f << 56 | worker << 48 | round << 32 | n;
            let len = [1usize, 700, 5_000, 65_536, 150_001][(n % 5) as usize];
            let (temporary, name) = (format!("n{worker}-r{round}-{n}.tmp"), format!("n{worker}-r{round}-{n}"));
            let data = Pattern(seed).bytes(0, len);
            let made = self.store(directory, &temporary, &data, n % 2 == 0);
            let moved = made.and_then(|()| self.rename(directory, &temporary, &name));
            match moved {
                Some(()) => go_on &= ack(Ack { name, seed, len }),
                // A verifier that changed in between: the client of a kernel would write again.
                None if self.is_alive() => continue,
                None => return,
            }
            if !go_on {
                return;
            }
        }
    }

    fn is_alive(&mut self) -> bool {
        self.try_call(NFS_PROGRAM, Procedure::Null as u32, |_| {}).is_some()
    }

    fn store(&mut self, directory: &Bytes, name: &str, data: &[u8], synced: bool) -> Option<()> {
        let mut reply = self.try_call(NFS_PROGRAM, Procedure::Create as u32, |out| {
            out.opaque(directory);
            out.opaque(name.as_bytes());
            // UNCHECKED, with a mode and nothing else.
            out.u32(0);
            out.bool(true);
            out.u32(0o644);
            (0..3).for_each(|_| out.bool(false));
            (0..2).for_each(|_| out.u32(0));
        })?;
        let made = reply.u32().ok()? == 0 && reply.bool().ok()?;
        let file = made.then(|| reply.opaque(64).ok())??;
        let part = if synced { data.len() } else { 40_000 };
        let mut verifiers = Vec::new();
        for (n, part) in data.chunks(part).enumerate() {
            let offset = (n * 40_000) as u64;
            verifiers.push(self.write(&file, offset, part, if synced { 2 } else { 0 })?);
        }
        if !synced {
            let mut reply = self.try_call(NFS_PROGRAM, Procedure::Commit as u32, |out| {
                out.opaque(&file);
                out.u64(0);
                out.u32(0);
            })?;
            if reply.u32().ok()? != 0 {
                return None;
            }
            skip_wcc(&mut reply);
            verifiers.push(reply.fixed().ok()?);
        }
        verifiers.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    }

    fn write(&mut self, file: &Bytes, offset: u64, data: &[u8], stable: u32) -> Option<[u8; 8]> {
        let mut reply = self.try_call(NFS_PROGRAM, Procedure::Write as u32, |out| {
            out.opaque(file);
            out.u64(offset);
            out.u32(data.len() as u32);
            out.u32(stable);
            out.opaque(data);
        })?;
        if reply.u32().ok()? != 0 {
            return None;
        }
        skip_wcc(&mut reply);
        let (count, committed) = (reply.u32().ok()?, reply.u32().ok()?);
        (count as usize == data.len() && committed >= stable).then(|| reply.fixed().ok())?
    }

    fn rename(&mut self, directory: &Bytes, from: &str, to: &str) -> Option<()> {
        let mut reply = self.try_call(NFS_PROGRAM, Procedure::Rename as u32, |out| {
            for name in [from, to] {
                out.opaque(directory);
                out.opaque(name.as_bytes());
            }
        })?;
        (reply.u32().ok()? == 0).then_some(())
    }

    /// Without a reply where the connection is lost.
    fn try_call(&mut self, program: u32, procedure: u32, args: impl FnOnce(&mut Encoder)) -> Option<Decoder> {
        let auth = Auth::Sys { machine: Bytes::from_static(b"test"), uid: 0, gid: 0, gids: vec![] };
        let mut out = Encoder::new();
        args(&mut out);
        let reply = self.client.call(program, VERSION, procedure, &auth, out.finish());
        self.runtime.block_on(reply).ok()
    }

    fn call(&mut self, program: u32, procedure: u32, args: impl FnOnce(&mut Encoder)) -> Decoder {
        let auth = Auth::Sys { machine: Bytes::from_static(b"test"), uid: 0, gid: 0, gids: vec![] };
        let mut out = Encoder::new();
        args(&mut out);
        let reply = self.client.call(program, VERSION, procedure, &auth, out.finish());
        self.runtime.block_on(reply).expect("a reply")
    }
}

fn skip_wcc(reply: &mut Decoder) {
    if reply.bool().expect("attributes before") {
        reply.fixed::<24>().expect("size, mtime, ctime");
    }
    if reply.bool().expect("attributes after") {
        reply.fixed::<84>().expect("fattr3");
    }
}

fn number(reply: &mut Decoder) -> u32 {
    reply.u32().expect("the reply goes on")
}

//! MOUNT v3: from the path of a share to the handle of its root. The list of mounts is what clients said, no more.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use gateway_sunrpc::xdr::{Encoder, Garbage};
use gateway_sunrpc::{Body, Call, Program, Refusal};
use parking_lot::Mutex;

use crate::door::Door;
use crate::handle::FileHandle;
use crate::protocol::{MOUNT_PATH_BYTES_MAX, MOUNT_PROGRAM, VERSION};
use crate::refusals::Refused;
use crate::shares::Share;

const OK: u32 = 0;
const NOENT: u32 = 2;
const ACCES: u32 = 13;
const AUTH_SYS: u32 = 1;
/// Mounts remembered for DUMP.
const MOUNTS_MAX: usize = 4096;

/// The program that a client speaks to before its first NFS call.
pub struct MountProgram {
    door: Arc<Door>,
    mounts: Mutex<BTreeSet<(IpAddr, Vec<u8>)>>,
}

impl MountProgram {
    pub fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self { door, mounts: Mutex::default() })
    }

    fn answer(&self, mut call: Call) -> Result<Body, Refusal> {
        let client = call.peer.ip();
        match call.procedure {
            0 => {}
            1 => return Ok(self.mount(&call.args.string(MOUNT_PATH_BYTES_MAX).map_err(garbage)?, &call)),
            2 => return Ok(self.dump()),
            3 => {
                let path = call.args.string(MOUNT_PATH_BYTES_MAX).map_err(garbage)?;
                self.mounts.lock().remove(&(client, path.to_vec()));
            }
            4 => self.mounts.lock().retain(|(host, _)| *host != client),
            5 => return Ok(self.exports(&call)),
            _ => return Err(Refusal::ProcedureUnavailable),
        }
        Ok(Encoder::new().finish())
    }

    fn mount(&self, path: &[u8], call: &Call) -> Body {
        let mut reply = Encoder::new();
        match self.door.shares().by_path(path) {
            None => reply.u32(NOENT),
            Some(share) if !share.admits(call.peer) => {
                self.door.refusals().tell(&share, call.peer, Refused::Mount);
                reply.u32(ACCES);
            }
            Some(share) => {
                self.note(call.peer.ip(), path);
                reply.u32(OK);
                reply.opaque(&self.door.key().seal(FileHandle { share: share.id, ino: share.root }));
                reply.u32(1);
                reply.u32(AUTH_SYS);
            }
        }
        reply.finish()
    }

    fn note(&self, client: IpAddr, path: &[u8]) {
        let mut mounts = self.mounts.lock();
        if mounts.len() < MOUNTS_MAX {
            mounts.insert((client, path.to_vec()));
        }
    }

    fn dump(&self) -> Body {
        let mut reply = Encoder::new();
        for (host, path) in self.mounts.lock().iter() {
            reply.bool(true);
            reply.opaque(host.to_string().as_bytes());
            reply.opaque(path);
        }
        reply.bool(false);
        reply.finish()
    }

    /// Only what this client may mount: the others are none of its business.
    fn exports(&self, call: &Call) -> Body {
        let shares = self.door.shares().snapshot();
        let mut reply = Encoder::new();
        for share in shares.iter().filter(|share| share.admits(call.peer)) {
            put_export(&mut reply, share);
        }
        reply.bool(false);
        reply.finish()
    }
}

fn put_export(reply: &mut Encoder, share: &Share) {
    reply.bool(true);
    reply.opaque(&share.path);
    for net in &share.clients {
        reply.bool(true);
        reply.opaque(net.to_string().as_bytes());
    }
    reply.bool(false);
}

const fn garbage(Garbage: Garbage) -> Refusal {
    Refusal::GarbageArguments
}

impl Program for MountProgram {
    fn number(&self) -> u32 {
        MOUNT_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        async move { self.answer(call) }.boxed()
    }
}

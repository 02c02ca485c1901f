//! A mounted export and the files that the loads work on.

use std::net::SocketAddr;

use bytes::Bytes;
use fs_api::SetAttr;
use gateway_nfs::protocol::args::{CreateHow, Place, ReadArgs, Stable, WriteArgs};
use gateway_nfs::protocol::attributes::NewAttributes;
use gateway_nfs::protocol::{HANDLE_BYTES_MAX, MOUNT_PROGRAM, NFS_PROGRAM, Procedure, VERSION};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};

use super::wire::{Target, Wire};

pub const MIB: u64 = 1 << 20;
/// Names of the directory that is listed.
pub const NAMES: u64 = 1000;

/// What a call works on: the handles of one server's files, and how far its loads have come.
pub struct Field {
    pub root: Bytes,
    /// The directory with `NAMES` names, and the handles of its files.
    pub listed: Bytes,
    pub files: Vec<Bytes>,
    /// A file of `large_mib`.
    pub large: Bytes,
    pub large_mib: u64,
    /// The directory of the run that makes and removes names.
    pub made: Bytes,
    /// 1 MiB that does not compress.
    pub block: Bytes,
}

pub struct Export {
    pub wire: Wire,
    pub field: Field,
}

pub const fn nfs(procedure: Procedure) -> Target {
    Target { program: NFS_PROGRAM, version: VERSION, procedure: procedure as u32 }
}

impl Export {
    /// Mounts `path` from the mount program at `mount` and makes the files.
    pub async fn open(mount: SocketAddr, nfs: SocketAddr, path: &str, large_mib: u64) -> Result<Self, String> {
        let root = root_of(&mut Wire::connect(mount).await?, path).await?;
        let block = noise(MIB as usize);
        let (listed, large, made) = (Bytes::new(), Bytes::new(), Bytes::new());
        let field = Field { root: root.clone(), listed, files: Vec::new(), large, large_mib, made, block };
        let mut export = Self { wire: Wire::connect(nfs).await?, field };
        export.field.listed = export.directory("listed").await?;
        for n in 0..NAMES {
            let listed = export.field.listed.clone();
            let file = export.file(listed, &name(n)).await?;
            export.field.files.push(file);
        }
        export.field.large = export.file(root, "large").await?;
        export.fill().await?;
        Ok(export)
    }

    /// A new directory for names to be made in.
    pub async fn renew(&mut self, name: &str) -> Result<(), String> {
        self.field.made = self.directory(name).await?;
        Ok(())
    }

    async fn directory(&mut self, name: &str) -> Result<Bytes, String> {
        let mut args = Encoder::new();
        Place { dir: self.field.root.clone(), name: Bytes::copy_from_slice(name.as_bytes()) }.encode(&mut args);
        NewAttributes { set: SetAttr { mode: Some(0o755), ..SetAttr::default() }, times_valid: true }.encode(&mut args);
        self.made_by(Procedure::MkDir, args.finish()).await
    }

    async fn file(&mut self, dir: Bytes, name: &str) -> Result<Bytes, String> {
        self.made_by(Procedure::Create, create_args(dir, name)).await
    }

    async fn made_by(&mut self, procedure: Procedure, args: Body) -> Result<Bytes, String> {
        let mut results = ok(procedure, self.wire.ask(nfs(procedure), &args).await?)?;
        // post_op_fh3
        let handle = results.bool().and_then(|_| results.opaque(HANDLE_BYTES_MAX));
        handle.map_err(|Garbage| format!("{procedure:?} gives no handle"))
    }

    async fn fill(&mut self) -> Result<(), String> {
        for n in 0..self.field.large_mib {
            let args = write_args(&self.field.large, n * MIB, self.field.block.clone());
            ok(Procedure::Write, self.wire.ask(nfs(Procedure::Write), &args).await?)?;
        }
        let args = commit_args(&self.field.large);
        ok(Procedure::Commit, self.wire.ask(nfs(Procedure::Commit), &args).await?).map(drop)
    }
}

async fn root_of(wire: &mut Wire, path: &str) -> Result<Bytes, String> {
    let mut args = Encoder::new();
    args.opaque(path.as_bytes());
    let target = Target { program: MOUNT_PROGRAM, version: VERSION, procedure: 1 };
    let mut results = wire.ask(target, &args.finish()).await?;
    match results.u32() {
        Ok(0) => results.opaque(HANDLE_BYTES_MAX).map_err(|Garbage| "no handle of the export".to_owned()),
        status => Err(format!("the export {path} cannot be mounted: {status:?}")),
    }
}

/// The results after the status of a call that must succeed.
pub fn ok(procedure: Procedure, mut results: Decoder) -> Result<Decoder, String> {
    match results.u32() {
        Ok(0) => Ok(results),
        Ok(status) => Err(format!("{procedure:?} gives the status {status}")),
        Err(Garbage) => Err(format!("{procedure:?} gives no status")),
    }
}

pub fn name(n: u64) -> String {
    format!("file-{n:08}")
}

pub fn create_args(dir: Bytes, name: &str) -> Body {
    let mut args = Encoder::new();
    Place { dir, name: Bytes::copy_from_slice(name.as_bytes()) }.encode(&mut args);
    let set = SetAttr { mode: Some(0o644), ..SetAttr::default() };
    CreateHow::Guarded(NewAttributes { set, times_valid: true }).encode(&mut args);
    args.finish()
}

/// What is not stable is asked for: the level of the load comes from its COMMIT.
pub fn write_args(file: &Bytes, offset: u64, data: Bytes) -> Body {
    let mut args = Encoder::new();
    let count = data.len() as u32;
    WriteArgs { file: file.clone(), offset, count, stable: Stable::Unstable, data }.encode(&mut args);
    args.finish()
}

pub fn commit_args(file: &Bytes) -> Body {
    read_args(file, 0, 0)
}

pub fn read_args(file: &Bytes, offset: u64, count: u32) -> Body {
    let mut args = Encoder::new();
    ReadArgs { file: file.clone(), offset, count }.encode(&mut args);
    args.finish()
}

/// The same bytes in every run.
fn noise(length: usize) -> Bytes {
    let words = (0..length as u64 / 8).flat_map(|n| mixed(n).to_le_bytes());
    words.collect::<Vec<u8>>().into()
}

/// SplitMix64: a number that looks like chance, from one that counts.
pub const fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

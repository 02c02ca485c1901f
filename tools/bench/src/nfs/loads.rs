//! The loads: which calls an operation consists of, and at which level of durability it is counted as done.

use bytes::Bytes;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::Place;
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Encoder;

use super::export::{Field, MIB, commit_args, create_args, mixed, name, read_args, write_args};

const SMALL_BYTES: u64 = 4096;
/// Each slot of small writes with COMMIT has a file of its own, of this many bytes.
const OWN_FILE_BYTES: u64 = MIB;

/// The arguments of one call, for an operation in a slot.
type Args = fn(&Field, usize, u64) -> Body;

pub enum Steps {
    /// One call after the other.
    Calls(&'static [(Procedure, Args)]),
    /// The whole listed directory, page after page.
    Listing,
}

/// What the made names need before a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Untouched,
    /// An empty directory.
    Fresh,
    /// A directory with the names that the run removes.
    Filled,
}

/// When a run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Time,
    /// When all names are gone, or time is up.
    Names,
    /// When the large file has been passed once.
    LargeFile,
}

pub struct Load {
    pub name: &'static str,
    /// Levels of the two servers: ours, and what ganesha's VFS back end gives for the same calls.
    pub levels: [&'static str; 2],
    pub inflight: usize,
    pub steps: Steps,
    /// READ must give this many bytes.
    pub read_bytes: u64,
    pub names: Names,
    pub end: End,
    /// A COMMIT of the large file at the end, timed with the run.
    pub commits: bool,
    /// Whether it runs in our share that answers a change of names before it is durable, as ganesha does.
    pub relaxed: bool,
}

const PLAIN: Load = Load {
    name: "",
    levels: ["-", "-"],
    inflight: 16,
    steps: Steps::Calls(&[]),
    read_bytes: 0,
    names: Names::Untouched,
    end: End::Time,
    commits: false,
    relaxed: false,
};
pub const GETATTR: Load =
    Load { name: "getattr, 16 in flight", steps: Steps::Calls(&[(Procedure::GetAttr, getattr)]), ..PLAIN };
const WRITE_COMMIT: Steps = Steps::Calls(&[(Procedure::Write, write_own), (Procedure::Commit, commit_own)]);
const CREATE: Load =
    Load { levels: ["D2", "D1"], steps: Steps::Calls(&[(Procedure::Create, create)]), names: Names::Fresh, ..PLAIN };
const REMOVE: Load = Load {
    levels: ["D2", "D1"],
    steps: Steps::Calls(&[(Procedure::Remove, remove)]),
    names: Names::Filled,
    end: End::Names,
    ..PLAIN
};
const RELAXED: [&str; 2] = ["D1", "D1"];

/// All loads, in the order they run.
pub const LOADS: &[Load] = &[
    GETATTR,
    Load { name: "lookup, 16 in flight", steps: Steps::Calls(&[(Procedure::Lookup, lookup)]), ..PLAIN },
    Load { name: "readdirplus of 1,000 names", steps: Steps::Listing, inflight: 1, ..PLAIN },
    Load {
        name: "read 1 MiB in order, 8 in flight",
        inflight: 8,
        steps: Steps::Calls(&[(Procedure::Read, read_in_order)]),
        read_bytes: MIB,
        ..PLAIN
    },
    Load {
        name: "write 1 MiB in order, 8 in flight, COMMIT",
        levels: ["D2", "D2"],
        inflight: 8,
        steps: Steps::Calls(&[(Procedure::Write, write_in_order)]),
        end: End::LargeFile,
        commits: true,
        ..PLAIN
    },
    Load {
        name: "read 4 KiB at random, 32 in flight",
        inflight: 32,
        steps: Steps::Calls(&[(Procedure::Read, read_at_random)]),
        read_bytes: SMALL_BYTES,
        ..PLAIN
    },
    Load {
        name: "write 4 KiB at random, 32 in flight, one COMMIT",
        levels: ["D2", "D2"],
        inflight: 32,
        steps: Steps::Calls(&[(Procedure::Write, write_at_random)]),
        commits: true,
        ..PLAIN
    },
    Load { name: "write 4 KiB + COMMIT, 1 in flight", levels: ["D2", "D2"], inflight: 1, steps: WRITE_COMMIT, ..PLAIN },
    Load {
        name: "write 4 KiB + COMMIT, 32 in flight",
        levels: ["D2", "D2"],
        inflight: 32,
        steps: WRITE_COMMIT,
        ..PLAIN
    },
    Load { name: "create, 1 in flight", inflight: 1, ..CREATE },
    Load { name: "create, 32 in flight", inflight: 32, ..CREATE },
    Load { name: "create (async share), 1 in flight", levels: RELAXED, relaxed: true, inflight: 1, ..CREATE },
    Load { name: "create (async share), 32 in flight", levels: RELAXED, relaxed: true, inflight: 32, ..CREATE },
    Load { name: "remove, 1 in flight", inflight: 1, ..REMOVE },
    Load { name: "remove, 32 in flight", inflight: 32, ..REMOVE },
    Load { name: "remove (async share), 32 in flight", levels: RELAXED, relaxed: true, inflight: 32, ..REMOVE },
];

/// Makes the name that `remove` of the same operation takes away.
pub const FILLING: Load = Load { inflight: 32, ..CREATE };

/// The handle of one of the listed files.
fn listed(field: &Field, n: u64) -> &Bytes {
    &field.files[n as usize % field.files.len()]
}

fn getattr(field: &Field, _: usize, op: u64) -> Body {
    let mut args = Encoder::new();
    args.opaque(listed(field, mixed(op)));
    args.finish()
}

fn place(dir: &Bytes, name: String) -> Body {
    let mut args = Encoder::new();
    Place { dir: dir.clone(), name: name.into() }.encode(&mut args);
    args.finish()
}

fn lookup(field: &Field, _: usize, op: u64) -> Body {
    place(&field.listed, name(mixed(op) % field.files.len() as u64))
}

fn in_order(field: &Field, op: u64) -> u64 {
    (op & u64::from(u32::MAX)) % field.large_mib * MIB
}

fn at_random(field: &Field, op: u64) -> u64 {
    mixed(op) % (field.large_mib * MIB / SMALL_BYTES) * SMALL_BYTES
}

/// 4 KiB of the noise, not always the same.
fn small(field: &Field, op: u64) -> Bytes {
    let at = (mixed(op) % (MIB / SMALL_BYTES) * SMALL_BYTES) as usize;
    field.block.slice(at..at + SMALL_BYTES as usize)
}

fn read_in_order(field: &Field, _: usize, op: u64) -> Body {
    read_args(&field.large, in_order(field, op), MIB as u32)
}

fn write_in_order(field: &Field, _: usize, op: u64) -> Body {
    write_args(&field.large, in_order(field, op), field.block.clone())
}

fn read_at_random(field: &Field, _: usize, op: u64) -> Body {
    read_args(&field.large, at_random(field, op), SMALL_BYTES as u32)
}

fn write_at_random(field: &Field, _: usize, op: u64) -> Body {
    write_args(&field.large, at_random(field, op), small(field, op))
}

fn write_own(field: &Field, slot: usize, op: u64) -> Body {
    let offset = mixed(op) % (OWN_FILE_BYTES / SMALL_BYTES) * SMALL_BYTES;
    write_args(listed(field, slot as u64), offset, small(field, op))
}

fn commit_own(field: &Field, slot: usize, _: u64) -> Body {
    commit_args(listed(field, slot as u64))
}

fn create(field: &Field, _: usize, op: u64) -> Body {
    create_args(field.made.clone(), &name(op))
}

fn remove(field: &Field, _: usize, op: u64) -> Body {
    place(&field.made, name(op))
}

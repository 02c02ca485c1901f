//! Runs one load once: as many operations in flight as it says, until its end.

use std::time::{Duration, Instant};

use gateway_nfs::protocol::args::ReadDirArgs;
use gateway_nfs::protocol::attributes::FATTR_BYTES;
use gateway_nfs::protocol::{HANDLE_BYTES_MAX, NAME_WIRE_BYTES_MAX, Procedure};
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};

use super::export::{Export, Field, NAMES, commit_args, nfs, ok};
use super::loads::{Load, Steps};
use super::wire::{SLOTS_MAX, Wire};

/// How long and how far.
#[derive(Clone, Copy)]
pub struct Extent {
    pub time: Duration,
    pub ops: u64,
    /// Operations are numbered from here.
    pub first: u64,
}

pub struct Outcome {
    pub ops: u64,
    pub took: Duration,
}

/// An operation under way.
#[derive(Clone, Default)]
struct Slot {
    op: u64,
    stage: usize,
    page: Page,
}

/// How far a listing is.
#[derive(Clone, Default)]
struct Page {
    cookie: u64,
    verifier: [u8; 8],
    names: u64,
}

pub async fn drive(export: &mut Export, load: &Load, extent: Extent) -> Result<Outcome, String> {
    assert!(load.inflight <= SLOTS_MAX, "an xid has no room for more slots");
    let Export { wire, field } = export;
    let mut slots = vec![Slot::default(); load.inflight];
    let (begin, mut started, mut done) = (Instant::now(), 0, 0);
    for (n, slot) in slots.iter_mut().enumerate() {
        if started < extent.ops {
            slot.op = extent.first + started;
            started += 1;
            call(wire, field, load, n, slot).await?;
        }
    }
    while done < started {
        let (n, results) = wire.reply().await?;
        let slot = slots.get_mut(n).ok_or("a reply to no call")?;
        if !answered(load, slot, results)? {
            call(wire, field, load, n, slot).await?;
            continue;
        }
        done += 1;
        if started < extent.ops && begin.elapsed() < extent.time {
            *slot = Slot { op: extent.first + started, ..Slot::default() };
            started += 1;
            call(wire, field, load, n, slot).await?;
        }
    }
    if load.commits {
        let results = wire.ask(nfs(Procedure::Commit), &commit_args(&field.large)).await?;
        ok(Procedure::Commit, results)?;
    }
    Ok(Outcome { ops: done, took: begin.elapsed() })
}

async fn call(wire: &mut Wire, field: &Field, load: &Load, n: usize, slot: &Slot) -> Result<(), String> {
    match &load.steps {
        Steps::Calls(calls) => {
            let (procedure, args) = calls.get(slot.stage).ok_or("a load without calls")?;
            wire.call(n, nfs(*procedure), &args(field, n, slot.op)).await
        }
        Steps::Listing => {
            let Page { cookie, verifier, .. } = slot.page;
            let (dircount, maxcount) = (1 << 20, 1 << 20);
            let mut args = Encoder::new();
            ReadDirArgs { dir: field.listed.clone(), cookie, verifier, dircount, maxcount }.encode(&mut args, true);
            wire.call(n, nfs(Procedure::ReadDirPlus), &args.finish()).await
        }
    }
}

/// Takes a reply; whether the operation is done by it.
fn answered(load: &Load, slot: &mut Slot, results: Decoder) -> Result<bool, String> {
    let Steps::Calls(calls) = &load.steps else {
        return listed(&mut slot.page, ok(Procedure::ReadDirPlus, results)?);
    };
    let (procedure, _) = calls.get(slot.stage).ok_or("a load without calls")?;
    let mut results = ok(*procedure, results)?;
    if *procedure == Procedure::Read {
        let count = attributes(&mut results).and_then(|()| results.u32()).map_err(cut)?;
        if u64::from(count) != load.read_bytes {
            return Err(format!("READ gives {count} bytes"));
        }
    }
    slot.stage += 1;
    Ok(slot.stage == calls.len())
}

/// Takes one page; whether it was the last.
fn listed(page: &mut Page, mut results: Decoder) -> Result<bool, String> {
    let mut take = || {
        attributes(&mut results)?;
        page.verifier = results.fixed()?;
        while results.bool()? {
            results.u64()?;
            let name = results.string(NAME_WIRE_BYTES_MAX)?;
            page.cookie = results.u64()?;
            page.names += u64::from(name.starts_with(b"file-"));
            attributes(&mut results)?;
            if results.bool()? {
                results.opaque(HANDLE_BYTES_MAX)?;
            }
        }
        results.bool()
    };
    let last = take().map_err(cut)?;
    if last && page.names != NAMES {
        return Err(format!("READDIRPLUS gives {} names", page.names));
    }
    Ok(last)
}

/// Passes over `post_op_attr`.
fn attributes(results: &mut Decoder) -> Result<(), Garbage> {
    if results.bool()? {
        results.fixed::<FATTR_BYTES>()?;
    }
    Ok(())
}

fn cut(Garbage: Garbage) -> String {
    "the results are cut".to_owned()
}

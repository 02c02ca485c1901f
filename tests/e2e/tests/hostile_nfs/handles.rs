//! Handles that the service did not give out.

use std::time::Instant;

use bytes::Bytes;
use gateway_nfs::protocol::{NFS_PROGRAM, Procedure, VERSION};

use crate::{NFS, serving};
use tests_e2e::wire::{OK, ROOT, Wire, call_bytes, encoded, record};

const BADHANDLE: u32 = 10_001;
const HANDLE_BYTES: usize = 40;
/// Where in a handle what stands: share, inode, generation, and the proof.
const SHARE: usize = 4;
const INO: usize = 8;
const GENERATION: usize = 16;
const PROOF: usize = 24;
const HANDLES: u64 = 1_000_000;
/// Calls in flight; the service reads on where there are at most 128.
const IN_FLIGHT: usize = 100;

/// A chance that repeats.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn add(bytes: &mut [u8], at: usize, by: u64) {
    let number = u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    bytes[at..at + 8].copy_from_slice(&number.wrapping_add(by).to_be_bytes());
}

/// Something that is none of `given`, made from two of them.
fn forge(round: u64, given: &[Bytes], chance: &mut Chance) -> Vec<u8> {
    let mut pick = || given[chance.next() as usize % given.len()].clone();
    let (one, other) = (pick(), pick());
    let mut forged = one.to_vec();
    match round % 10 {
        0 => forged[chance.next() as usize % HANDLE_BYTES] ^= 1 << (chance.next() % 8),
        // Of another share, with the proof for this one.
        1 => forged[SHARE + 3] = if forged[SHARE + 3] == 1 { 2 } else { 1 },
        2 => add(&mut forged, INO, 1),
        3 => add(&mut forged, INO, u64::MAX),
        4 => add(&mut forged, GENERATION, 1),
        5 => add(&mut forged, GENERATION, u64::MAX),
        6 => forged[PROOF..].iter_mut().for_each(|byte| *byte = chance.next() as u8),
        7 => forged[INO..GENERATION].copy_from_slice(&chance.next().to_be_bytes()),
        // The proof of another handle, or where that is the same one, a wrong one.
        8 => {
            forged[PROOF..].copy_from_slice(&other[PROOF..]);
            forged[PROOF] ^= u8::from(one == other);
        }
        _ => forged.truncate(chance.next() as usize % HANDLE_BYTES),
    }
    forged
}

/// The statuses of GETATTR for `handles`, all on their way at once.
fn statuses(client: &mut Wire, handles: &[Vec<u8>]) -> Vec<u32> {
    let calls: Vec<u8> = (0_u32..)
        .zip(handles)
        .flat_map(|(xid, handle)| {
            let args = encoded(|out| out.opaque(handle));
            record(&call_bytes(xid, [NFS_PROGRAM, VERSION, Procedure::GetAttr as u32], &ROOT, &args))
        })
        .collect();
    client.send(&calls).expect("the connection is open");
    let mut found = vec![None; handles.len()];
    for _ in handles {
        let reply = client.reply().expect("a reply");
        let twice = found[reply.xid as usize].replace(reply.status());
        assert_eq!(twice, None, "one reply to one call");
    }
    found.into_iter().map(|status| status.expect("each has one")).collect()
}

#[test]
fn h42_a_million_forged_handles_none_accepted_over_the_wire() {
    let site = serving(NFS);
    for share in ["/a", "/b"] {
        site.share(&["create", share, "--make", "--squash", "none"]).ok();
    }
    let mut client = Wire::connect(site.nfs_address().unwrap());
    let mut given = Vec::new();
    for share in ["/a", "/b"] {
        let root = client.mount(share).expect("this machine is on the list");
        for n in 0..20 {
            let name = format!("f{n}");
            let mut made = client.nfs(Procedure::MkDir, &ROOT, |out| {
                out.opaque(&root);
                out.opaque(name.as_bytes());
                (0..6).for_each(|_| out.u32(0));
            });
            assert_eq!(made.u32(), Ok(OK));
            given.push(client.lookup(&root, name.as_bytes()).expect("it was made"));
        }
        given.push(root);
    }
    assert!(given.iter().all(|handle| handle.len() == HANDLE_BYTES));

    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (begin, mut sent) = (Instant::now(), 0);
    // Every bit of one handle, before chance.
    let flips = (0..HANDLE_BYTES * 8).map(|bit| {
        let mut forged = given[3].to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        forged
    });
    let flips: Vec<Vec<u8>> = flips.collect();
    for flips in flips.chunks(IN_FLIGHT) {
        assert!(statuses(&mut client, flips).iter().all(|status| *status == BADHANDLE));
    }
    while sent < HANDLES {
        let mut batch: Vec<Vec<u8>> = (0..IN_FLIGHT as u64 - 1).map(|n| forge(sent + n, &given, &mut chance)).collect();
        sent += batch.len() as u64;
        let genuine = given[chance.next() as usize % given.len()].to_vec();
        batch.push(genuine);
        let found = statuses(&mut client, &batch);
        assert_eq!(found.last(), Some(&OK), "a handle that was given out is good all the while");
        for (handle, status) in batch.iter().zip(&found).take(batch.len() - 1) {
            assert_eq!(*status, BADHANDLE, "{handle:02x?} was not given out");
        }
    }
    println!("{sent} forged handles in {:?}", begin.elapsed());
}

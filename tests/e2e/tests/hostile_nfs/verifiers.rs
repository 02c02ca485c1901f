//! What a client may let go of: not before COMMIT said so, with the verifier of the writes.

use std::fs;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::{Stable, WriteArgs};
use tests_e2e::{Pattern, Site, deep};

use crate::{MOUNT_AND_NFS, NFS, serving};
use tests_e2e::wire::{OK, ROOT, Wire, number, opaque, skip_post_op, skip_wcc};

const FILE_BYTES: usize = 300_000;
const WRITE_BYTES: usize = 32 << 10;

type Verifier = [u8; 8];

fn create(client: &mut Wire, dir: &Bytes, name: &str) -> Bytes {
    let mut reply = client.nfs(Procedure::Create, &ROOT, |out| {
        out.opaque(dir);
        out.opaque(name.as_bytes());
        // GUARDED, with nothing set.
        out.u32(1);
        (0..6).for_each(|_| out.u32(0));
    });
    assert_eq!(number(&mut reply), OK, "{name} is made");
    client.lookup(dir, name.as_bytes()).expect("it was made")
}

/// All of `data` in writes of `WRITE_BYTES`, and the verifier, which is one.
fn write(client: &mut Wire, file: &Bytes, data: &[u8], stable: Stable) -> Verifier {
    let mut verifiers = Vec::new();
    for (n, part) in data.chunks(WRITE_BYTES).enumerate() {
        let (offset, count) = ((n * WRITE_BYTES) as u64, part.len() as u32);
        let args = WriteArgs { file: file.clone(), offset, count, stable, data: Bytes::copy_from_slice(part) };
        let mut reply = client.nfs(Procedure::Write, &ROOT, |out| args.encode(out));
        assert_eq!(number(&mut reply), OK);
        skip_wcc(&mut reply);
        assert_eq!((number(&mut reply), number(&mut reply)), (count, stable as u32));
        verifiers.push(reply.fixed().expect("a verifier"));
    }
    assert!(verifiers.windows(2).all(|pair| pair[0] == pair[1]), "one start has one verifier");
    verifiers[0]
}

fn commit(client: &mut Wire, file: &Bytes) -> Verifier {
    let mut reply = client.nfs(Procedure::Commit, &ROOT, |out| {
        out.opaque(file);
        out.u64(0);
        out.u32(0);
    });
    assert_eq!(number(&mut reply), OK);
    skip_wcc(&mut reply);
    reply.fixed().expect("a verifier")
}

fn content(client: &mut Wire, file: &Bytes) -> Vec<u8> {
    let mut reply = client.nfs(Procedure::Read, &ROOT, |out| {
        out.opaque(file);
        out.u64(0);
        out.u32(1 << 20);
    });
    assert_eq!(number(&mut reply), OK);
    skip_post_op(&mut reply);
    number(&mut reply);
    reply.bool().expect("the end");
    opaque(&mut reply).to_vec()
}

fn open(site: &Site) -> (Wire, Bytes) {
    let mut client = Wire::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").expect("this machine is on the list");
    (client, root)
}

#[test]
fn h45_a_client_that_sends_again_what_was_not_committed_has_all_its_bytes() {
    let rounds: u64 = if deep() { 50 } else { 5 };
    let mut site = serving(MOUNT_AND_NFS);
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let (mut client, root) = open(&site);
    let mut verifiers = Vec::new();
    for round in 0..rounds {
        let (name, data) = (format!("f{round}"), Pattern(round).bytes(0, FILE_BYTES));
        let file = create(&mut client, &root, &name);
        let written = write(&mut client, &file, &data, Stable::Unstable);
        assert!(!verifiers.contains(&written), "round {round}: a verifier of an earlier start");
        verifiers.push(written);
        // A part of it has reached the journal by now, or nothing.
        thread::sleep(Duration::from_millis(round * 7 % 30));
        site.kill();
        site.mount();
        client = open(&site).0;
        let committed = commit(&mut client, &file);
        assert_ne!(committed, written, "round {round}: the client has to learn that its bytes may be lost");
        // As a client does it: everything again, and COMMIT, until both have one verifier.
        let again = write(&mut client, &file, &data, Stable::Unstable);
        assert_eq!(again, committed);
        assert_eq!(commit(&mut client, &file), again);
        // And now it may forget them.
        site.kill();
        site.mount();
        client = open(&site).0;
        assert!(content(&mut client, &file) == data, "round {round}: {name}");
        assert!(fs::read(site.mnt().join("files").join(&name)).unwrap() == data, "round {round}: the mount's view");
    }
}

#[test]
fn h46_what_was_committed_or_written_as_synced_is_there_after_kill_9_within_10_ms() {
    let rounds: u64 = if deep() { 200 } else { 16 };
    let mut site = serving(NFS);
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let (mut client, root) = open(&site);
    let mut promised = Vec::new();
    for round in 0..rounds {
        let data = Pattern(round).bytes(0, 1 + (round as usize * 7919) % 90_000);
        let file = create(&mut client, &root, &format!("f{round}"));
        match round % 2 {
            0 => {
                write(&mut client, &file, &data, Stable::FileSync);
            }
            _ => {
                let written = write(&mut client, &file, &data, Stable::Unstable);
                assert_eq!(commit(&mut client, &file), written);
            }
        }
        thread::sleep(Duration::from_micros(round * 773 % 10_000));
        site.kill();
        promised.push((file, data));
        site.mount();
        client = open(&site).0;
        // All of the last ones, and some of long ago.
        for (n, (file, data)) in promised.iter().enumerate().rev().take(20) {
            assert!(content(&mut client, file) == *data, "f{n} after round {round}");
        }
    }
    for (n, (file, data)) in promised.iter().enumerate() {
        assert!(content(&mut client, file) == *data, "f{n} in the end");
    }
}

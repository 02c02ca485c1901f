//! READ, WRITE, COMMIT and attributes.

use bytes::Bytes;
use fs_api::SetAttr;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::CreateHow;
use gateway_nfs::protocol::attributes::NewAttributes;
use gateway_sunrpc::xdr::Decoder;
use tests_nfs::{Client, OK, World, fattr, flag, mode, number, opaque, place, post_op, root, wcc};

fn verifier(mut reply: Decoder, skip: usize) -> [u8; 8] {
    assert_eq!(number(&mut reply), OK);
    wcc(&mut reply);
    for _ in 0..skip {
        number(&mut reply);
    }
    reply.fixed::<8>().expect("a verifier")
}

fn commit(client: &Client, file: &Bytes, offset: u64, count: u32) -> Decoder {
    client.call(Procedure::Commit, |out| {
        out.opaque(file);
        out.u64(offset);
        out.u32(count);
    })
}

fn file(client: &Client, name: &[u8], bits: u32) -> Bytes {
    let (status, file) = client.create(&root(), name, CreateHow::Guarded(mode(bits)));
    assert_eq!(status, OK);
    file
}

fn content(client: &Client, file: &Bytes, offset: u64, count: u32) -> (Bytes, bool) {
    let mut reply = client.read(file, offset, count);
    assert_eq!(number(&mut reply), OK);
    post_op(&mut reply);
    let length = number(&mut reply);
    let end = flag(&mut reply);
    let data = opaque(&mut reply);
    assert_eq!(data.len(), length as usize);
    assert_eq!(reply.remaining(), 0);
    (data, end)
}

#[test]
fn bytes_come_back_and_the_end_is_told() {
    let world = World::new();
    let client = world.client(0);
    let file = file(&client, b"f", 0o644);
    assert_eq!(number(&mut client.write(&file, 3, b"hello", 2)), OK);
    assert_eq!(content(&client, &file, 0, 100), (Bytes::from_static(b"\0\0\0hello"), true));
    assert_eq!(content(&client, &file, 0, 4), (Bytes::from_static(b"\0\0\0h"), false));
    assert_eq!(content(&client, &file, 8, 4), (Bytes::new(), true));
}

#[test]
fn h45_write_and_commit_carry_one_verifier_until_data_may_be_lost() {
    let world = World::new();
    let client = world.client(0);
    let file = file(&client, b"f", 0o644);
    let first = verifier(client.write(&file, 0, b"a", 0), 2);
    assert_eq!(verifier(commit(&client, &file, 0, 0), 0), first);
    world.door.unstable_data_lost();
    let second = verifier(commit(&client, &file, 0, 0), 0);
    assert_ne!(second, first);
    let world = world.restarted();
    let third = verifier(commit(&world.client(0), &file, 0, 0), 0);
    assert!(third != first && third != second);
}

#[test]
fn h48_no_corner_of_offset_and_count_overflows() {
    let world = World::new();
    let client = world.client(0);
    let file = file(&client, b"f", 0o644);
    let corners = [0, 1, (1 << 63) - 2, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX];
    for offset in corners {
        for count in [0, 1, 1 << 20, u32::MAX] {
            assert_eq!(content(&client, &file, offset, count), (Bytes::new(), true), "{offset} {count}");
            assert_eq!(number(&mut commit(&client, &file, offset, count)), OK);
        }
        if offset >= (1 << 63) - 1 {
            assert_eq!(number(&mut client.write(&file, offset, b"x", 0)), 27, "{offset}");
        }
    }
    for size in [1 << 63, u64::MAX] {
        let set = NewAttributes { set: SetAttr { size: Some(size), ..SetAttr::default() }, times_valid: true };
        let mut reply = client.call(Procedure::SetAttr, |out| {
            out.opaque(&file);
            set.encode(out);
            out.bool(false);
        });
        assert!(matches!(number(&mut reply), 22 | 27), "{size}");
    }
}

#[test]
fn attributes_before_are_told_where_nothing_came_between() {
    let world = World::new();
    let client = world.client(0);
    let file = file(&client, b"f", 0o644);
    let mut reply = client.write(&file, 0, b"abc", 0);
    assert_eq!(number(&mut reply), OK);
    let (before, after) = wcc(&mut reply);
    assert!(before && after.is_some_and(|attr| attr.size == 3));
    let mut reply = client.call(Procedure::RmDir, |out| place(&root(), b"none").encode(out));
    assert_eq!(number(&mut reply), 2);
    assert!(wcc(&mut reply).0, "a failure changed nothing");
}

#[test]
fn a_guard_with_another_ctime_is_not_in_sync() {
    let world = World::new();
    let client = world.client(0);
    let file = file(&client, b"f", 0o644);
    let mut reply = client.call(Procedure::GetAttr, |out| out.opaque(&file));
    assert_eq!(number(&mut reply), OK);
    let ctime = fattr(&mut reply).ctime;
    let set = |secs: u32, nanos: u32| {
        number(&mut client.call(Procedure::SetAttr, |out| {
            out.opaque(&file);
            mode(0o600).encode(out);
            out.bool(true);
            out.u32(secs);
            out.u32(nanos);
        }))
    };
    assert_eq!(set(ctime.0, ctime.1 ^ 1), 10_002);
    assert_eq!(set(ctime.0, 1_000_000_000), 10_002);
    assert_eq!(set(ctime.0, ctime.1), OK);
}

#[test]
fn the_owner_writes_a_file_that_was_made_read_only_and_others_do_not() {
    let world = World::new();
    let (owner, other) = (world.client(1000), world.client(1001));
    let file = file(&owner, b"f", 0o400);
    assert_eq!(number(&mut owner.write(&file, 0, b"abc", 2)), OK);
    assert_eq!(content(&owner, &file, 0, 9).0, "abc");
    assert_eq!(number(&mut other.write(&file, 0, b"abc", 2)), 13);
    assert_eq!(number(&mut other.read(&file, 0, 9)), 13);
}

#[test]
fn who_may_execute_a_file_may_read_it_but_not_write_it() {
    let world = World::new();
    let (owner, other) = (world.client(1000), world.client(1001));
    let file = file(&owner, b"f", 0o711);
    assert_eq!(number(&mut owner.write(&file, 0, b"abc", 0)), OK);
    assert_eq!(content(&other, &file, 0, 9).0, "abc");
    assert_eq!(number(&mut other.write(&file, 0, b"x", 0)), 13);
}

#[test]
fn access_tells_what_the_mode_allows() {
    let world = World::new();
    let (owner, other) = (world.client(1000), world.client(1001));
    let file = file(&owner, b"f", 0o640);
    let ask = |client: &Client| {
        let mut reply = client.call(Procedure::Access, |out| {
            out.opaque(&file);
            out.u32(0x3f);
        });
        assert_eq!(number(&mut reply), OK);
        assert!(post_op(&mut reply).is_some());
        number(&mut reply)
    };
    assert_eq!((ask(&owner), ask(&other)), (0x01 | 0x04 | 0x08, 0));
}

#[test]
fn h50_targets_of_links_have_their_limit() {
    let world = World::new();
    let client = world.client(0);
    for (length, fits) in [(0, false), (1, true), (4095, true), (4096, false), (65_535, false)] {
        let name = format!("l{length}");
        let target = vec![b't'; length];
        let mut reply = client.call(Procedure::SymLink, |out| {
            place(&root(), name.as_bytes()).encode(out);
            mode(0o777).encode(out);
            out.opaque(&target);
        });
        assert_eq!(number(&mut reply) == OK, fits, "{length}");
        if fits {
            let (_, link) = client.lookup(&root(), name.as_bytes());
            let mut reply = client.call(Procedure::ReadLink, |out| out.opaque(&link));
            assert_eq!(number(&mut reply), OK);
            post_op(&mut reply);
            assert_eq!(opaque(&mut reply), target);
        }
    }
}

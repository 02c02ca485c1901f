//! Calls that are sent again.

use bytes::Bytes;
use fs_api::Time;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::{CreateHow, SetAttrArgs};
use gateway_sunrpc::xdr::Encoder;
use tests_nfs::{Client, OK, World, created, fattr, flag, joined, mode, number, place, post_op, root, wcc};

const NOENT: u32 = 2;
const EXIST: u32 = 17;

fn bytes(args: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut out = Encoder::new();
    args(&mut out);
    joined(&out.finish())
}

fn status(client: &Client, xid: u32, procedure: Procedure, args: &Bytes) -> u32 {
    number(&mut client.send(xid, procedure, args.clone()).expect("a reply"))
}

#[test]
fn h47_a_repeat_gets_the_first_reply_also_after_a_restart() {
    let mut world = World::new();
    let calls = [
        (
            Procedure::MkDir,
            bytes(|out| {
                place(&root(), b"d").encode(out);
                mode(0o755).encode(out)
            }),
        ),
        (
            Procedure::Create,
            bytes(|out| {
                place(&root(), b"f").encode(out);
                CreateHow::Guarded(mode(0o644)).encode(out)
            }),
        ),
        (
            Procedure::Rename,
            bytes(|out| {
                place(&root(), b"f").encode(out);
                place(&root(), b"g").encode(out)
            }),
        ),
        (Procedure::Remove, bytes(|out| place(&root(), b"g").encode(out))),
        (Procedure::RmDir, bytes(|out| place(&root(), b"d").encode(out))),
    ];
    for round in 0..3 {
        for (xid, (procedure, args)) in calls.iter().enumerate() {
            assert_eq!(status(&world.client(0), xid as u32, *procedure, args), OK, "{procedure:?} in round {round}");
        }
        world = world.restarted();
    }
    let (procedure, args) = &calls[3];
    assert_eq!(status(&world.client(0), 99, *procedure, args), NOENT, "another xid is another call");
    let mut other = world.client(0);
    other.peer.set_port(902);
    assert_eq!(status(&other, 3, *procedure, args), NOENT, "another port is another client");
}

#[test]
fn h47_replies_after_a_restart_have_handles_and_attributes_where_they_still_are() {
    let world = World::new();
    let client = world.client(0);
    let (_, file) = client.create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    let guard = {
        let mut reply = client.call(Procedure::GetAttr, |out| out.opaque(&file));
        assert_eq!(number(&mut reply), OK);
        let (secs, nanos) = fattr(&mut reply).ctime;
        Time { secs: i64::from(secs), nanos }
    };
    let node = bytes(|out| {
        place(&root(), b"pipe").encode(out);
        out.u32(7);
        mode(0o600).encode(out);
    });
    let symlink = bytes(|out| {
        place(&root(), b"s").encode(out);
        mode(0o777).encode(out);
        out.opaque(b"target");
    });
    let link = bytes(|out| {
        out.opaque(&file);
        place(&root(), b"linked").encode(out);
    });
    let set = bytes(|out| {
        SetAttrArgs { object: file.clone(), attributes: mode(0o640), guard: Some(Some(guard)) }.encode(out);
    });
    let failing = bytes(|out| place(&root(), b"nothing").encode(out));

    let made = [(1, Procedure::MkNod, &node), (2, Procedure::SymLink, &symlink)];
    let first = made.map(|(xid, procedure, args)| created(client.send(xid, procedure, args.clone()).expect("a reply")));
    assert_eq!(status(&client, 3, Procedure::SetAttr, &set), OK, "the guard holds");
    assert_eq!(status(&client, 4, Procedure::Link, &link), OK);
    assert_eq!(status(&client, 5, Procedure::Remove, &failing), NOENT);

    let world = world.restarted();
    let client = world.client(0);
    let again = made.map(|(xid, procedure, args)| created(client.send(xid, procedure, args.clone()).expect("a reply")));
    assert_eq!(again, first);
    let mut reply = client.send(3, Procedure::SetAttr, set.clone()).expect("a reply");
    assert_eq!(number(&mut reply), OK, "the guard holds no more, and is not asked");
    let (before, after) = wcc(&mut reply);
    assert!(!before && after.is_some_and(|attr| attr.mode == 0o640));
    let mut reply = client.send(4, Procedure::Link, link.clone()).expect("a reply");
    assert_eq!(number(&mut reply), OK);
    assert!(post_op(&mut reply).is_some_and(|attr| attr.nlink == 2));
    assert_eq!(status(&client, 5, Procedure::Remove, &failing), NOENT, "a failure is found anew");

    // What has its name no more is told as carried out all the same.
    assert_eq!(status(&client, 6, Procedure::Remove, &bytes(|out| place(&root(), b"s").encode(out))), OK);
    let world = world.restarted();
    let mut reply = world.client(0).send(2, Procedure::SymLink, symlink).expect("a reply");
    assert_eq!((number(&mut reply), flag(&mut reply), post_op(&mut reply)), (OK, false, None));
    assert!(wcc(&mut reply).1.is_some(), "the directory is there");
}

#[test]
fn h47_exclusive_create_knows_its_own_verifier_to_the_last_bit() {
    let world = World::new();
    let verifier = [0xff, 0xfe, 0x80, 1, 0x80, 0, 0, 7];
    let (first, file) = world.client(7).create(&root(), b"x", CreateHow::Exclusive(verifier));
    assert_eq!(first, OK);
    let world = world.restarted();
    assert_eq!(world.client(8).create(&root(), b"x", CreateHow::Exclusive(verifier)), (OK, file.clone()));
    for bit in 0..64 {
        let mut other = verifier;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(world.client(8).create(&root(), b"x", CreateHow::Exclusive(other)).0, EXIST, "bit {bit}");
    }
    number(&mut world.client(7).write(&file, 0, b"data", 2));
    assert_eq!(world.client(9).create(&root(), b"x", CreateHow::Exclusive(verifier)).0, EXIST, "it is in use");
}

#[test]
fn unchecked_create_takes_what_is_there_and_guarded_does_not() {
    let world = World::new();
    let client = world.client(0);
    let (_, file) = client.create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    assert_eq!(client.create(&root(), b"f", CreateHow::Guarded(mode(0o600))).0, EXIST);
    assert_eq!(client.create(&root(), b"f", CreateHow::Unchecked(mode(0o600))), (OK, file.clone()));
    number(&mut client.write(&file, 0, b"data", 0));
    let mut truncating = mode(0o600);
    truncating.set.size = Some(0);
    assert_eq!(client.create(&root(), b"f", CreateHow::Unchecked(truncating)), (OK, file.clone()));
    let mut attr = client.call(Procedure::GetAttr, |out| out.opaque(&file));
    assert_eq!(number(&mut attr), OK);
    let attr = tests_nfs::fattr(&mut attr);
    assert_eq!((attr.size, attr.mode), (0, 0o644));
}

#[test]
fn garbage_is_forgotten_and_does_not_block_its_xid() {
    let world = World::new();
    let client = world.client(0);
    let args = bytes(|out| place(&root(), b"d").encode(out));
    assert!(client.send(5, Procedure::MkDir, args.clone()).is_err());
    assert!(client.send(5, Procedure::MkDir, args).is_err());
    let good = bytes(|out| {
        place(&root(), b"d").encode(out);
        mode(0o755).encode(out)
    });
    assert_eq!(created(client.send(5, Procedure::MkDir, good).expect("a reply")).0, OK);
}

//! Calls that are sent again.

use bytes::Bytes;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::CreateHow;
use gateway_sunrpc::xdr::Encoder;
use tests_nfs::{Client, OK, World, created, joined, mode, number, place, root};

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

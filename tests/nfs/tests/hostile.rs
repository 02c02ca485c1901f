//! Input that no client of good will sends.

use bytes::Bytes;
use gateway_nfs::MountProgram;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::{CreateHow, ReadDirArgs};
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Call, Program, Refusal};
use tests_nfs::{World, joined, mode, now, place, root};

fn bytes(args: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut out = Encoder::new();
    args(&mut out);
    joined(&out.finish())
}

/// A call of every procedure that has arguments.
fn calls() -> Vec<(Procedure, Bytes)> {
    let handle = bytes(|out| out.opaque(&root()));
    let two = bytes(|out| {
        place(&root(), b"a").encode(out);
        place(&root(), b"b").encode(out)
    });
    let name = bytes(|out| place(&root(), b"a").encode(out));
    let io = bytes(|out| {
        out.opaque(&root());
        out.u64(0);
        out.u32(3)
    });
    let list = ReadDirArgs { dir: root(), cookie: 0, verifier: [0; 8], dircount: 4096, maxcount: 4096 };
    let made = |tail: &dyn Fn(&mut Encoder)| {
        bytes(|out| {
            place(&root(), b"a").encode(out);
            tail(out)
        })
    };
    vec![
        (Procedure::GetAttr, handle.clone()),
        (
            Procedure::SetAttr,
            bytes(|out| {
                out.opaque(&root());
                mode(0o755).encode(out);
                out.bool(false)
            }),
        ),
        (Procedure::Lookup, name.clone()),
        (
            Procedure::Access,
            bytes(|out| {
                out.opaque(&root());
                out.u32(63)
            }),
        ),
        (Procedure::ReadLink, handle.clone()),
        (Procedure::Read, io.clone()),
        (
            Procedure::Write,
            bytes(|out| {
                out.opaque(&root());
                out.u64(0);
                out.u32(3);
                out.u32(0);
                out.opaque(b"abc")
            }),
        ),
        (Procedure::Create, made(&|out| CreateHow::Exclusive([1; 8]).encode(out))),
        (Procedure::MkDir, made(&|out| mode(0o755).encode(out))),
        (
            Procedure::SymLink,
            made(&|out| {
                mode(0o755).encode(out);
                out.opaque(b"target")
            }),
        ),
        (
            Procedure::MkNod,
            made(&|out| {
                out.u32(4);
                mode(0o600).encode(out);
                out.u32(1);
                out.u32(3)
            }),
        ),
        (Procedure::Remove, name.clone()),
        (Procedure::RmDir, name),
        (Procedure::Rename, two),
        (
            Procedure::Link,
            bytes(|out| {
                out.opaque(&root());
                place(&root(), b"l").encode(out)
            }),
        ),
        (Procedure::ReadDir, bytes(|out| list.encode(out, false))),
        (Procedure::ReadDirPlus, bytes(|out| list.encode(out, true))),
        (Procedure::FsStat, handle.clone()),
        (Procedure::FsInfo, handle.clone()),
        (Procedure::PathConf, handle),
        (Procedure::Commit, io),
    ]
}

#[test]
fn h41_every_call_cut_at_every_byte_is_garbage() {
    let world = World::new();
    let client = world.client(0);
    for (procedure, args) in calls() {
        for cut in 0..args.len() {
            let refused = client.send(cut as u32, procedure, args.slice(..cut)).err();
            assert_eq!(refused, Some(Refusal::GarbageArguments), "{procedure:?} cut at {cut}");
        }
        assert!(client.send(u32::MAX, procedure, args).is_ok(), "{procedure:?}");
    }
}

#[test]
fn h40_no_count_is_believed() {
    let world = World::new();
    let client = world.client(0);
    for (procedure, args) in calls() {
        for at in (0..args.len()).step_by(4) {
            for lie in [u32::MAX, 1 << 31, 65_537, 65] {
                let mut bent = args.to_vec();
                bent[at..at + 4].copy_from_slice(&lie.to_be_bytes());
                // An answer or a refusal; what it must not be is a panic or an allocation of that size.
                match client.send(at as u32, procedure, bent.into()) {
                    Ok(reply) => assert!(reply.remaining() <= 1 << 16),
                    Err(refusal) => assert!(matches!(refusal, Refusal::GarbageArguments)),
                }
            }
        }
    }
}

#[test]
fn unknown_procedures_are_unavailable() {
    let world = World::new();
    let client = world.client(0);
    let call = |procedure| Call {
        xid: 1,
        version: 3,
        procedure,
        peer: client.peer,
        local: client.peer,
        auth: client.auth.clone(),
        args: Decoder::new(Bytes::new()),
    };
    for procedure in [22, u32::MAX] {
        let refused = now(world.door.clone().call(call(procedure))).err();
        assert_eq!(refused, Some(Refusal::ProcedureUnavailable));
    }
}

/// Ways in which programs have been talked into going up a directory. To a filesystem they are names, or no names at all.
const UPWARDS: [&[u8]; 24] = [
    b"..",
    b".",
    b"../f",
    b"..\\f",
    b"..\\",
    b"\\..\\f",
    b"%2e%2e",
    b"%2e%2e%2f",
    b"%2e%2e/f",
    b"%252e%252e",
    b"..%2f",
    b"..%5c",
    b"..%c0%af",
    b"..\xc0\xaf",
    b"\xc0\xae\xc0\xae",
    b"\xe0\x80\xae\xe0\x80\xae",
    b"\xef\xbc\x8e\xef\xbc\x8e",
    b".\0.",
    b"..\0",
    b".%00.",
    b"...",
    b".. ",
    b"..;",
    b"/..",
];

#[test]
fn h25_no_way_of_writing_dot_dot_leads_out_of_a_directory() {
    let world = World::new();
    let client = world.client(0);
    let (_, outside) = client.create(&root(), b"f", CreateHow::Guarded(mode(0o600)));
    let (_, dir) = client.mkdir(&root(), b"d");
    let mut kept = 0;
    for name in UPWARDS {
        let shown = name.escape_ascii().to_string();
        let is_name = name != b".." && name != b"." && !name.contains(&b'/') && !name.contains(&0);
        let (status, made) = client.create(&dir, name, CreateHow::Guarded(mode(0o600)));
        assert_eq!(status == tests_nfs::OK, is_name, "{shown}: {status}");
        let (status, found) = client.lookup(&dir, name);
        match name {
            b".." => assert_eq!((status, found), (tests_nfs::OK, root()), "the directory above, inside the share"),
            b"." => assert_eq!((status, found), (tests_nfs::OK, dir.clone())),
            _ if is_name => {
                assert_eq!((status, found), (tests_nfs::OK, made), "{shown} is itself");
                kept += 1;
            }
            _ => assert_ne!((status, &found), (tests_nfs::OK, &outside), "{shown}"),
        }
        assert_eq!(client.lookup(&root(), b"..").1, root(), "above a share there is nothing");
    }
    assert_eq!(kept, 17);
    for name in UPWARDS.into_iter().filter(|name| !matches!(*name, b"." | b"..")) {
        assert_ne!(client.lookup(&root(), name).0, tests_nfs::OK, "nothing was made in the directory above");
    }
}

#[test]
fn h50_mount_knows_exact_paths_only() {
    let world = World::new();
    let client = world.client(0);
    let mount = MountProgram::new(world.door.clone());
    let ask = |procedure, args: Bytes, peer: &str| {
        let peer = peer.parse().expect("an address");
        let (auth, args) = (client.auth.clone(), Decoder::new(args));
        let call = Call { xid: 1, version: 3, procedure, peer, local: client.peer, auth, args };
        now(mount.clone().call(call)).map(|body| Decoder::new(joined(&body)))
    };
    let here = "127.0.0.1:700";
    let status =
        |path: &[u8], peer| ask(1, bytes(|out| out.opaque(path)), peer).map(|mut reply| reply.u32().expect("a status"));
    assert_eq!(status(b"/all", here), Ok(0));
    for path in [&b"/all/../other"[..], b"//all", b"/all\0", b"", b"/"] {
        assert_eq!(status(path, here), Ok(2), "{path:?}");
    }
    assert_eq!(status(b"/all", "192.0.2.1:700"), Ok(13));
    assert_eq!(status(&[b'/'; 1025], here), Err(Refusal::GarbageArguments));
    let exports = |peer| ask(5, Bytes::new(), peer).expect("a reply").bool().expect("a list");
    assert!(exports(here) && !exports("192.0.2.1:700"));
    let mounts = || ask(2, Bytes::new(), here).expect("a reply").bool().expect("a list");
    assert!(mounts());
    ask(4, Bytes::new(), here).expect("a reply");
    assert!(!mounts());
}

#[test]
fn h28_a_rename_of_or_to_a_dot_is_invalid_and_not_to_be_tried_again() {
    const INVAL: u32 = 22;
    let world = World::new();
    let client = world.client(0);
    client.create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    for (from, to) in [(&b"."[..], &b"g"[..]), (b"..", b"g"), (b"f", b"."), (b"f", b"..")] {
        let mut reply = client.call(Procedure::Rename, |out| {
            place(&root(), from).encode(out);
            place(&root(), to).encode(out);
        });
        assert_eq!(reply.u32(), Ok(INVAL), "{from:?} to {to:?}");
    }
    assert_eq!(client.lookup(&root(), b"f").0, 0);
}

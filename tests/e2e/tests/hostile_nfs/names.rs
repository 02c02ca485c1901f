//! Names and symbolic links that mean harm, through NFS, as the mount sees them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use gateway_nfs::protocol::{NFS_PROGRAM, Procedure, VERSION};

use crate::{MOUNT_AND_NFS, serving};
use tests_e2e::wire::{OK, ROOT, Wire, encoded, number, opaque, skip_post_op};

const NOENT: u32 = 2;
const EXIST: u32 = 17;
const NOTDIR: u32 = 20;
const ISDIR: u32 = 21;
const INVAL: u32 = 22;
const NAMETOOLONG: u32 = 63;
const NOTEMPTY: u32 = 66;

fn mkdir(client: &mut Wire, dir: &Bytes, name: &[u8]) -> u32 {
    number(&mut client.nfs(Procedure::MkDir, &ROOT, |out| {
        out.opaque(dir);
        out.opaque(name);
        (0..6).for_each(|_| out.u32(0));
    }))
}

fn symlink(client: &mut Wire, dir: &Bytes, name: &[u8], target: &[u8]) -> u32 {
    number(&mut client.nfs(Procedure::SymLink, &ROOT, |out| {
        out.opaque(dir);
        out.opaque(name);
        (0..6).for_each(|_| out.u32(0));
        out.opaque(target);
    }))
}

/// The statuses of every call that makes or moves a name to `name`, and of those that look for it.
fn statuses(client: &mut Wire, dir: &Bytes, name: &[u8]) -> Vec<(Procedure, u32)> {
    let mut found = vec![(Procedure::MkDir, mkdir(client, dir, name))];
    let nothing_set = |out: &mut gateway_sunrpc::xdr::Encoder| (0..6).for_each(|_| out.u32(0));
    let create = client.nfs(Procedure::Create, &ROOT, |out| {
        out.opaque(dir);
        out.opaque(name);
        out.u32(0);
        nothing_set(out);
    });
    let mknod = client.nfs(Procedure::MkNod, &ROOT, |out| {
        out.opaque(dir);
        out.opaque(name);
        out.u32(7);
        nothing_set(out);
    });
    let file = client.lookup(dir, b"file").expect("it was made");
    let link = client.nfs(Procedure::Link, &ROOT, |out| {
        out.opaque(&file);
        out.opaque(dir);
        out.opaque(name);
    });
    let rename = client.nfs(Procedure::Rename, &ROOT, |out| {
        out.opaque(dir);
        out.opaque(b"file");
        out.opaque(dir);
        out.opaque(name);
    });
    for (procedure, mut reply) in
        [(Procedure::Create, create), (Procedure::MkNod, mknod), (Procedure::Link, link), (Procedure::Rename, rename)]
    {
        found.push((procedure, number(&mut reply)));
    }
    found.push((Procedure::SymLink, symlink(client, dir, name, b"target")));
    for procedure in [Procedure::Remove, Procedure::RmDir] {
        let mut reply = client.nfs(procedure, &ROOT, |out| {
            out.opaque(dir);
            out.opaque(name);
        });
        found.push((procedure, number(&mut reply)));
    }
    found
}

fn names_in(dir: &std::path::Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let mut names: Vec<Vec<u8>> =
        entries.map(|entry| entry.expect("an entry").file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

#[test]
fn h28_names_that_no_file_can_have_are_refused_by_every_call_and_the_others_are_kept_to_the_byte() {
    let site = serving(MOUNT_AND_NFS);
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let mut client = Wire::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").unwrap();
    let directory = site.mnt().join("files");
    fs::write(directory.join("file"), "x").unwrap();

    let long = vec![b'n'; 256];
    let hostile: [(&[u8], &[u32]); 9] = [
        (&long, &[NAMETOOLONG]),
        (&vec![b'n'; 65_536], &[NAMETOOLONG]),
        (b"", &[INVAL]),
        (b"a\0b", &[INVAL]),
        (b"\0", &[INVAL]),
        (b"a/b", &[INVAL]),
        (b"../escaped", &[INVAL]),
        (b".", &[EXIST, INVAL, ISDIR]),
        (b"..", &[EXIST, INVAL, ISDIR, NOTEMPTY]),
    ];
    for (name, allowed) in hostile {
        for (procedure, status) in statuses(&mut client, &root, name) {
            assert!(allowed.contains(&status), "{procedure:?} of {:?}: {status}", OsStr::from_bytes(name));
        }
    }
    // Longer than any path: not even arguments.
    let args = encoded(|out| {
        out.opaque(&root);
        out.opaque(&vec![b'n'; 65_537]);
    });
    let reply = client.ask([NFS_PROGRAM, VERSION, Procedure::Lookup as u32], &ROOT, &args);
    assert_eq!(reply.words(5), [1, 0, 0, 0, 4], "GARBAGE_ARGS");
    for (name, expected) in [(&long[..], NAMETOOLONG), (b"a\0b", INVAL), (b"a/b", INVAL), (b"", INVAL)] {
        let found = client.lookup(&root, name).expect_err("no such name");
        assert!(found == expected || found == NOENT, "LOOKUP of {name:?}: {found}");
    }
    assert_eq!(client.lookup(&root, b"."), Ok(root.clone()));
    assert_eq!(client.lookup(&root, b".."), Ok(root.clone()), "nothing is above a share");
    assert_eq!(names_in(&directory), [b"file".to_vec()], "nothing was made or moved");

    let longest = vec![b'n'; 255];
    let all_but = (1..=255).filter(|byte| *byte != b'/');
    let bytes: Vec<u8> = all_but.collect();
    let odd: [&[u8]; 8] =
        [&longest, b"\xff\xfe not utf-8 \x80", b"ends in a dot.", b"...", b" ", b"\n", &bytes[..127], &bytes[127..]];
    for name in odd {
        assert_eq!(mkdir(&mut client, &root, name), OK, "{:?}", OsStr::from_bytes(name));
        assert!(client.lookup(&root, name).is_ok());
        assert!(directory.join(OsStr::from_bytes(name)).is_dir(), "the mount has {:?}", OsStr::from_bytes(name));
    }
    let mut expected: Vec<Vec<u8>> = odd.iter().map(|name| name.to_vec()).chain([b"file".to_vec()]).collect();
    expected.sort();
    assert_eq!(names_in(&directory), expected);
}

#[test]
fn h29_symbolic_links_out_of_the_share_are_handed_out_and_never_followed() {
    const LOOP: usize = 41;
    let site = serving(MOUNT_AND_NFS);
    fs::create_dir(site.mnt().join("other")).unwrap();
    fs::write(site.mnt().join("other/x"), "secret").unwrap();
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let mut client = Wire::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").unwrap();
    let around: Vec<String> = (0..LOOP).map(|n| format!("loop-{}", (n + 1) % LOOP)).collect();
    let around = around.iter().enumerate().map(|(n, target)| (format!("loop-{n}"), target.clone()));
    let links = [("passwd", "/etc/passwd"), ("up", "../other/x"), ("up-dir", "../other"), ("far", "../../x")];
    let links = links.map(|(name, target)| (name.to_owned(), target.to_owned()));
    let links: Vec<(String, String)> = links.into_iter().chain(around).collect();
    for (name, target) in &links {
        assert_eq!(symlink(&mut client, &root, name.as_bytes(), target.as_bytes()), OK, "{name}");
    }
    for (name, target) in &links {
        let link = client.lookup(&root, name.as_bytes()).expect("the link itself");
        let mut reply = client.nfs(Procedure::ReadLink, &ROOT, |out| out.opaque(&link));
        assert_eq!(number(&mut reply), OK);
        skip_post_op(&mut reply);
        assert_eq!(opaque(&mut reply), target.as_bytes(), "{name}");
        assert_eq!(client.lookup(&link, b"x"), Err(NOTDIR), "nothing is below {name}");
        assert!(client.lookup(&root, format!("{name}/x").as_bytes()).is_err(), "a name is not a path");
        for procedure in [Procedure::Read, Procedure::Commit] {
            let mut reply = client.nfs(procedure, &ROOT, |out| {
                out.opaque(&link);
                out.u64(0);
                out.u32(100);
            });
            assert_eq!(number(&mut reply), INVAL, "{procedure:?} of {name}");
        }
        let mut written = client.nfs(Procedure::Write, &ROOT, |out| {
            out.opaque(&link);
            out.u64(0);
            out.u32(1);
            out.u32(2);
            out.opaque(b"x");
        });
        assert_eq!(number(&mut written), INVAL, "WRITE to {name}");
        assert_eq!(fs::read_link(site.mnt().join("files").join(name)).unwrap().as_os_str(), OsStr::new(target));
    }
    assert_eq!(fs::read(site.mnt().join("other/x")).unwrap(), b"secret");
    let around = fs::read(site.mnt().join("files/loop-0")).expect_err("a loop leads nowhere");
    assert_eq!(
        around.raw_os_error(),
        Some(nix::errno::Errno::ELOOP as i32),
        "the mount's kernel follows, and gives up"
    );
}

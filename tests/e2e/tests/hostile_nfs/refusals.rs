//! Who and what is turned away, and how that is said.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_nfs::protocol::{MOUNT_PROGRAM, NFS_PROGRAM, Procedure, VERSION};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tests_e2e::Site;

use crate::{NFS, serving};
use tests_e2e::wire::{DEADLINE, OK, ROOT, User, Wire, call_bytes, number, record, skip_post_op};

const ACCES: u32 = 13;
/// Of calls that are refused for one reason.
const REFUSED: usize = 5000;
const LINES_MAX: usize = 100;

fn whole_log(site: &Site) -> String {
    fs::read_to_string(site.dir().join("service.log")).expect("the service has a log")
}

#[test]
fn unknown_programs_versions_and_procedures_are_told_what_there_is() {
    let site = serving(NFS);
    let mut client = Wire::connect(site.nfs_address().unwrap());
    const UNAVAILABLE: [u32; 5] = [1, 0, 0, 0, 1];
    const NO_PROCEDURE: [u32; 5] = [1, 0, 0, 0, 3];
    const MISMATCH: [u32; 7] = [1, 0, 0, 0, 2, VERSION, VERSION];
    // NLM is found through the portmapper, and this door is not registered with one.
    for program in [0, 1, 100_000, 100_021, 100_227, u32::MAX] {
        assert_eq!(client.ask([program, 3, 0], &ROOT, &[]).words(5), UNAVAILABLE, "{program}");
    }
    for program in [NFS_PROGRAM, MOUNT_PROGRAM] {
        for version in [0, 1, 2, 4, u32::MAX] {
            assert_eq!(client.ask([program, version, 0], &ROOT, &[]).words(7), MISMATCH, "{program} {version}");
        }
        assert_eq!(client.ask([program, VERSION, 22], &ROOT, &[]).words(5), NO_PROCEDURE, "{program}");
        assert_eq!(client.ask([program, VERSION, 0], &ROOT, &[]).words(5), [1, 0, 0, 0, 0], "{program}");
    }
    // Another version of RPC itself.
    let mut call = call_bytes(99, [NFS_PROGRAM, VERSION, 0], &ROOT, &[]);
    call[11] = 3;
    client.send(&record(&call)).unwrap();
    assert_eq!(client.reply().unwrap().words(5), [1, 1, 0, 2, 2], "RPC_MISMATCH, from 2 to 2");
    assert_eq!(client.ask([NFS_PROGRAM, VERSION, 0], &ROOT, &[]).words(5), [1, 0, 0, 0, 0], "and it goes on");
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    let site = serving(NFS);
    let address = site.nfs_address().unwrap();
    let mut honest = Wire::connect(address);
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let garbage: Vec<u8> = (0..64 + round * 16)
            .map(|_| {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                word as u8
            })
            .collect();
        let mut client = Wire::connect(address);
        // As it is, and as a record that is whole.
        let bytes = if round % 2 == 0 { garbage } else { record(&garbage) };
        client.send(&bytes).ok();
        client.stream().shutdown(std::net::Shutdown::Write).ok();
        assert!(client.is_closed(), "round {round}");
    }
    for text in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    {
        let mut client = Wire::connect(address);
        client.send(&text.repeat(100)).ok();
        assert!(client.is_closed(), "{text:?}");
    }
    assert_eq!(honest.ask([NFS_PROGRAM, VERSION, 0], &ROOT, &[]).words(5), [1, 0, 0, 0, 0]);
    assert!(whole_log(&site).contains("rpc client refused"), "an operator can see it:\n{}", site.log());
}

#[test]
fn h43_a_client_off_the_list_is_refused_and_logged_and_cannot_fill_the_log() {
    let site = serving(NFS);
    site.share(&["create", "/files", "--make", "--squash", "none", "--client", "127.0.0.1"]).ok();
    let address = site.nfs_address().unwrap();
    let root = Wire::connect_from(1, address).unwrap().mount("/files").expect("it is on the list");
    let mut stranger = Wire::connect_from(9, address).unwrap();
    assert_eq!(stranger.mount("/files"), Err(ACCES));
    assert_eq!(stranger.getattr(&root), ACCES, "a handle from elsewhere does not help");
    for what in ["wanted to mount", "used a handle"] {
        let is_told = |line: &str| line.contains(what) && line.contains("127.0.0.9") && line.contains("/files");
        let end = Instant::now() + DEADLINE;
        while !whole_log(&site).lines().any(is_told) {
            assert!(Instant::now() < end, "nobody is told that a stranger {what}:\n{}", site.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    for _ in 0..REFUSED / 50 {
        for _ in 0..50 {
            let args = tests_e2e::wire::encoded(|out| out.opaque(&root));
            stranger.start([NFS_PROGRAM, VERSION, Procedure::GetAttr as u32], &ROOT, &args);
        }
        for _ in 0..50 {
            assert_eq!(stranger.reply().expect("a reply").status(), ACCES);
        }
        assert_eq!(stranger.mount("/files"), Err(ACCES));
    }
    let lines = whole_log(&site).lines().filter(|line| line.contains("127.0.0.9")).count();
    assert!(lines < LINES_MAX, "{lines} lines for {REFUSED} calls");
}

/// A user database of this test's own, in a place of its own: the machine's is not touched.
fn user_in_twenty_groups(site: &Site) {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("root may");
    let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut group = fs::read_to_string("/etc/group").unwrap();
    passwd.push_str("tidegate-member:x:54321:54321::/nonexistent:/usr/sbin/nologin\n");
    group.push_str("tidegate-member:x:54321:\n");
    (0..20).for_each(|n| group.push_str(&format!("tidegate-{n}:x:{}:tidegate-member\n", 60_000 + n)));
    for (name, text) in [("passwd", passwd), ("group", group)] {
        let own = site.dir().join(name);
        fs::write(&own, text).unwrap();
        let theirs = format!("/etc/{name}");
        mount(Some(&own), theirs.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("root may");
    }
    let known = Command::new("id").args(["-G", "tidegate-member"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&known.stdout).split_whitespace().count(), 21, "{known:?}");
}

/// A file that only the members of `gid` may read.
fn file_of_group(client: &mut Wire, root: &Bytes, name: &str, gid: u32) -> Bytes {
    let mut made = client.nfs(Procedure::Create, &ROOT, |out| {
        out.opaque(root);
        out.opaque(name.as_bytes());
        // GUARDED, with mode and group.
        out.u32(1);
        out.bool(true);
        out.u32(0o640);
        out.bool(false);
        out.bool(true);
        out.u32(gid);
        (0..3).for_each(|_| out.u32(0));
    });
    assert_eq!(number(&mut made), OK, "{name} is made");
    client.lookup(root, name.as_bytes()).expect("it was made")
}

/// The status of READ, and what ACCESS says of reading.
fn may_read(client: &mut Wire, user: &User, file: &Bytes) -> (u32, bool) {
    let mut read = client.nfs(Procedure::Read, user, |out| {
        out.opaque(file);
        out.u64(0);
        out.u32(10);
    });
    let mut access = client.nfs(Procedure::Access, user, |out| {
        out.opaque(file);
        out.u32(1);
    });
    assert_eq!(number(&mut access), OK);
    skip_post_op(&mut access);
    (number(&mut read), number(&mut access) == 1)
}

#[test]
fn groups_of_this_machine_count_with_manage_gids_and_the_clients_own_without() {
    let site = Site::new(tests_e2e::SiteOptions {
        doors: Some(format!("{NFS}manage_gids = true\n")),
        ..tests_e2e::SiteOptions::default()
    });
    user_in_twenty_groups(&site);
    let mut site = site;
    site.mount();
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let mut client = Wire::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").unwrap();
    let last = file_of_group(&mut client, &root, "of-the-twentieth", 60_019);
    let other = file_of_group(&mut client, &root, "of-others", 61_000);
    let member = User { uid: 54_321, gid: 54_321, gids: vec![] };
    let claiming = User { gids: vec![61_000, 60_019], ..member.clone() };
    let stranger = User { uid: 54_322, gid: 54_322, gids: vec![60_019] };
    assert_eq!(may_read(&mut client, &member, &last), (OK, true), "a group that no AUTH_SYS has room for");
    assert_eq!(may_read(&mut client, &claiming, &other), (ACCES, false), "what the client says does not count");
    assert_eq!(may_read(&mut client, &stranger, &last), (ACCES, false), "nobody here knows this user");

    site.stop();
    site.set_doors(NFS);
    site.mount();
    let mut client = Wire::connect(site.nfs_address().unwrap());
    assert_eq!(may_read(&mut client, &member, &last), (ACCES, false));
    assert_eq!(may_read(&mut client, &claiming, &other), (OK, true), "it is the client's word");
    site.stop();
}

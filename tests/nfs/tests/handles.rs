//! Handles and shares: what a client can reach, and what it cannot.

use bytes::Bytes;
use fs_api::{Context, Credentials, NewNode, ROOT_INO, RenameMode, Vfs};

use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::CreateHow;
use gateway_nfs::{ClientNet, Share, ShareId, Squash};
use tests_nfs::{OK, World, handle, mode, now, number, place, root};

const ROFS: u32 = 30;
const ACCES: u32 = 13;
const XDEV: u32 = 18;
const STALE: u32 = 70;
const BADHANDLE: u32 = 10_001;

fn root_context() -> Context {
    Context::new(1, Credentials::root())
}

/// Two shares in one filesystem, `/a` and `/b`, and something secret beside them.
fn two_shares() -> World {
    let world = World::new();
    let make = |name: &[u8]| {
        now(world.vfs.make(&root_context(), ROOT_INO, name, NewNode::Directory, 0o777, 0)).expect("mkdir").ino
    };
    let (a, b) = (make(b"a"), make(b"b"));
    let share = |id, path: &[u8], root| Share { squash: Squash::None, ..Share::local(ShareId(id), path, root) };
    world.shares.replace(vec![share(1, b"/a", a), share(2, b"/b", b)]);
    world
}

fn roots(world: &World) -> (Bytes, Bytes) {
    let find = |path: &[u8]| world.shares.by_path(path).expect("the share").root;
    (handle(1, find(b"/a")), handle(2, find(b"/b")))
}

#[test]
fn h42_the_parent_of_a_shares_root_is_the_root() {
    let world = two_shares();
    let (a, _) = roots(&world);
    assert_eq!(world.client(0).lookup(&a, b".."), (OK, a.clone()));
    let (_, sub) = world.client(0).mkdir(&a, b"sub");
    assert_eq!(world.client(0).lookup(&sub, b".."), (OK, a));
}

#[test]
fn h42_a_directory_moved_out_of_its_share_leads_nowhere_by_dotdot() {
    let world = two_shares();
    let (a, _) = roots(&world);
    let (_, sub) = world.client(0).mkdir(&a, b"sub");
    let dir = |path: &[u8]| world.shares.by_path(path).expect("the share").root;
    let (from, to) = (dir(b"/a"), dir(b"/b"));
    now(world.vfs.rename(&root_context(), from, b"sub", to, b"sub", RenameMode::Replace)).expect("rename");
    assert_eq!(world.client(0).lookup(&sub, b"..").0, ACCES);
}

#[test]
fn h42_names_do_not_cross_shares() {
    let world = two_shares();
    let (a, b) = roots(&world);
    let client = world.client(0);
    let (_, _) = client.create(&a, b"f", CreateHow::Guarded(mode(0o644)));
    let mut reply = client.call(Procedure::Rename, |out| {
        place(&a, b"f").encode(out);
        place(&b, b"f").encode(out);
    });
    assert_eq!(number(&mut reply), XDEV);
}

#[test]
fn h42_a_forged_handle_is_bad_and_a_removed_inode_is_stale() {
    let world = World::new();
    let client = world.client(0);
    let (_, file) = client.create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    let mut forged = file.to_vec();
    forged[15] ^= 1;
    for (handle, expected) in
        [(Bytes::from(forged), BADHANDLE), (Bytes::from_static(b"x"), BADHANDLE), (file.clone(), OK)]
    {
        assert_eq!(number(&mut client.call(Procedure::GetAttr, |out| out.opaque(&handle))), expected);
    }
    assert_eq!(number(&mut client.call(Procedure::Remove, |out| place(&root(), b"f").encode(out))), OK);
    assert_eq!(number(&mut client.call(Procedure::GetAttr, |out| out.opaque(&file))), STALE);
}

#[test]
fn a_handle_survives_a_restart_and_dies_with_its_share() {
    let world = World::new();
    let (_, file) = world.client(0).create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    let world = world.restarted();
    let ask = |world: &World| number(&mut world.client(0).call(Procedure::GetAttr, |out| out.opaque(&file)));
    assert_eq!(ask(&world), OK);
    world.shares.replace(vec![]);
    assert_eq!(ask(&world), STALE);
}

#[test]
fn h43_clients_off_the_list_are_refused_at_every_call_from_the_moment_it_changes() {
    let world = World::new();
    let client = world.client(0);
    let (_, file) = client.create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    let narrow = vec![ClientNet::parse("192.0.2.0/24").expect("a network")];
    world.shares.replace(vec![Share { clients: narrow, ..Share::local(ShareId(1), b"/all", ROOT_INO) }]);
    for procedure in
        [Procedure::GetAttr, Procedure::ReadLink, Procedure::FsStat, Procedure::FsInfo, Procedure::PathConf]
    {
        assert_eq!(number(&mut client.call(procedure, |out| out.opaque(&file))), ACCES, "{procedure:?}");
    }
    assert_eq!(client.lookup(&root(), b"f").0, ACCES);
    assert_eq!(number(&mut client.write(&file, 0, b"x", 0)), ACCES);
}

#[test]
fn a_read_only_share_takes_no_change() {
    let world = World::new();
    let client = world.client(0);
    let (_, file) = client.create(&root(), b"f", CreateHow::Guarded(mode(0o644)));
    world.shares.replace(vec![Share { read_only: true, ..Share::local(ShareId(1), b"/all", ROOT_INO) }]);
    assert_eq!(client.mkdir(&root(), b"d").0, ROFS);
    assert_eq!(client.create(&root(), b"f", CreateHow::Unchecked(mode(0o644))).0, ROFS);
    assert_eq!(number(&mut client.write(&file, 0, b"x", 2)), ROFS);
    assert_eq!(number(&mut client.call(Procedure::Remove, |out| place(&root(), b"f").encode(out))), ROFS);
    assert_eq!(client.lookup(&root(), b"f").0, OK);
}

#[test]
fn h29_a_symbolic_link_is_handed_out_and_never_followed() {
    let world = World::new();
    let client = world.client(0);
    for (name, target) in [(&b"l1"[..], &b"/etc/passwd"[..]), (b"l2", b"../../b/x"), (b"l3", b"l3")] {
        let mut reply = client.call(Procedure::SymLink, |out| {
            place(&root(), name).encode(out);
            mode(0o777).encode(out);
            out.opaque(target);
        });
        assert_eq!(number(&mut reply), OK);
        let (status, link) = client.lookup(&root(), name);
        assert_eq!(status, OK);
        assert_eq!(client.lookup(&link, b"x").0, 20, "not a directory");
        assert_eq!(number(&mut client.read(&link, 0, 10)), 22, "no bytes");
    }
}

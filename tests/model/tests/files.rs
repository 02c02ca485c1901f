//! Bytes, holes, handles.

mod common;

use common::*;
use fs_api::*;
use objstore_base::ErrorKind;

fn seek(w: &World, ino: Ino, from: SeekFrom) -> objstore_base::Result<u64> {
    now(w.model.seek(&root(), Target::inode(ino), from))
}

fn allocate(w: &World, ino: Ino, offset: u64, len: u64, mode: FallocateMode) {
    now(w.model.fallocate(&root(), Target::inode(ino), offset, len, mode)).unwrap();
}

#[test]
fn holes_read_as_zeros_and_seek_finds_them() {
    let w = World::new();
    let f = w.file("f", b"");
    for (offset, data) in [(10_000, b"later".as_slice()), (3, b"early"), (10_002, b"X")] {
        now(w.model.write(&root(), Target::inode(f), offset, data)).unwrap();
    }
    let read = w.read("f");
    assert_eq!(read.len(), 10_005);
    assert_eq!((&read[..8], &read[10_000..]), (&b"\0\0\0early"[..], &b"laXer"[..]));
    assert_eq!(seek(&w, f, SeekFrom::Data(0)).unwrap(), 3);
    assert_eq!(seek(&w, f, SeekFrom::Hole(4)).unwrap(), 8);
    assert_eq!(seek(&w, f, SeekFrom::Data(8)).unwrap(), 10_000);
    assert_eq!(seek(&w, f, SeekFrom::Hole(10_001)).unwrap(), 10_005);
    assert_eq!(kind(seek(&w, f, SeekFrom::Data(10_005))), ErrorKind::NoDeviceOrAddress);
    assert_eq!(w.attr("f").blocks, 1);
}

#[test]
fn truncation_forgets_what_it_cuts() {
    let w = World::new();
    let f = w.file("f", b"0123456789");
    let resize = |size| {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        now(w.model.setattr(&root(), Target::inode(f), set)).unwrap();
    };
    resize(4);
    resize(8);
    assert_eq!(&w.read("f")[..], b"0123\0\0\0\0");
    assert_eq!(seek(&w, f, SeekFrom::Hole(0)).unwrap(), 4);
    allocate(&w, f, 100, 1000, FallocateMode::Allocate { keep_size: true });
    assert_eq!((w.attr("f").size, w.attr("f").blocks), (8, 2));
    resize(8);
    assert_eq!(w.attr("f").blocks, 1, "what lay past the end goes too");
}

#[test]
fn fallocate_reserves_punches_and_zeroes() {
    let w = World::new();
    let f = w.file("f", &[7; 1000]);
    allocate(&w, f, 500, 1000, FallocateMode::Allocate { keep_size: false });
    assert_eq!((w.attr("f").size, w.read("f")[999], w.read("f")[1000]), (1500, 7, 0));
    assert_eq!(seek(&w, f, SeekFrom::Hole(0)).unwrap(), 1000, "what is only reserved is a hole");
    allocate(&w, f, 100, 200, FallocateMode::PunchHole);
    assert_eq!(seek(&w, f, SeekFrom::Hole(0)).unwrap(), 100);
    assert_eq!(w.attr("f").blocks, 1300u64.div_ceil(512));
    allocate(&w, f, 0, 2000, FallocateMode::ZeroRange { keep_size: true });
    assert_eq!((w.attr("f").size, w.attr("f").blocks), (1500, 2000u64.div_ceil(512)));
    assert!(w.read("f").iter().all(|b| *b == 0));
    let empty = now(w.model.fallocate(&root(), Target::inode(f), 0, 0, FallocateMode::PunchHole));
    assert_eq!(kind(empty), ErrorKind::InvalidArgument);
}

#[test]
fn copies_take_data_and_holes_along() {
    let w = World::new();
    let (f, g) = (w.file("f", b"abcdef"), w.file("g", &[1; 100]));
    allocate(&w, f, 2, 2, FallocateMode::PunchHole);
    let copy = |to, at, len| now(w.model.copy_range(&root(), Target::inode(f), 1, Target::inode(to), at, len));
    assert_eq!(copy(g, 10, 1000).unwrap(), 5);
    assert_eq!(&w.read("g")[9..16], b"\x01b\0\0ef\x01");
    assert_eq!(seek(&w, g, SeekFrom::Hole(0)).unwrap(), 11);
    assert_eq!(kind(copy(f, 3, 5)), ErrorKind::InvalidArgument);
    assert_eq!(copy(f, 6, 5).unwrap(), 5);
    assert_eq!(&w.read("f")[..], b"ab\0\0efb\0\0ef");
}

#[test]
fn handles_carry_the_permission_they_were_opened_with() {
    let w = World::new();
    let f = w.file("f", b"abc");
    let set = |mode| {
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        now(w.model.setattr(&root(), Target::inode(f), set)).unwrap();
    };
    set(0o666);
    let cx = user(1, 1);
    let open = |flags| now(w.model.open(&cx, f, flags)).unwrap().id;
    let write = OpenFlags { write: true, append: true, ..OpenFlags::default() };
    let (reader, writer) = (open(OpenFlags { read: true, ..OpenFlags::default() }), open(write));
    set(0);
    assert_eq!(&now(w.model.read(&cx, Target::opened(f, reader), 1, 9)).unwrap()[..], b"bc");
    assert_eq!(kind(now(w.model.write(&cx, Target::opened(f, reader), 0, b"x"))), ErrorKind::BadHandle);
    assert_eq!(kind(now(w.model.read(&cx, Target::opened(f, writer), 0, 1))), ErrorKind::BadHandle);
    assert_eq!(kind(now(w.model.read(&cx, Target::inode(f), 0, 1))), ErrorKind::AccessDenied);
    assert_eq!(kind(now(w.model.open(&cx, f, write))), ErrorKind::AccessDenied);
    now(w.model.write(&cx, Target::opened(f, writer), 0, b"d")).unwrap();
    assert_eq!(&w.read("f")[..], b"abcd");
    now(w.model.release(&cx, f, writer)).unwrap();
    assert_eq!(kind(now(w.model.write(&cx, Target::opened(f, writer), 0, b"d"))), ErrorKind::BadHandle);
}

#[test]
fn an_unlinked_file_lives_while_it_is_open_or_held() {
    let w = World::new();
    for by_handle in [true, false] {
        let f = w.file("f", b"still");
        let handle = by_handle.then(|| {
            let flags = OpenFlags { read: true, ..OpenFlags::default() };
            now(w.model.open(&root(), f, flags)).unwrap().id
        });
        if !by_handle {
            w.model.hold(DoorId::default(), f, 2);
        }
        w.unlink(&root(), "f").unwrap();
        assert_eq!(now(w.model.getattr(&root(), Target::inode(f))).unwrap().nlink, 0);
        assert_eq!(kind(now(w.model.link(&root(), f, ROOT_INO, b"g"))), ErrorKind::NotFound);
        match handle {
            Some(handle) => now(w.model.release(&root(), f, handle)).unwrap(),
            None => {
                w.model.unhold(DoorId::default(), f, 1);
                assert_eq!(&now(w.model.read(&root(), Target::inode(f), 0, 9)).unwrap()[..], b"still");
                w.model.unhold(DoorId::default(), f, 1);
            }
        }
        assert_eq!(kind(now(w.model.getattr(&root(), Target::inode(f)))), ErrorKind::Stale);
    }
}

#[test]
fn a_write_drops_setuid_and_root_keeps_it() {
    let w = World::new();
    let f = w.make(&user(1, 1), "f", NewNode::Regular, 0o6777).unwrap().ino;
    now(w.model.write(&root(), Target::inode(f), 0, b"x")).unwrap();
    assert_eq!(w.attr("f").mode, 0o6777);
    now(w.model.write(&user(2, 2), Target::inode(f), 0, b"x")).unwrap();
    assert_eq!(w.attr("f").mode, 0o777);
}

#[test]
fn the_largest_file_has_an_end() {
    let w = World::new();
    let f = w.file("f", b"");
    let at = |offset| now(w.model.write(&root(), Target::inode(f), offset, b"xx"));
    at(FILE_BYTES_MAX - 2).unwrap();
    assert_eq!(kind(at(FILE_BYTES_MAX - 1)), ErrorKind::FileTooLarge);
    assert_eq!(kind(at(u64::MAX)), ErrorKind::FileTooLarge);
    assert_eq!(w.attr("f").size, FILE_BYTES_MAX);
    assert_eq!(seek(&w, f, SeekFrom::Data(0)).unwrap(), FILE_BYTES_MAX - 2);
}

//! Renaming, in all its modes and refusals.

mod support;

use fs_api::RenameMode::{Exchange, NoReplace};
use objstore_base::ErrorKind::{
    AccessDenied, Busy, Exists, InvalidArgument, IsDirectory, NotDirectory, NotEmpty, NotFound, Stale,
};
use support::{ROOT, World};

#[test]
fn a_renamed_file_has_one_name_and_a_new_ctime() {
    let w = World::new();
    let root = w.as_root();
    let (a, b) = (root.mkdir(ROOT, "a").expect("made"), root.mkdir(ROOT, "b").expect("made"));
    let f = root.file(a, "f").expect("made");
    let before = root.attr(f).expect("there");
    root.rename(a, "f", b, "g").expect("renamed");
    assert_eq!(root.lookup(a, "f").err(), Some(NotFound));
    let after = root.lookup(b, "g").expect("found");
    assert_eq!((after.ino, after.nlink), (f, 1));
    assert!(after.ctime > before.ctime && after.mtime == before.mtime);
    assert_eq!(root.rename(a, "f", b, "g"), Err(NotFound));
}

#[test]
fn a_replaced_target_goes_and_its_name_keeps_its_place() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    let g = root.file(ROOT, "g").expect("made");
    root.file(ROOT, "h").expect("made");
    let cookie = |name: &str| {
        let listing = root.readdir(ROOT, 0, 100).expect("listed");
        listing.entries.iter().find(|e| e.name == name.as_bytes()).map(|e| e.cookie)
    };
    let before = cookie("g");
    root.rename(ROOT, "f", ROOT, "g").expect("renamed");
    assert_eq!(root.lookup(ROOT, "g").map(|a| a.ino), Ok(f));
    assert_eq!(root.attr(g), Err(Stale));
    assert_eq!(root.names(ROOT), ["g", "h"]);
    assert_eq!(cookie("g"), before);
}

#[test]
fn two_names_of_one_inode_are_left_alone() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    root.link(f, ROOT, "g").expect("linked");
    root.rename(ROOT, "f", ROOT, "g").expect("nothing to do");
    root.rename(ROOT, "f", ROOT, "f").expect("nothing to do");
    assert_eq!(root.names(ROOT), ["f", "g"]);
    assert_eq!(root.attr(f).map(|a| a.nlink), Ok(2));
    assert_eq!(root.rename_as(ROOT, "f", ROOT, "g", NoReplace), Err(Exists));
}

#[test]
fn files_and_directories_do_not_replace_each_other() {
    let w = World::new();
    let root = w.as_root();
    root.file(ROOT, "f").expect("made");
    let d = root.mkdir(ROOT, "d").expect("made");
    let e = root.mkdir(ROOT, "e").expect("made");
    assert_eq!(root.rename(ROOT, "f", ROOT, "d"), Err(IsDirectory));
    assert_eq!(root.rename(ROOT, "d", ROOT, "f"), Err(NotDirectory));
    root.file(e, "x").expect("made");
    assert_eq!(root.rename(ROOT, "d", ROOT, "e"), Err(NotEmpty));
    root.unlink(e, "x").expect("removed");
    root.rename(ROOT, "d", ROOT, "e").expect("an empty directory is replaced");
    assert_eq!(root.lookup(ROOT, "e").map(|a| a.ino), Ok(d));
    assert_eq!(root.attr(ROOT).map(|a| a.nlink), Ok(3));
    assert_eq!(root.attr(e), Err(Stale));
}

#[test]
fn a_directory_does_not_move_below_itself() {
    let w = World::new();
    let root = w.as_root();
    let a = root.mkdir(ROOT, "a").expect("made");
    let b = root.mkdir(a, "b").expect("made");
    let c = root.mkdir(b, "c").expect("made");
    assert_eq!(root.rename(ROOT, "a", a, "x"), Err(InvalidArgument));
    assert_eq!(root.rename(ROOT, "a", c, "x"), Err(InvalidArgument));
    assert_eq!(root.rename_as(ROOT, "a", c, "x", NoReplace), Err(InvalidArgument));
    assert_eq!(root.rename(b, "c", ROOT, "a"), Err(NotEmpty), "the target is above the source");
    assert_eq!(root.rename_as(b, "c", ROOT, "a", Exchange), Err(InvalidArgument));
    assert_eq!(root.rename(ROOT, ".", ROOT, "x"), Err(Busy));
}

#[test]
fn a_moved_directory_has_a_new_parent() {
    let w = World::new();
    let root = w.as_root();
    let (a, b) = (root.mkdir(ROOT, "a").expect("made"), root.mkdir(ROOT, "b").expect("made"));
    let d = root.mkdir(a, "d").expect("made");
    root.rename(a, "d", b, "d").expect("moved");
    assert_eq!(root.lookup(d, "..").map(|x| x.ino), Ok(b));
    assert_eq!(root.attr(a).map(|x| x.nlink), Ok(2));
    assert_eq!(root.attr(b).map(|x| x.nlink), Ok(3));
    root.rename(ROOT, "a", d, "a").expect("what was beside may go below now");
    assert_eq!(root.rename(ROOT, "b", a, "b"), Err(InvalidArgument));
}

#[test]
fn exchange_swaps_names_parents_and_link_counts() {
    let w = World::new();
    let root = w.as_root();
    let (a, b) = (root.mkdir(ROOT, "a").expect("made"), root.mkdir(ROOT, "b").expect("made"));
    let d = root.mkdir(a, "x").expect("made");
    root.file(d, "inside").expect("made");
    let f = root.file(b, "y").expect("made");
    root.rename_as(a, "x", b, "y", Exchange).expect("swapped");
    assert_eq!(root.lookup(a, "x").map(|x| x.ino), Ok(f));
    assert_eq!(root.lookup(b, "y").map(|x| x.ino), Ok(d));
    assert_eq!(root.lookup(d, "..").map(|x| x.ino), Ok(b));
    assert_eq!((root.attr(a).map(|x| x.nlink), root.attr(b).map(|x| x.nlink)), (Ok(2), Ok(3)));
    assert_eq!(root.rename_as(a, "x", b, "none", Exchange), Err(NotFound));
    root.rename_as(a, "x", a, "x", Exchange).expect("nothing to do");
}

#[test]
fn noreplace_refuses_an_existing_target() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    root.file(ROOT, "g").expect("made");
    assert_eq!(root.rename_as(ROOT, "f", ROOT, "g", NoReplace), Err(Exists));
    root.rename_as(ROOT, "f", ROOT, "h", NoReplace).expect("free");
    assert_eq!(root.lookup(ROOT, "h").map(|a| a.ino), Ok(f));
}

#[test]
fn a_directory_that_changes_its_parent_must_be_writable() {
    let w = World::new();
    let root = w.as_root();
    let (a, b) = (root.mkdir_mode(ROOT, "a", 0o777).expect("made"), root.mkdir_mode(ROOT, "b", 0o777).expect("made"));
    root.chmod(a, 0o777).expect("changed");
    root.chmod(b, 0o777).expect("changed");
    root.mkdir(a, "d").expect("made");
    let user = w.as_user(7);
    assert_eq!(user.rename(a, "d", b, "d"), Err(AccessDenied), "its `..` would change");
    user.rename(a, "d", a, "e").expect("within one directory it stays as it is");
}

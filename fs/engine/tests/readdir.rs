//! Listing directories: cookies, pages, and change underneath.

mod support;

use fs_api::{Target, Vfs};
use objstore_base::ErrorKind::{AccessDenied, NotDirectory, NotFound};
use support::{READ, ROOT, World, now};

#[test]
fn a_listing_starts_with_the_dots_and_says_where_it_ends() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    let listing = root.readdir(d, 0, 10).expect("listed");
    let seen: Vec<_> = listing.entries.iter().map(|e| (e.cookie, e.ino, e.name.as_slice())).collect();
    assert_eq!(seen, [(1, d, &b"."[..]), (2, ROOT, &b".."[..])]);
    assert!(listing.end);
    root.file(d, "f").expect("made");
    for (limit, count, end) in [(1, 1, false), (2, 2, false), (3, 3, true), (4, 3, true)] {
        let listing = root.readdir(d, 0, limit).expect("listed");
        assert_eq!((listing.entries.len(), listing.end), (count, end), "limit {limit}");
    }
    let f = root.lookup(d, "f").expect("there").ino;
    assert_eq!(root.readdir(f, 0, 10), Err(NotDirectory));
}

#[test]
fn pages_of_any_size_see_each_name_once() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    let expected: Vec<String> = (0..50).map(|n| format!("f{n}")).collect();
    for name in &expected {
        root.file(d, name).expect("made");
    }
    for page in [1, 2, 7, 49, 50, 51, 1000] {
        let (mut seen, mut cookie) = (Vec::new(), 2);
        loop {
            let listing = root.readdir(d, cookie, page).expect("listed");
            seen.extend(listing.entries.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()));
            cookie = listing.entries.last().map_or(cookie, |e| e.cookie);
            if listing.end {
                break;
            }
        }
        assert_eq!(seen, expected, "pages of {page}");
    }
}

#[test]
fn removing_what_was_listed_does_not_skip_the_rest() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    for n in 0..100 {
        root.file(d, &format!("f{n}")).expect("made");
    }
    let (mut cookie, mut removed) = (2, 0);
    loop {
        let listing = root.readdir(d, cookie, 7).expect("listed");
        for entry in &listing.entries {
            root.unlink(d, std::str::from_utf8(&entry.name).expect("ASCII")).expect("removed");
            removed += 1;
            cookie = entry.cookie;
        }
        if listing.end {
            break;
        }
    }
    assert_eq!(removed, 100);
    root.rmdir(ROOT, "d").expect("empty");
}

#[test]
fn cookies_are_not_used_twice_and_survive_a_restart() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    root.file(d, "a").expect("made");
    root.file(d, "b").expect("made");
    let cookie = root.readdir(d, 2, 10).expect("listed").entries[1].cookie;
    root.unlink(d, "b").expect("removed");
    let w = w.reopened();
    let root = w.as_root();
    root.file(d, "b").expect("made again");
    let listing = root.readdir(d, cookie, 10).expect("listed");
    assert_eq!(listing.entries.iter().map(|e| e.name.as_slice()).collect::<Vec<_>>(), [b"b"]);
    assert!(listing.entries[0].cookie > cookie);
}

#[test]
fn attributes_come_along_where_asked_for() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    let listing = now(w.engine.readdir(&root.cx, Target::inode(ROOT), 0, 10, true)).expect("listed");
    let attrs: Vec<_> = listing.entries.iter().map(|e| e.attr.map(|a| a.ino)).collect();
    assert_eq!(attrs, [Some(ROOT), Some(ROOT), Some(f)]);
}

#[test]
fn listing_needs_read_permission_at_open() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir_mode(ROOT, "d", 0o711).expect("made");
    let user = w.as_user(7);
    assert_eq!(user.open(d, READ).err(), Some(AccessDenied));
    assert_eq!(user.readdir(d, 0, 10), Err(AccessDenied));
    root.chmod(d, 0o755).expect("changed");
    let handle = user.open(d, READ).expect("opened");
    root.chmod(d, 0o700).expect("changed");
    let target = Target::opened(d, handle.id);
    assert_eq!(now(w.engine.readdir(&user.cx, target, 0, 10, false)).map(|l| l.entries.len()), Ok(2));
    root.rmdir(ROOT, "d").expect("empty");
    assert_eq!(now(w.engine.readdir(&user.cx, target, 0, 10, false)).err(), Some(NotFound));
}

#[test]
fn a_large_directory_is_listed_in_pages_and_emptied() {
    let count = if std::env::var_os("TIDEGATE_DEEP").is_some() { 1_000_000 } else { 20_000 };
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    for n in 0..count {
        root.file(d, &format!("f{n}")).expect("made");
    }
    assert_eq!(root.rmdir(ROOT, "d"), Err(objstore_base::ErrorKind::NotEmpty));
    let (mut cookie, mut seen) = (0, 0);
    loop {
        let listing = root.readdir(d, cookie, 1000).expect("listed");
        assert!(listing.entries.windows(2).all(|pair| pair[0].cookie < pair[1].cookie));
        seen += listing.entries.len();
        cookie = listing.entries.last().map_or(cookie, |e| e.cookie);
        if listing.end {
            break;
        }
    }
    assert_eq!(seen, count + 2);
    for n in 0..count {
        root.unlink(d, &format!("f{n}")).expect("removed");
    }
    root.rmdir(ROOT, "d").expect("empty");
    assert_eq!(w.engine.status().inodes, 1);
}

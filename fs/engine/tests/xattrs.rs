//! Extended attributes and POSIX ACLs.

mod support;

use fs_api::{AccessMask, NewNode, XattrMode};
use objstore_base::ErrorKind::{
    AccessDenied, Exists, InvalidArgument, NoData, NoSpace, NotPermitted, NotSupported, RangeTooSmall, TooBig,
};
use support::{ROOT, World};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// An ACL as the kernel hands it over: (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&perm.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

const NO_ID: u32 = u32::MAX;

/// rw-, user 7: rwx, r--, mask rwx, ---
fn user_7_may_all() -> Vec<u8> {
    acl(&[(1, 6, NO_ID), (2, 7, 7), (4, 4, NO_ID), (0x10, 7, NO_ID), (0x20, 0, NO_ID)])
}

#[test]
fn attributes_are_set_listed_replaced_and_removed() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    assert_eq!(root.getxattr(f, "user.a"), Err(NoData));
    let before = root.attr(f).expect("there").ctime;
    root.setxattr(f, "user.a", b"1", XattrMode::Set).expect("set");
    assert!(root.attr(f).expect("there").ctime > before);
    assert_eq!(root.setxattr(f, "user.a", b"2", XattrMode::Create), Err(Exists));
    root.setxattr(f, "user.a", b"", XattrMode::Replace).expect("replaced");
    assert_eq!(root.getxattr(f, "user.a").as_deref(), Ok(&b""[..]));
    assert_eq!(root.setxattr(f, "user.b", b"2", XattrMode::Replace), Err(NoData));
    root.setxattr(f, "trusted.t", b"3", XattrMode::Create).expect("set");
    root.setxattr(f, "security.s", b"4", XattrMode::Create).expect("set");
    assert_eq!(root.listxattr(f).as_deref(), Ok(&["security.s", "trusted.t", "user.a"].map(String::from)[..]));
    assert_eq!(w.as_user(1).listxattr(f).map(|l| l.len()), Ok(2), "trusted ones are root's");
    let w = w.reopened();
    let root = w.as_root();
    root.removexattr(f, "user.a").expect("removed");
    assert_eq!(root.removexattr(f, "user.a"), Err(NoData));
    assert_eq!(root.getxattr(f, "trusted.t").as_deref(), Ok(&b"3"[..]));
    assert_eq!(root.listxattr(f).map(|l| l.len()), Ok(2));
}

#[test]
fn names_and_values_have_limits() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    let set = |name: &str, value: &[u8]| root.setxattr(f, name, value, XattrMode::Set);
    assert_eq!(set("user.big", &vec![1; 65_536]), Ok(()));
    assert_eq!(set("user.big", &vec![1; 65_537]), Err(TooBig));
    assert_eq!(set(&format!("user.{}", "n".repeat(250)), b""), Ok(()));
    assert_eq!(set(&format!("user.{}", "n".repeat(251)), b""), Err(RangeTooSmall));
    assert_eq!(set("user.", b""), Err(InvalidArgument));
    assert_eq!(set("nosuch.a", b""), Err(NotSupported));
    let filled = (0..400).map(|n| set(&format!("user.{n:0>200}"), b"")).find(Result::is_err);
    assert_eq!(filled, Some(Err(NoSpace)), "all names have to fit a listing");
    assert!(root.listxattr(f).expect("listed").iter().map(|n| n.len() + 1).sum::<usize>() <= 65_536);
}

#[test]
fn each_namespace_has_its_rules() {
    let w = World::new();
    let root = w.as_root();
    root.chmod(ROOT, 0o777).expect("changed");
    let one = w.as_user(1);
    let f = one.make(ROOT, "f", NewNode::Regular, 0o600).expect("made").ino;
    let two = w.as_user(2);
    one.setxattr(f, "user.a", b"1", XattrMode::Set).expect("the owner may");
    assert_eq!(two.getxattr(f, "user.a"), Err(AccessDenied));
    assert_eq!(two.setxattr(f, "user.a", b"1", XattrMode::Set), Err(AccessDenied));
    assert_eq!(one.setxattr(f, "trusted.a", b"1", XattrMode::Set), Err(NotPermitted));
    assert_eq!(one.getxattr(f, "trusted.a"), Err(NoData));
    let l = one.symlink(ROOT, "l", "f").expect("made");
    assert_eq!(root.setxattr(l, "user.a", b"1", XattrMode::Set), Err(NotPermitted));
    root.setxattr(l, "trusted.a", b"1", XattrMode::Set).expect("set");
    assert_eq!(root.setxattr(l, ACCESS, &user_7_may_all(), XattrMode::Set), Err(NotSupported));
}

#[test]
fn an_access_acl_decides_and_the_mode_shows_its_mask() {
    let w = World::new();
    let root = w.as_root();
    let f = root.make(ROOT, "f", NewNode::Regular, 0o600).expect("made").ino;
    let write = AccessMask { write: true, ..AccessMask::default() };
    assert_eq!(w.as_user(7).access(f, write), Err(AccessDenied));
    root.setxattr(f, ACCESS, &user_7_may_all(), XattrMode::Set).expect("set");
    assert_eq!(root.attr(f).map(|a| a.mode), Ok(0o670));
    assert_eq!(w.as_user(7).access(f, write), Ok(()));
    assert_eq!(w.as_user(8).access(f, write), Err(AccessDenied));
    assert_eq!(w.as_user(7).setxattr(f, ACCESS, &[], XattrMode::Set), Err(NotPermitted));
    root.chmod(f, 0o640).expect("changed");
    assert_eq!(w.as_user(7).access(f, write), Err(AccessDenied), "the mask is r-- now");
    let w = w.reopened();
    let root = w.as_root();
    let kept = root.getxattr(f, ACCESS).expect("kept");
    assert_eq!(kept[4 + 3 * 8 + 2], 4, "the mask follows the mode");
    root.removexattr(f, ACCESS).expect("removed");
    assert_eq!(root.listxattr(f), Ok(vec![]));
}

#[test]
fn an_acl_that_says_no_more_than_the_mode_is_not_kept() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    let minimal = acl(&[(1, 7, NO_ID), (4, 5, NO_ID), (0x20, 1, NO_ID)]);
    root.setxattr(f, ACCESS, &minimal, XattrMode::Set).expect("set");
    assert_eq!(root.attr(f).map(|a| a.mode), Ok(0o751));
    assert_eq!(root.listxattr(f), Ok(vec![]));
    assert_eq!(root.setxattr(f, ACCESS, &minimal[..10], XattrMode::Set), Err(InvalidArgument));
    assert_eq!(root.setxattr(f, DEFAULT, &minimal, XattrMode::Set), Err(AccessDenied));
}

#[test]
fn a_default_acl_is_handed_down() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    root.setxattr(d, DEFAULT, &user_7_may_all(), XattrMode::Set).expect("set");
    let sub = root.mkdir_mode(d, "sub", 0o777).expect("made");
    assert_eq!(root.getxattr(sub, DEFAULT), root.getxattr(d, DEFAULT));
    assert_eq!(root.listxattr(sub).map(|l| l.len()), Ok(2));
    let f = root.make(sub, "f", NewNode::Regular, 0o666).expect("made");
    assert_eq!(f.mode, 0o660, "the ACL takes the place of the umask");
    let read = AccessMask { read: true, ..AccessMask::default() };
    assert_eq!(w.as_user(7).access(f.ino, read), Ok(()));
    assert_eq!(w.as_user(8).access(f.ino, read), Err(AccessDenied));
}

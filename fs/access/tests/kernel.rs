//! The same questions that `kernel/record.py` asked a Linux kernel, with the same answers expected.

use fs_access::*;
use fs_api::{AccessMask, Credentials, FileKind, OpenFlags, SetAttr, SetTime, Time};
use objstore_base::{ErrorKind, Result};

/// One line: the caller, the node with its ACL, what was asked, and what the kernel said.
struct Case {
    caller: Credentials,
    node: Node,
    acl: Option<Acl>,
    asked: Vec<&'static str>,
    answer: &'static str,
}

fn cases(file: &'static str) -> impl Iterator<Item = Case> {
    file.lines().map(|line| {
        let (question, answer) = line.split_once(" => ").unwrap();
        let [caller, node, asked] = question.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let (node, acl) = parse_node(node);
        Case { caller: parse_caller(caller), node, acl, asked: asked.split(' ').collect(), answer }
    })
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.strip_prefix('-').unwrap_or(hex);
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(acl: Option<&Acl>) -> String {
    acl.map_or("-".into(), |acl| acl.encode().iter().map(|b| format!("{b:02x}")).collect())
}

fn parse_caller(text: &str) -> Credentials {
    let [uid, gid, groups] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let groups: Vec<u32> = groups.split(',').filter(|g| *g != "-").map(number).collect();
    Credentials::user(number(uid), number(gid), &groups)
}

fn parse_kind(text: &str) -> FileKind {
    match text {
        "regular" => FileKind::Regular,
        "directory" => FileKind::Directory,
        "symlink" => FileKind::Symlink,
        "fifo" => FileKind::Fifo,
        "socket" => FileKind::Socket,
        _ => panic!("{text}"),
    }
}

fn parse_node(text: &str) -> (Node, Option<Acl>) {
    let [kind, mode, uid, gid, acl] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let node = Node { kind: parse_kind(kind), mode: octal(mode), uid: number(uid), gid: number(gid) };
    (node, Acl::decode(&bytes(acl)).unwrap())
}

fn errno(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AccessDenied => "EACCES",
        ErrorKind::NotPermitted => "EPERM",
        ErrorKind::InvalidArgument => "EINVAL",
        ErrorKind::NotSupported => "ENOTSUP",
        ErrorKind::IsDirectory => "EISDIR",
        ErrorKind::NotDirectory => "ENOTDIR",
        ErrorKind::Loop => "ELOOP",
        ErrorKind::NoDeviceOrAddress => "ENXIO",
        ErrorKind::NoData => "ENODATA",
        ErrorKind::RangeTooSmall => "ERANGE",
        other => panic!("{other:?}"),
    }
}

fn say(result: Result<String>) -> String {
    result.unwrap_or_else(|e| errno(e.kind()).into())
}

/// Compares all answers and shows the first that differ.
fn judge(file: &'static str, answer: impl Fn(&Case) -> Result<String>) {
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (number, case) in cases(file).enumerate() {
        asked += 1;
        let said = say(answer(&case));
        if said != case.answer {
            let line = file.lines().nth(number).unwrap();
            wrong.push(format!("line {}: {line}\n    but fs-access says {said}", number + 1));
        }
    }
    assert!(asked >= 500, "only {asked} cases");
    assert!(wrong.is_empty(), "{} of {asked} differ:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
}

fn yes(_: ()) -> String {
    "ok".into()
}

#[test]
fn permissions_are_the_kernels() {
    judge(include_str!("kernel/permit.txt"), |case| {
        let want: u32 = number(case.asked[0]);
        let mask = AccessMask { read: want & 4 != 0, write: want & 2 != 0, execute: want & 1 != 0 };
        check(&case.caller, &case.node, case.acl.as_ref(), mask).map(yes)
    });
}

#[test]
fn what_a_new_inode_inherits_is_the_kernels() {
    judge(include_str!("kernel/create.txt"), |case| {
        let default = Acl::decode(&bytes(case.asked[0]))?;
        let (kind, mode, umask) = (parse_kind(case.asked[1]), octal(case.asked[2]), octal(case.asked[3]));
        may_create(&case.caller, &case.node, None)?;
        let new = inherit(&case.caller, &case.node, default.as_ref(), kind, mode, umask);
        let (access, default) = (hex(new.access_acl.as_ref()), hex(new.default_acl.as_ref()));
        Ok(format!("{:o} {} {} {access} {default}", new.mode, new.uid, new.gid))
    });
}

fn set_of(asked: &[&str]) -> SetAttr {
    let time = |word: &str| match word {
        "now" => Some(SetTime::Now),
        "set" => Some(SetTime::To(Time { secs: 9, nanos: 5 })),
        _ => None,
    };
    match *asked {
        ["chmod", mode] => SetAttr { mode: Some(octal(mode)), ..SetAttr::default() },
        ["chown", uid, gid] => SetAttr { uid: uid.parse().ok(), gid: gid.parse().ok(), ..SetAttr::default() },
        ["truncate", size] => SetAttr { size: Some(number(size)), ..SetAttr::default() },
        ["utimes", atime, mtime] => SetAttr { atime: time(atime), mtime: time(mtime), ..SetAttr::default() },
        _ => panic!("{asked:?}"),
    }
}

#[test]
fn changes_of_attributes_are_the_kernels() {
    judge(include_str!("kernel/setattr.txt"), |case| {
        let (node, mut acl) = (&case.node, case.acl.clone());
        let new = if case.asked[0] == "write" {
            may_open(&case.caller, node, acl.as_ref(), &OpenFlags { write: true, ..OpenFlags::default() })?;
            NewOwner { uid: node.uid, gid: node.gid, mode: mode_after_write(&case.caller, node) }
        } else {
            let set = set_of(&case.asked);
            may_set(&case.caller, node, acl.as_ref(), &set, false)?;
            if let (Some(mode), Some(acl)) = (set.mode, &mut acl) {
                acl.chmod(mode);
            }
            owner_after(&case.caller, node, &set)
        };
        Ok(format!("{:o} {} {} {}", new.mode, new.uid, new.gid, hex(acl.as_ref())))
    });
}

#[test]
fn removing_names_is_the_kernels() {
    judge(include_str!("kernel/delete.txt"), |case| {
        let victim = if case.asked[0] == "rmdir" { Victim::Directory } else { Victim::NotDirectory };
        let node = Node { kind: parse_kind(case.asked[1]), mode: 0o644, uid: number(case.asked[2]), gid: 0 };
        may_delete(&case.caller, &case.node, case.acl.as_ref(), &node, victim).map(yes)
    });
}

#[test]
fn opening_is_the_kernels() {
    judge(include_str!("kernel/open.txt"), |case| {
        let has = |letter| case.asked[0].contains(letter);
        let flags =
            OpenFlags { read: has('r'), write: has('w'), append: has('a'), truncate: has('t'), ..OpenFlags::default() };
        may_open(&case.caller, &case.node, case.acl.as_ref(), &flags).map(yes)
    });
}

#[test]
fn extended_attributes_are_the_kernels() {
    judge(include_str!("kernel/xattr.txt"), |case| {
        let (caller, node, acl, name) = (&case.caller, &case.node, case.acl.as_ref(), case.asked[1].as_bytes());
        let space = XattrSpace::of(name)?;
        if case.asked[0] == "get" {
            may_read_xattr(caller, node, acl, space)?;
            // Stored before it was asked for, but for ACLs and what cannot be there.
            let there = match space {
                XattrSpace::AccessAcl => acl.is_some(),
                XattrSpace::DefaultAcl => false,
                _ => true,
            };
            return if there { Ok("ok".into()) } else { Err(objstore_base::Error::new(ErrorKind::NoData, "get")) };
        }
        may_write_xattr(caller, node, acl, space)?;
        if space != XattrSpace::AccessAcl {
            return Ok("ok".into());
        }
        let set = Acl::decode(&bytes("0200000001000700ffffffff04000500ffffffff20000500ffffffff"))?.unwrap();
        let (mode, acl) = access_acl_to_store(caller, node, set);
        Ok(format!("{mode:o} {} {} {}", node.uid, node.gid, hex(acl.as_ref())))
    });
}

#[test]
fn valid_acls_are_the_kernels() {
    let root = Credentials::root();
    let node = Node { kind: FileKind::Regular, mode: 0o644, uid: 0, gid: 100 };
    for line in include_str!("kernel/acl.txt").lines() {
        let (value, answer) = line.split_once(" => ").unwrap();
        let said = say(Acl::decode(&bytes(value)).map(|acl| {
            let (mode, acl) = acl.map_or((node.mode, None), |acl| access_acl_to_store(&root, &node, acl));
            format!("{mode:o} 0 100 {}", hex(acl.as_ref()))
        }));
        assert_eq!(said, answer, "{value}");
    }
}

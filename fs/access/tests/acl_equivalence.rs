//! What must hold for every ACL, not only for those a kernel was asked about.

use fs_access::*;
use fs_api::{AccessMask, Credentials, FileKind};
use proptest::prelude::*;

fn credentials() -> impl Strategy<Value = Credentials> {
    (0..4u32, 0..4u32, prop::collection::vec(0..4u32, 0..3)).prop_map(|(u, g, more)| Credentials::user(u, g, &more))
}

fn node() -> impl Strategy<Value = Node> {
    let kind = prop::sample::select(vec![FileKind::Regular, FileKind::Directory, FileKind::Fifo]);
    (kind, 0..4u32, 0..4u32, 0..0o10000u32).prop_map(|(kind, uid, gid, mode)| Node { kind, uid, gid, mode })
}

fn mask() -> impl Strategy<Value = AccessMask> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(read, write, execute)| AccessMask { read, write, execute })
}

/// Valid values of the extended attribute.
fn acl() -> impl Strategy<Value = Acl> {
    let named = || prop::collection::vec((0..4u32, 0..8u16), 0..3);
    (any::<[u8; 4]>(), named(), named(), any::<bool>()).prop_map(|(perms, users, groups, masked)| {
        let mut value = vec![2, 0, 0, 0];
        let mut entry = |tag: u16, perm: u16, id: u32| {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&perm.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        };
        let [owner, group, mask, other] = perms.map(|perm| u16::from(perm & 7));
        entry(1, owner, u32::MAX);
        users.iter().for_each(|(id, perm)| entry(2, *perm, *id));
        entry(4, group, u32::MAX);
        groups.iter().for_each(|(id, perm)| entry(8, *perm, *id));
        if masked || !users.is_empty() || !groups.is_empty() {
            entry(16, mask, u32::MAX);
        }
        entry(32, other, u32::MAX);
        Acl::decode(&value).unwrap().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_acl_made_from_the_mode_answers_as_the_mode(
        caller in credentials(), node in node(), mask in mask(),
    ) {
        let acl = Acl::from_mode(node.mode);
        prop_assert!(acl.is_minimal());
        prop_assert_eq!(acl.mode(), node.mode & 0o777);
        prop_assert_eq!(
            check(&caller, &node, Some(&acl), mask).is_ok(),
            check(&caller, &node, None, mask).is_ok()
        );
    }

    #[test]
    fn encoding_gives_back_what_was_decoded(acl in acl()) {
        prop_assert_eq!(Acl::decode(&acl.encode()).unwrap(), Some(acl));
    }

    #[test]
    fn garbage_is_refused_or_valid_but_never_a_panic(value in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(Some(acl)) = Acl::decode(&value) {
            prop_assert_eq!(acl.encode(), value);
        }
    }

    /// A chmod is what the mode shows afterwards, and no chmod gives a named user more than the mask.
    #[test]
    fn chmod_sets_what_the_mode_shows(acl in acl(), mode in 0..0o1000u32) {
        let mut changed = acl.clone();
        changed.chmod(mode);
        prop_assert_eq!(changed.mode(), mode);
        prop_assert_eq!(changed.is_minimal(), acl.is_minimal());
        let stranger = Credentials::user(3, 99, &[]);
        let node = Node { kind: FileKind::Regular, uid: 9, gid: 98, mode };
        if mode & 0o070 != 0 && mode & 0o007 == 0 {
            let all = [READ, WRITE, EXECUTE];
            for (bit, mask) in [4, 2, 1].into_iter().zip(all) {
                if check(&stranger, &node, Some(&changed), mask).is_ok() {
                    prop_assert_ne!(mode >> 3 & bit, 0);
                }
            }
        }
    }

    /// What a default ACL hands down never exceeds what the creator asked for, nor what the ACL allows.
    #[test]
    fn inherited_bits_are_asked_for_and_allowed(acl in acl(), mode in 0..0o10000u32, caller in credentials()) {
        let parent = Node { kind: FileKind::Directory, uid: 1, gid: 1, mode: 0o777 };
        let new = inherit(&caller, &parent, Some(&acl), FileKind::Regular, mode, 0o777);
        prop_assert_eq!(new.mode & !mode, 0);
        prop_assert_eq!(new.mode & 0o777 & !acl.mode(), 0);
        prop_assert!(new.default_acl.is_none());
        prop_assert!(new.access_acl.is_none_or(|acl| acl.mode() == new.mode & 0o777));
        let dir = inherit(&caller, &parent, Some(&acl), FileKind::Directory, mode, 0);
        prop_assert_eq!(dir.default_acl, Some(acl));
    }

    #[test]
    fn root_may_all_but_execute_what_nobody_may(node in node(), mask in mask(), acl in acl()) {
        let runs = !mask.execute || node.is_dir() || node.mode & 0o111 != 0;
        if node.uid != 0 && runs {
            prop_assert!(check(&Credentials::root(), &node, None, mask).is_ok());
            prop_assert!(check(&Credentials::root(), &node, Some(&acl), mask).is_ok());
        }
    }
}

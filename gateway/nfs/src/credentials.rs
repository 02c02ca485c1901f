//! As whom a client acts: AUTH_SYS credentials, squashed by the share's rule.

use std::sync::Arc;

use fs_api::{Credentials, Groups};
use gateway_sunrpc::Auth;

use crate::shares::{Share, Squash};

/// Groups of a user as this machine knows them, in place of the at most 16 that the client sends.
pub type ManageGids = Arc<dyn Fn(u32) -> Vec<u32> + Send + Sync>;

/// The credentials that `auth` stands for in `share`. Without AUTH_SYS it is the anonymous user.
pub(crate) fn credentials(share: &Share, auth: &Auth, manage_gids: Option<&ManageGids>) -> Credentials {
    let anonymous = || Credentials::user(share.anonymous_uid, share.anonymous_gid, &[]);
    let Auth::Sys { uid, gid, gids, .. } = auth else { return anonymous() };
    if share.squash == Squash::All || (share.squash == Squash::Root && *uid == 0) {
        return anonymous();
    }
    let squash_root = share.squash == Squash::Root;
    let anonymous_gid = share.anonymous_gid;
    let group = move |gid: u32| if squash_root && gid == 0 { anonymous_gid } else { gid };
    let groups = match manage_gids.cloned() {
        Some(find) => {
            let uid = *uid;
            Groups::lazy(move || find(uid).into_iter().map(group).collect())
        }
        None => Groups::Known(gids.iter().copied().map(group).collect()),
    };
    Credentials { uid: *uid, gid: group(*gid), groups }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fs_api::Ino;

    use super::*;
    use crate::shares::ShareId;

    fn caller(uid: u32, gid: u32, gids: &[u32]) -> Auth {
        Auth::Sys { machine: Bytes::new(), uid, gid, gids: gids.to_vec() }
    }

    fn share(squash: Squash) -> Share {
        Share { squash, ..Share::local(ShareId(1), b"/x", Ino(1)) }
    }

    #[test]
    fn h43_root_is_squashed_as_user_as_group_and_in_the_list() {
        let root = credentials(&share(Squash::Root), &caller(0, 0, &[0, 5]), None);
        assert_eq!((root.uid, root.gid), (Share::NOBODY, Share::NOBODY));
        assert!(!root.in_group(0) && !root.in_group(5));
        let user = credentials(&share(Squash::Root), &caller(1000, 0, &[0, 5]), None);
        assert_eq!((user.uid, user.gid), (1000, Share::NOBODY));
        assert!(!user.in_group(0) && user.in_group(5));
    }

    #[test]
    fn h43_no_credentials_are_nobody_even_without_squash() {
        let none = credentials(&share(Squash::None), &Auth::None, None);
        assert_eq!((none.uid, none.gid), (Share::NOBODY, Share::NOBODY));
        assert!(credentials(&share(Squash::None), &caller(0, 0, &[]), None).is_privileged());
        assert_eq!(credentials(&share(Squash::All), &caller(1000, 5, &[5]), None).uid, Share::NOBODY);
    }

    #[test]
    fn h43_groups_of_the_machine_replace_the_clients_and_are_squashed_too() {
        let find: ManageGids = Arc::new(|uid| vec![uid + 1, 0]);
        let user = credentials(&share(Squash::Root), &caller(1000, 5, &[77]), Some(&find));
        assert!(user.in_group(1001) && !user.in_group(77) && !user.in_group(0));
    }
}

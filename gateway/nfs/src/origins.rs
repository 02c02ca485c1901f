//! Where calls come from, as accounts and traces name it: one value for each client of each share, made once, so that
//! telling it costs a call no memory of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fs_api::Origin;
use parking_lot::RwLock;

use crate::shares::{Share, ShareId};

/// Clients of shares that are remembered; for those beyond, every call makes its own.
const ORIGINS_MAX: usize = 4096;

/// A leaf lock, held for a look or an insertion.
#[derive(Default)]
pub(crate) struct Origins(RwLock<BTreeMap<(ShareId, IpAddr), Arc<Origin>>>);

impl Origins {
    pub(crate) fn of(&self, share: &Share, client: IpAddr) -> Arc<Origin> {
        let client = client.to_canonical();
        let key = (share.id, client);
        // A share can get another path; its number stays.
        let known = self.0.read().get(&key).filter(|origin| origin.share.as_bytes() == share.path).cloned();
        known.unwrap_or_else(|| self.remember(key, share))
    }

    fn remember(&self, key: (ShareId, IpAddr), share: &Share) -> Arc<Origin> {
        let path = String::from_utf8_lossy(&share.path).into_owned();
        let origin = Arc::new(Origin { client: key.1.to_string(), share: path });
        let mut known = self.0.write();
        if known.len() < ORIGINS_MAX || known.contains_key(&key) {
            known.insert(key, Arc::clone(&origin));
        }
        origin
    }
}

#[cfg(test)]
mod tests {
    use fs_api::Ino;

    use super::*;

    fn share(path: &[u8]) -> Share {
        Share::local(ShareId(1), path, Ino(1))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_client_of_a_share_is_one_value_and_follows_the_path_of_the_share() {
        let origins = Origins::default();
        let first = origins.of(&share(b"/a"), address("10.0.0.7"));
        assert_eq!((first.client.as_str(), first.share.as_str()), ("10.0.0.7", "/a"));
        assert!(Arc::ptr_eq(&first, &origins.of(&share(b"/a"), address("::ffff:10.0.0.7"))), "one client, one name");
        assert_eq!(origins.of(&share(b"/b"), address("10.0.0.7")).share, "/b");
    }

    #[test]
    fn clients_beyond_the_bound_are_named_and_not_remembered() {
        let origins = Origins::default();
        for number in 0..ORIGINS_MAX as u32 + 10 {
            let client = IpAddr::from(number.to_be_bytes());
            assert_eq!(origins.of(&share(b"/a"), client).client, client.to_string());
        }
        assert_eq!(origins.0.read().len(), ORIGINS_MAX);
    }
}

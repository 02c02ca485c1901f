//! A share as the store keeps it: the setting `share/` and its number; see FORMAT.md.

use clap::ValueEnum;
use fs_api::Ino;
use gateway_nfs::protocol::MOUNT_PATH_BYTES_MAX;
use gateway_nfs::{Ack, ClientNet, Share, ShareId, Squash};
use objstore_base::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::clients::{self, CLIENTS_MAX, Client};
use super::quota::Cap;

const VERSION: u8 = 1;
/// Before the number, in the setting's name.
pub(super) const PREFIX: &str = "share/";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SquashRule {
    /// Root of a client is nobody here.
    #[default]
    Root,
    /// Everybody is the anonymous user.
    All,
    /// Root of a client is root here.
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AckRule {
    /// A change of names or attributes is answered when it is on disk.
    #[default]
    Synced,
    /// It is answered when it is made; a crash may take it back.
    Async,
}

/// What a share is like: of a change, only what is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShareTerms {
    pub(crate) path: Option<String>,
    pub(crate) clients: Option<Vec<String>>,
    pub(crate) read_only: Option<bool>,
    pub(crate) squash: Option<SquashRule>,
    pub(crate) anonymous_uid: Option<u32>,
    pub(crate) anonymous_gid: Option<u32>,
    pub(crate) ack: Option<AckRule>,
    /// Of the directory, not of the record: the store keeps it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<Cap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quota_files: Option<Cap>,
}

/// A share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareRecord {
    pub(super) id: u32,
    /// What clients mount.
    pub(super) path: String,
    /// Where the directory was when it was shared; the inode says which it is.
    pub(super) directory: String,
    pub(super) inode: u64,
    pub(super) clients: Vec<String>,
    pub(super) read_only: bool,
    pub(super) squash: SquashRule,
    pub(super) anonymous_uid: u32,
    pub(super) anonymous_gid: u32,
    pub(super) ack: AckRule,
}

impl ShareRecord {
    /// Read-write for this machine, root squashed.
    pub(super) fn new(id: u32, directory: &str, inode: Ino) -> Self {
        Self {
            id,
            path: directory.to_owned(),
            directory: directory.to_owned(),
            inode: inode.0,
            clients: clients::local(),
            read_only: false,
            squash: SquashRule::default(),
            anonymous_uid: Share::NOBODY,
            anonymous_gid: Share::NOBODY,
            ack: AckRule::default(),
        }
    }

    /// This share under other terms.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn under(&self, terms: &ShareTerms) -> std::result::Result<Self, String> {
        let clients = terms.clients.clone().unwrap_or_else(|| self.clients.clone());
        if clients.is_empty() || clients.len() > CLIENTS_MAX {
            return Err(format!("a share has 1 to {CLIENTS_MAX} clients, not {}: name networks", clients.len()));
        }
        clients.iter().try_for_each(|client| Client::parse(client).map(drop))?;
        Ok(Self {
            id: self.id,
            path: terms.path.as_deref().map_or_else(|| Ok(self.path.clone()), plain_path)?,
            directory: self.directory.clone(),
            inode: self.inode,
            clients,
            read_only: terms.read_only.unwrap_or(self.read_only),
            squash: terms.squash.unwrap_or(self.squash),
            anonymous_uid: terms.anonymous_uid.unwrap_or(self.anonymous_uid),
            anonymous_gid: terms.anonymous_gid.unwrap_or(self.anonymous_gid),
            ack: terms.ack.unwrap_or(self.ack),
        })
    }

    pub(super) fn setting(&self) -> String {
        // Digits enough for every number, so that names are in the order of numbers.
        format!("{PREFIX}{:010}", self.id)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut value = vec![VERSION];
        serde_json::to_writer(&mut value, self)
            .map_err(|error| Error::new(ErrorKind::Internal, "encode share").context(error.to_string()))?;
        Ok(value)
    }

    pub(super) fn decode(setting: &str, value: &[u8]) -> Result<Self> {
        match value.split_first() {
            Some((&VERSION, json)) => serde_json::from_slice(json)
                .map_err(|error| Error::corrupt("read share", error.to_string()).entity(setting)),
            Some((version, _)) => Err(Error::new(ErrorKind::NewerFormat, "read share")
                .entity(setting)
                .context(format!("it has version {version}: use a newer tidegate"))),
            None => Err(Error::corrupt("read share", "it is empty").entity(setting)),
        }
    }

    /// As the door knows it.
    pub(super) fn to_share(&self, clients: Vec<ClientNet>, privileged_port: bool) -> Share {
        Share {
            id: ShareId(self.id),
            path: self.path.as_bytes().to_vec(),
            root: Ino(self.inode),
            clients,
            read_only: self.read_only,
            squash: match self.squash {
                SquashRule::Root => Squash::Root,
                SquashRule::All => Squash::All,
                SquashRule::None => Squash::None,
            },
            anonymous_uid: self.anonymous_uid,
            anonymous_gid: self.anonymous_gid,
            ack: match self.ack {
                AckRule::Synced => Ack::Synced,
                AckRule::Async => Ack::Async,
            },
            privileged_port,
        }
    }
}

/// `photos/2024/` and `/photos/2024` are `/photos/2024`; the root is `/`.
///
/// # Errors
/// Where it is no path that a client could mount.
pub(crate) fn plain_path(text: &str) -> std::result::Result<String, String> {
    let wrong = |why: &str| Err(format!("`{text}` is no path of a share: {why}"));
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(inner);
    if text.is_empty() || text.len() > MOUNT_PATH_BYTES_MAX {
        return wrong(&format!("write 1 to {MOUNT_PATH_BYTES_MAX} bytes, as /photos"));
    }
    if text.contains(char::is_control) {
        return wrong("it has control characters");
    }
    if !inner.is_empty() && inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong("leave out empty parts, `.` and `..`, as /photos/2024");
    }
    Ok(format!("/{inner}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_it_was_stored_and_a_newer_one_is_refused() {
        let record = ShareRecord::new(7, "/photos", Ino(12));
        let value = record.encode().expect("encoded");
        let golden = "\u{1}{\"id\":7,\"path\":\"/photos\",\"directory\":\"/photos\",\"inode\":12,\
                      \"clients\":[\"127.0.0.1\",\"::1\"],\"read_only\":false,\"squash\":\"root\",\
                      \"anonymous_uid\":65534,\"anonymous_gid\":65534,\"ack\":\"synced\"}";
        assert_eq!(String::from_utf8_lossy(&value), golden);
        assert_eq!(ShareRecord::decode("share/0000000007", &value).expect("decoded"), record);
        let newer = [&[2][..], &value[1..]].concat();
        assert_eq!(ShareRecord::decode("s", &newer).expect_err("newer").kind(), ErrorKind::NewerFormat);
        for bad in [&b""[..], b"\x01", b"\x01{}", b"\x01{\"id\":-1}", &value[..value.len() - 1]] {
            assert_eq!(ShareRecord::decode("s", bad).expect_err("damaged").kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn paths_are_made_plain_or_refused() {
        for (given, path) in [("photos", "/photos"), ("/a/b/", "/a/b"), ("/", "/"), ("a b", "/a b")] {
            assert_eq!(plain_path(given).as_deref(), Ok(path));
        }
        for bad in ["", "//", "/a/../b", "/a//b", "./a", "a\nb", "/..", &"x".repeat(1025)] {
            assert!(plain_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn terms_change_what_they_name_and_wrong_ones_are_refused() {
        let share = ShareRecord::new(1, "/a", Ino(2));
        let terms = ShareTerms { read_only: Some(true), anonymous_uid: Some(5), ..ShareTerms::default() };
        let changed = share.under(&terms).expect("good terms");
        assert_eq!(changed, ShareRecord { read_only: true, anonymous_uid: 5, ..share.clone() });
        let nobody = ShareTerms { clients: Some(vec![]), ..ShareTerms::default() };
        assert!(share.under(&nobody).expect_err("nobody").contains("1 to 128"));
        let bad = ShareTerms { clients: Some(vec!["10.0.0.0/99".to_owned()]), ..ShareTerms::default() };
        assert!(share.under(&bad).expect_err("no network").contains("`10.0.0.0/99`"));
    }
}

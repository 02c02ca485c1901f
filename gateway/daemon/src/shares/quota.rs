//! Quotas of shares: limits of what lies under their directories, through every door.
//!
//! The store keeps a quota with the directory (see `fs/engine`), not with the share: two shares of one directory have
//! one quota, and it is as exact as the files are.

use fs_api::Ino;
use fs_engine::{Engine, QuotaLimits};
use objstore_base::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::record::ShareTerms;
use crate::exit::Failure;
use crate::units::{parse_bytes, show_bytes};

/// A limit that is set, or lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cap {
    None,
    At(u64),
}

impl Cap {
    /// `10GiB`, or `none`.
    pub(crate) fn parse_bytes(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self::None) } else { parse_bytes(text).map(Self::At) }
    }

    /// `1000000`, or `none`.
    pub(crate) fn parse_count(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let count = text.parse().ok().filter(|count| *count < 1 << 60);
        count.map(Self::At).ok_or_else(|| format!("`{text}` is no number of files: write for example 1000000, or none"))
    }

    const fn limit(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::At(limit) => Some(limit),
        }
    }
}

/// A quota and how much of it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuotaReport {
    /// The directory that it was set on: the share's own, or one above it.
    pub(crate) inode: u64,
    /// Null where they are not limited.
    pub(crate) bytes: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) used_bytes: u64,
    /// Inodes of every kind, the directory included.
    pub(crate) used_files: u64,
    /// What was there before the quota is being counted.
    pub(crate) counting: bool,
}

impl QuotaReport {
    /// The quota that binds `directory`, if one does.
    pub(super) fn of(engine: &Engine, directory: Ino) -> Option<Self> {
        let quota = engine.quota(directory).ok().flatten()?;
        let QuotaLimits { bytes, inodes: files } = quota.limits;
        (bytes.is_some() || files.is_some()).then_some(Self {
            inode: quota.directory.0,
            bytes,
            files,
            used_bytes: quota.bytes,
            used_files: quota.inodes,
            counting: quota.counting,
        })
    }

    /// `5.0 MiB of 8.0 MiB, 12 files of 1000`.
    pub(super) fn text(&self, directory: u64) -> String {
        let bytes = self.bytes.map_or("no limit".to_owned(), show_bytes);
        let files = self.files.map_or("no limit".to_owned(), |files| files.to_string());
        let mut text = format!("{} of {bytes}, {} files of {files}", show_bytes(self.used_bytes), self.used_files);
        if self.inode != directory {
            text.push_str("; it is that of a directory above");
        }
        if self.counting {
            text.push_str("; COUNTING what was there before: more may be taken than is shown");
        }
        text
    }
}

const fn limits(terms: &ShareTerms) -> bool {
    terms.quota.is_some() || terms.quota_files.is_some()
}

fn nested(outer: Ino) -> String {
    format!("the directory above it with inode {outer} has a quota, or had one: quotas do not lie in each other")
}

/// As [`wanted`] for a directory that is still to be made in `above`, or below it.
pub(super) fn require_none_at(engine: &Engine, above: Ino, terms: &ShareTerms) -> Result<(), String> {
    match engine.quota(above) {
        Ok(Some(outer)) if limits(terms) => Err(nested(outer.directory)),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The limits that `directory` is to have under `terms`; `None` where they say nothing of it.
///
/// # Errors
/// Where the quota of a directory above binds it.
pub(super) fn wanted(engine: &Engine, directory: Ino, terms: &ShareTerms) -> Result<Option<QuotaLimits>, String> {
    if !limits(terms) {
        return Ok(None);
    }
    let quota = engine.quota(directory).map_err(|error| match error.kind() {
        ErrorKind::Stale => "its directory was removed: delete the share".to_owned(),
        _ => error.to_string(),
    })?;
    if let Some(outer) = quota.map(|quota| quota.directory).filter(|outer| *outer != directory) {
        return Err(nested(outer));
    }
    let now = quota.map(|quota| quota.limits).unwrap_or_default();
    Ok(Some(QuotaLimits {
        bytes: terms.quota.map_or(now.bytes, Cap::limit),
        inodes: terms.quota_files.map_or(now.inodes, Cap::limit),
    }))
}

/// What the store says of a quota, with the share that it was for.
pub(super) fn refused(share: &str, error: Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidArgument => Failure::refuse(
            "set quota",
            share,
            "a directory above or below it has a quota, or had one: quotas do not lie in each other",
        ),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_sizes_counts_or_none() {
        assert_eq!(Cap::parse_bytes("10GiB"), Ok(Cap::At(10 << 30)));
        assert_eq!(Cap::parse_count("1000000"), Ok(Cap::At(1_000_000)));
        assert_eq!((Cap::parse_bytes("none"), Cap::parse_count("none")), (Ok(Cap::None), Ok(Cap::None)));
        for bad in ["", "-1", "None", "1.5", "10GiB", "9999999999999999999"] {
            assert!(Cap::parse_count(bad).expect_err(bad).contains("1000000"));
        }
        assert!(Cap::parse_bytes("much").is_err());
    }

    #[test]
    fn a_quota_is_told_with_what_is_taken_of_it() {
        let quota = QuotaReport {
            inode: 5,
            bytes: Some(8 << 20),
            files: None,
            used_bytes: 5 << 20,
            used_files: 12,
            counting: false,
        };
        assert_eq!(quota.text(5), "5.0 MiB of 8.0 MiB, 12 files of no limit");
        let counting = QuotaReport { counting: true, files: Some(100), bytes: None, ..quota };
        let text = counting.text(6);
        assert!(text.starts_with("5.0 MiB of no limit, 12 files of 100; it is that of a directory above"), "{text}");
        assert!(text.contains("COUNTING"), "{text}");
    }
}

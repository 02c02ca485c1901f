//! [`ShardName`]: which shard of which put of which blob, and its path on a drive.

use std::fmt;
use std::path::{Path, PathBuf};

use objstore_base::{BlobClass, BlobId};

/// One put of a blob. A put of an id that exists gets a higher one; the low half is random, so that two puts that did
/// not know of each other (a drive was away) never share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after `previous`, with `chance` in the low half.
    #[must_use]
    pub const fn after(previous: Option<Self>, chance: u64) -> Self {
        let count = match previous {
            Some(previous) => (previous.0 >> 32) + 1,
            None => 1,
        };
        Self(count << 32 | chance & 0xffff_ffff)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of a shard file. Orders by blob, then index, then generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardName {
    pub blob: BlobId,
    pub index: u8,
    pub generation: Generation,
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02x}.{}", self.blob, self.index, self.generation)
    }
}

impl ShardName {
    /// The name in `file`, or nothing where it is not exactly a shard's.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let mut parts = file.split('.');
        let blob = parts.next()?.parse().ok()?;
        let index = hex(parts.next()?, 2)?.try_into().ok()?;
        let generation = Generation(hex(parts.next()?, 16)?);
        parts.next().is_none().then_some(Self { blob, index, generation })
    }
}

/// Exactly `digits` lower-case hex digits.
pub(crate) fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

/// The directory of a blob's shards, two levels under the drive's root. Neighbouring numbers share one (256 blobs), so
/// that a stream of segments rarely makes a directory, and walking directories in order walks numbers in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FanOut {
    pub(crate) class: BlobClass,
    pub(crate) upper: u64,
    pub(crate) lower: u8,
}

impl FanOut {
    pub(crate) const fn of(blob: BlobId) -> Self {
        Self { class: blob.class, upper: blob.number >> 16, lower: (blob.number >> 8) as u8 }
    }

    pub(crate) fn upper_name(self) -> String {
        let text = BlobId::new(self.class, 0).to_string();
        let letter = text.split('-').next().unwrap_or_default();
        format!("{letter}-{:012x}", self.upper)
    }

    pub(crate) fn upper_dir(self, root: &Path) -> PathBuf {
        root.join(self.upper_name())
    }

    pub(crate) fn dir(self, root: &Path) -> PathBuf {
        self.upper_dir(root).join(format!("{:02x}", self.lower))
    }

    /// The class and upper half in the name of a directory under the root.
    pub(crate) fn parse_upper(name: &str) -> Option<(BlobClass, u64)> {
        let (letter, digits) = name.split_once('-')?;
        let upper = hex(digits, 12)?;
        let blob: BlobId = format!("{letter}-{:016x}", 0).parse().ok()?;
        Some((blob.class, upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_directories_round_trip_and_refuse_everything_else() {
        let blob = BlobId::new(BlobClass::CheckpointPart, 0x0123_4567_89ab_cdef);
        let name =
            ShardName { blob, index: 19, generation: Generation::after(Some(Generation(7 << 32 | 3)), u64::MAX) };
        assert_eq!(name.to_string(), "c-0123456789abcdef.13.00000008ffffffff");
        assert_eq!(ShardName::parse(&name.to_string()), Some(name));
        for bad in [
            "",
            "c-0123456789abcdef",
            "c-0123456789abcdef.13",
            "c-0123456789abcdef.13.8",
            "c-0123456789abcdef.13.00000008ffffffff.tmp",
            "c-0123456789abcdef.+3.00000008ffffffff",
        ] {
            assert_eq!(ShardName::parse(bad), None, "{bad}");
        }
        let fan_out = FanOut::of(blob);
        assert_eq!(fan_out.dir(Path::new("/d")), Path::new("/d/c-0123456789ab/cd"));
        assert_eq!(FanOut::parse_upper("c-0123456789ab"), Some((BlobClass::CheckpointPart, 0x0123_4567_89ab)));
        assert_eq!(FanOut::parse_upper("tmp"), None);
    }
}

//! Blob ids: a class and a number, with one text form used in shard file names and messages.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// What a blob holds. The discriminants are on-disk values and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobClass {
    /// A sealed journal segment; the number is the segment id.
    Segment = 1,
    /// One part of a checkpoint of the metadata index; the number is `checkpoint << 24 | part`.
    CheckpointPart = 2,
    /// The manifest that makes a checkpoint complete; the number is the checkpoint's.
    CheckpointManifest = 3,
}

impl BlobClass {
    /// Every class, in id order.
    pub const ALL: [BlobClass; 3] = [Self::Segment, Self::CheckpointPart, Self::CheckpointManifest];

    const fn letter(self) -> char {
        match self {
            Self::Segment => 's',
            Self::CheckpointPart => 'c',
            Self::CheckpointManifest => 'm',
        }
    }

    /// The class with on-disk value `tag`, if there is one.
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Segment),
            2 => Some(Self::CheckpointPart),
            3 => Some(Self::CheckpointManifest),
            _ => None,
        }
    }
}

/// The name of one immutable blob in a pool. Its text form is a letter for the class, `-`, and 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId {
    pub class: BlobClass,
    pub number: u64,
}

impl BlobId {
    pub const fn new(class: BlobClass, number: u64) -> Self {
        Self { class, number }
    }

    pub const fn segment(number: u64) -> Self {
        Self::new(BlobClass::Segment, number)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.class.letter(), self.number)
    }
}

impl FromStr for BlobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::new(ErrorKind::InvalidArgument, "parse blob id").entity(text);
        let (letter, digits) = text.split_once('-').ok_or_else(bad)?;
        let class =
            BlobClass::ALL.into_iter().find(|c| letter.chars().eq(std::iter::once(c.letter()))).ok_or_else(bad)?;
        let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or_else(bad)?;
        Ok(Self { class, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_everything_else() {
        for class in BlobClass::ALL {
            let id = BlobId::new(class, 0x00ab_cdef_0123_4567);
            assert_eq!(id.to_string().parse::<BlobId>().ok(), Some(id));
            assert_eq!(BlobClass::from_tag(class as u8), Some(class));
        }
        for bad in [
            "",
            "s",
            "s-",
            "s-1",
            "x-0000000000000001",
            "s-000000000000000G",
            "s-000000000000000A",
            "ss-0000000000000001",
            "../0000000000000001",
        ] {
            assert!(bad.parse::<BlobId>().is_err(), "{bad}");
        }
    }
}

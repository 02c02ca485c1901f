//! Random 128-bit names of pools and drives.

use std::fmt;
use std::str::FromStr;

use objstore_base::{Error, ErrorKind};
use objstore_env::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            pub fn random(rng: &dyn Rng) -> Self {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
                bytes[8..].copy_from_slice(&rng.next_u64().to_le_bytes());
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (at, byte) in self.0.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                parse(text).map(Self).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, $what).entity(text))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                parse(&text).map(Self).ok_or_else(|| serde::de::Error::custom(concat!($what, ": not a uuid")))
            }
        }
    };
}

uuid! {
    /// The name of a pool; every drive and every shard of it carries it.
    PoolUuid, "parse pool uuid"
}
uuid! {
    /// The name of a drive; placement hashes it.
    DriveUuid, "parse drive uuid"
}

/// The canonical text form only: lower-case hex in groups of 8-4-4-4-12.
fn parse(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = groups.concat();
    if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_everything_else() {
        let uuid = PoolUuid(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff");
        assert_eq!(uuid.to_string(), "00010203-0405-0607-0809-0a0b0c0d0eff");
        assert_eq!(uuid.to_string().parse::<PoolUuid>().ok(), Some(uuid));
        for bad in [
            "",
            "00010203",
            "00010203-0405-0607-0809-0a0b0c0d0eFF",
            "000102030405-0607-0809-0a0b0c0d0eff-",
            "é0010203-0405-0607-0809-0a0b0c0d0ef",
        ] {
            assert!(bad.parse::<PoolUuid>().is_err(), "{bad}");
        }
    }
}

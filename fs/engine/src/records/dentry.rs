//! Directory entries: by name (`Dentry`) and by cookie (`DentryOrder`).

use fs_api::{FileKind, Ino};
use objstore_base::Result;

use super::Cursor;

const VERSION: u8 = 1;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dentry {
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
    pub(crate) cookie: u64,
}

impl Dentry {
    pub(crate) fn encode(&self) -> [u8; 18] {
        let mut out = [0; 18];
        out[0] = VERSION;
        out[1] = self.kind as u8;
        out[2..10].copy_from_slice(&self.ino.0.to_le_bytes());
        out[10..].copy_from_slice(&self.cookie.to_le_bytes());
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let (mut c, _) = Cursor::new("decode directory entry", value, VERSION)?;
        let kind = FileKind::from_tag(c.u8()?).ok_or_else(|| c.bad("unknown kind"))?;
        let entry = Self { kind, ino: Ino(c.u64()?), cookie: c.u64()? };
        c.end()?;
        Ok(entry)
    }
}

/// What stands at a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderEntry<'a> {
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
    pub(crate) name: &'a [u8],
}

impl<'a> OrderEntry<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.name.len());
        out.extend_from_slice(&[VERSION, self.kind as u8]);
        out.extend_from_slice(&self.ino.0.to_le_bytes());
        out.extend_from_slice(self.name);
        out
    }

    pub(crate) fn decode(value: &'a [u8]) -> Result<Self> {
        let (mut c, _) = Cursor::new("decode ordered directory entry", value, VERSION)?;
        let kind = FileKind::from_tag(c.u8()?).ok_or_else(|| c.bad("unknown kind"))?;
        let entry = Self { kind, ino: Ino(c.u64()?), name: c.rest() };
        if entry.name.is_empty() { Err(c.bad("the name is empty")) } else { Ok(entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_refuse_what_is_cut_or_longer() {
        let dentry = Dentry { ino: Ino(0x0102), kind: FileKind::Fifo, cookie: 77 };
        let value = dentry.encode();
        assert_eq!(value, [1, 4, 2, 1, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Dentry::decode(&value).ok(), Some(dentry));
        for end in 0..value.len() {
            assert!(Dentry::decode(&value[..end]).is_err(), "{end} bytes");
        }
        assert!(Dentry::decode(&[&value[..], &[0]].concat()).is_err());
        let entry = OrderEntry { ino: Ino(3), kind: FileKind::Regular, name: b"n" };
        let value = entry.encode();
        assert_eq!(value, [1, 1, 3, 0, 0, 0, 0, 0, 0, 0, b'n']);
        assert_eq!(OrderEntry::decode(&value).ok(), Some(entry));
        for end in 0..value.len() {
            assert!(OrderEntry::decode(&value[..end]).is_err(), "{end} bytes");
        }
    }
}

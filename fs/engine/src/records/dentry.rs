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

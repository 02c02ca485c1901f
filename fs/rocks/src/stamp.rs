//! The stamp: two keys beside the columns that say what a durable state is.
//!
//! `lsn` names the LSN of a state that `begin_flush` froze. `unstamped` is present in every memtable from the moment
//! after a freeze and deleted by the next one: so a state on disk that holds it was flushed by RocksDB on its own,
//! is ahead of its LSN, and must not be replayed onto.

use std::path::Path;

use objstore_base::{Error, ErrorKind, Result};

use crate::error::damaged;

pub(crate) const LSN_KEY: &[u8] = b"lsn";
pub(crate) const UNSTAMPED_KEY: &[u8] = b"unstamped";
pub(crate) const FORMAT_VERSION: u8 = 1;

pub(crate) fn encode(lsn: u64) -> [u8; 9] {
    let mut value = [FORMAT_VERSION; 9];
    value[1..].copy_from_slice(&lsn.to_le_bytes());
    value
}

/// The LSN of the durable state, from the two values found at open.
pub(crate) fn decode(path: &Path, lsn: Option<&[u8]>, unstamped: Option<&[u8]>) -> Result<u64> {
    const OP: &str = "open index";
    if unstamped.is_some() {
        return Err(damaged(OP, path, "it was flushed in the middle of changes that the journal does not place"));
    }
    match lsn {
        None => Ok(0),
        Some([FORMAT_VERSION, lsn @ ..]) => {
            let lsn = lsn.try_into().map_err(|_| damaged(OP, path, "its stamp is not 9 bytes"))?;
            Ok(u64::from_le_bytes(lsn))
        }
        Some([version, ..]) if *version > FORMAT_VERSION => {
            Err(Error::new(ErrorKind::NewerFormat, OP).entity(path.display()).context(format!(
                "format {version}; this program knows {FORMAT_VERSION}: use a newer version of tidegate"
            )))
        }
        Some(_) => Err(damaged(OP, path, "its stamp is unreadable")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_decode_or_say_why_not() {
        let decode = |lsn: Option<&[u8]>| decode(Path::new("/i"), lsn, None);
        assert_eq!(decode(None).unwrap(), 0);
        assert_eq!(decode(Some(&encode(0x1234_5678_9abc))).unwrap(), 0x1234_5678_9abc);
        assert_eq!(encode(258), [1, 2, 1, 0, 0, 0, 0, 0, 0]);
        for bad in [&[] as &[u8], &[0; 9], &[1; 8], &[1; 10]] {
            assert_eq!(decode(Some(bad)).unwrap_err().kind(), ErrorKind::Corrupt, "{bad:?}");
        }
        assert_eq!(decode(Some(&[2; 40])).unwrap_err().kind(), ErrorKind::NewerFormat);
    }
}

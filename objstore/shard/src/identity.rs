//! `drive.json`: which pool a drive belongs to and which slot of it.

use std::path::Path;

use objstore_base::{Error, ErrorKind, Result};
use objstore_env::Disk;
use serde::{Deserialize, Serialize};

use crate::{DriveUuid, PoolUuid};

pub const IDENTITY_FILE: &str = "drive.json";
/// The layout of a drive that this program writes and the newest it reads.
pub const DRIVE_FORMAT: u32 = 1;

/// A drive.json is about 200 bytes; something longer is not ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveIdentity {
    pub format: u32,
    pub pool: PoolUuid,
    pub drive: DriveUuid,
    /// The drive's number in its pool, from 0.
    pub slot: u16,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl DriveIdentity {
    /// The identity of the drive at `root`; `None` where the file does not exist.
    ///
    /// # Errors
    /// `NewerFormat`, `Corrupt`, and what the disk says.
    pub(crate) fn load(disk: &dyn Disk, root: &Path) -> Result<Option<Self>> {
        let path = root.join(IDENTITY_FILE);
        let text = match disk.read_file(&path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read drive identity", e).entity(path.display())),
        };
        Self::decode(&text).map(Some).map_err(|e| e.entity(path.display()))
    }

    fn decode(text: &[u8]) -> Result<Self> {
        let unreadable = |e| Error::corrupt("read drive identity", "not a drive.json of this program").source(e);
        let FormatOnly { format } = serde_json::from_slice(text).map_err(unreadable)?;
        if format > DRIVE_FORMAT {
            let why = format!("the drive has format {format}, this program knows {DRIVE_FORMAT}: use a newer tidegate");
            return Err(Error::new(ErrorKind::NewerFormat, "read drive identity").context(why));
        }
        serde_json::from_slice(text).map_err(unreadable)
    }

    pub(crate) fn store(&self, disk: &dyn Disk, root: &Path) -> Result<()> {
        let path = root.join(IDENTITY_FILE);
        let failed = |e: std::io::Error| Error::io("write drive identity", e).entity(path.display());
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        disk.write_atomic(&path, &text).map_err(failed)
    }
}

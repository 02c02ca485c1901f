//! `drive.json`: which pool a drive belongs to and which slot of it.

use std::path::Path;

use objstore_base::{Error, ErrorKind, Result};
use objstore_env::Disk;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{DriveUuid, PoolUuid};

pub const IDENTITY_FILE: &str = "drive.json";
/// The layout of a drive that this program writes and the newest it reads.
pub const DRIVE_FORMAT: u32 = 1;

/// A drive.json is about 200 bytes; something longer is not ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveIdentity {
    pub format: u32,
    pub pool: PoolUuid,
    pub drive: DriveUuid,
    /// The drive's number in its pool, from 0.
    pub slot: u16,
}

/// As it stands in the file. A rotten identity must look like damage, which a pool bears, and not like another
/// pool's drive, which it refuses: hence the checksum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    pool: PoolUuid,
    drive: DriveUuid,
    slot: u16,
    /// 16 hex digits: XXH3 of the other fields as `format pool drive slot`.
    checksum: String,
}

impl Stored {
    /// The checksum if `format` is what the file says.
    fn sum(&self, format: u32) -> String {
        let text = format!("{format} {} {} {}", self.pool, self.drive, self.slot);
        format!("{:016x}", xxh3_64(text.as_bytes()))
    }

    /// Whether the checksum fits with a format that this program knows, whatever the file says.
    fn is_of_known_format(&self) -> bool {
        (1..=DRIVE_FORMAT).any(|format| self.checksum == self.sum(format))
    }
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
    pub fn load(disk: &dyn Disk, root: &Path) -> Result<Option<Self>> {
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
            // Whatever a newer format sums up, it is not what this number alone has been changed in.
            if serde_json::from_slice(text).is_ok_and(|stored: Stored| stored.is_of_known_format()) {
                let why = format!("not a drive.json of this program: its format {format} is damaged");
                return Err(Error::corrupt("read drive identity", why));
            }
            let why = format!("the drive has format {format}, this program knows {DRIVE_FORMAT}: use a newer tidegate");
            return Err(Error::new(ErrorKind::NewerFormat, "read drive identity").context(why));
        }
        let stored: Stored = serde_json::from_slice(text).map_err(unreadable)?;
        if stored.checksum != stored.sum(format) {
            let why = "not a drive.json of this program: its checksum does not fit";
            return Err(Error::corrupt("read drive identity", why));
        }
        Ok(Self { format, pool: stored.pool, drive: stored.drive, slot: stored.slot })
    }

    pub(crate) fn store(&self, disk: &dyn Disk, root: &Path) -> Result<()> {
        let path = root.join(IDENTITY_FILE);
        let failed = |e: std::io::Error| Error::io("write drive identity", e).entity(path.display());
        let Self { format, pool, drive, slot } = *self;
        let mut stored = Stored { format, pool, drive, slot, checksum: String::new() };
        stored.checksum = stored.sum(format);
        let mut text = serde_json::to_vec_pretty(&stored).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        disk.write_atomic(&path, &text).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use objstore_env::sim::SimDisk;

    use super::*;

    #[test]
    fn no_flipped_bit_makes_it_another_drive_s() {
        let disk = SimDisk::new(1);
        let written = DriveIdentity { format: 1, pool: PoolUuid([7; 16]), drive: DriveUuid([9; 16]), slot: 3 };
        written.store(&disk, Path::new("/")).unwrap();
        assert_eq!(DriveIdentity::load(&disk, Path::new("/")).unwrap(), Some(written));
        let text = disk.read_file(Path::new("/drive.json"), FILE_BYTES_MAX).unwrap();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match DriveIdentity::decode(&flipped) {
                // White space, or the case of a hex digit.
                Ok(read) => assert_eq!(read, written, "bit {bit}"),
                // Damage costs one drive; a newer format would stop the pool.
                Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt, "bit {bit}: {e}"),
            }
        }
        let newer = DriveIdentity { format: 9, ..written };
        newer.store(&disk, Path::new("/")).unwrap();
        let refused = DriveIdentity::load(&disk, Path::new("/")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NewerFormat, "{refused}");
    }
}

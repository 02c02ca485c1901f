//! `store.json`: what a store is. Written once, when it is made, and replaced as a whole when its settings change.

use std::io;

use objstore_env::Disk;
use objstore_env::real::RealDisk;
use objstore_shard::PoolUuid;
use serde::{Deserialize, Serialize};

use super::Layout;
use crate::cli::Compression;
use crate::exit::{Exit, Failure};
use crate::units::Code;

/// The format this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

/// More than any store file; a larger one is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Content of `store.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreFile {
    pub(crate) format: u32,
    /// Journal segments carry it.
    pub(crate) store_uuid: PoolUuid,
    /// Drives carry it.
    pub(crate) pool_uuid: PoolUuid,
    /// `K+M`.
    pub(crate) code: String,
    /// In slot order; relative to the folder, or absolute.
    pub(crate) drives: Vec<String>,
    pub(crate) compression: Compression,
    pub(crate) segment_bytes: u64,
}

/// The one field every format has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl StoreFile {
    pub(crate) fn code(&self) -> Result<Code, Failure> {
        Code::parse(&self.code)
            .map_err(|why| Failure::refuse("read store.json", &self.code, why).with_exit(Exit::Damaged))
    }

    /// Makes it the store's file, all at once.
    pub(crate) fn write(&self, layout: &Layout) -> Result<(), Failure> {
        let path = layout.store_file();
        let failed = |why: &dyn std::fmt::Display| Failure::refuse("write", path.display(), why);
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(&error))?;
        RealDisk.write_atomic(&path, format!("{text}\n").as_bytes()).map_err(|error| failed(&error))
    }
}

/// The store file in `layout`; `None` where there is none.
pub(crate) fn read(layout: &Layout) -> Result<Option<StoreFile>, Failure> {
    let path = layout.store_file();
    let content = match RealDisk.read_file(&path, FILE_BYTES_MAX) {
        Ok(content) => content,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Failure::refuse("read", path.display(), error)),
    };
    decode(&content).map(Some).map_err(|why| match why {
        Refusal::Newer(format) => Failure::refuse(
            "open store",
            path.display(),
            format!(
                "it has format {format}, written by a newer program (this one knows up to {FORMAT}): use that program"
            ),
        ),
        Refusal::Broken(why) => {
            Failure::refuse("read", path.display(), format!("it is damaged ({why}): restore it from a copy"))
                .with_exit(Exit::Damaged)
        }
    })
}

#[derive(Debug)]
enum Refusal {
    Newer(u32),
    Broken(String),
}

fn decode(content: &[u8]) -> Result<StoreFile, Refusal> {
    let broken = |error: serde_json::Error| Refusal::Broken(error.to_string());
    let AnyFormat { format } = serde_json::from_slice(content).map_err(broken)?;
    if format > FORMAT {
        return Err(Refusal::Newer(format));
    }
    let file: StoreFile = serde_json::from_slice(content).map_err(broken)?;
    if file.drives.is_empty() || Code::parse(&file.code).is_err() {
        return Err(Refusal::Broken("its code or drives make no sense".to_owned()));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> StoreFile {
        StoreFile {
            format: FORMAT,
            store_uuid: PoolUuid([0x11; 16]),
            pool_uuid: PoolUuid([0x22; 16]),
            code: "4+2".into(),
            drives: (0..6).map(|slot| format!("drives/{slot}")).collect(),
            compression: Compression::Zstd,
            segment_bytes: 64 << 20,
        }
    }

    #[test]
    fn store_file_survives_a_round_trip() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        assert_eq!(read(&layout).expect("no store"), None);
        file().write(&layout).expect("written");
        assert_eq!(read(&layout).expect("a store"), Some(file()));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut value = serde_json::to_value(file()).expect("a value");
        value["format"] = 999.into();
        value["something"] = "new".into();
        assert!(matches!(decode(value.to_string().as_bytes()), Err(Refusal::Newer(999))));
        value["format"] = 1.into();
        assert!(matches!(decode(value.to_string().as_bytes()), Err(Refusal::Broken(_))));
        assert!(matches!(decode(b"{"), Err(Refusal::Broken(_))));
        assert!(matches!(decode(b"{\"format\":1}"), Err(Refusal::Broken(_))));
    }

    /// The file as format 1 writes it, kept for ever.
    #[test]
    fn golden_file_of_format_1_is_read() {
        let golden = br#"{
  "format": 1,
  "store_uuid": "11111111-1111-1111-1111-111111111111",
  "pool_uuid": "22222222-2222-2222-2222-222222222222",
  "code": "4+2",
  "drives": ["drives/0", "drives/1", "drives/2", "drives/3", "drives/4", "drives/5"],
  "compression": "zstd",
  "segment_bytes": 67108864
}"#;
        assert_eq!(decode(golden).expect("format 1"), file());
    }
}

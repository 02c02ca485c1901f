//! `store.json`: what a store is. Written once, when it is made, and replaced as a whole when its settings change.

use std::io;

use objstore_env::Disk;
use objstore_env::real::RealDisk;
use objstore_shard::PoolUuid;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

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

/// What is written: the file and the checksum over it. Stores made before there was one have none; it is added when
/// they are opened.
#[derive(Serialize)]
struct Sealed<'a> {
    #[serde(flatten)]
    file: &'a StoreFile,
    checksum: String,
}

const CHECKSUM: &str = "checksum";

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
        let sealed = Sealed { file: self, checksum: self.checksum().map_err(|error| failed(&error))? };
        let text = serde_json::to_string_pretty(&sealed).map_err(|error| failed(&error))?;
        RealDisk.write_atomic(&path, format!("{text}\n").as_bytes()).map_err(|error| failed(&error))
    }

    /// Adds the checksum where the file has none. The caller has the store's lock.
    pub(crate) fn seal(&self, layout: &Layout) -> Result<(), Failure> {
        let path = layout.store_file();
        let content = RealDisk.read_file(&path, FILE_BYTES_MAX);
        let has = content.is_ok_and(|content| {
            serde_json::from_slice::<serde_json::Value>(&content).is_ok_and(|value| value.get(CHECKSUM).is_some())
        });
        if has { Ok(()) } else { self.write(layout) }
    }

    /// XXH3 (64 bits) of all fields as compact JSON in the order of this struct: how the file is laid out does not
    /// matter, and what it says does.
    fn checksum(&self) -> serde_json::Result<String> {
        Ok(format!("{:016x}", xxh3_64(&serde_json::to_vec(self)?)))
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
    let mut value: serde_json::Value = serde_json::from_slice(content).map_err(broken)?;
    let claimed = value.as_object_mut().and_then(|fields| fields.remove(CHECKSUM));
    let file: StoreFile = serde_json::from_value(value).map_err(broken)?;
    let actual = file.checksum().map_err(broken)?;
    if claimed.is_some_and(|claimed| claimed != actual) {
        return Err(Refusal::Broken(
            "its checksum does not fit: it was changed by hand, or the disk changed it".to_owned(),
        ));
    }
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

    #[test]
    fn a_changed_code_is_told_by_the_checksum_and_a_changed_layout_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        file().write(&layout).expect("written");
        let text = std::fs::read_to_string(layout.store_file()).expect("read");
        for changed in [text.replace("4+2", "3+2"), text.replace("drives/0", "drives/9")] {
            assert!(matches!(decode(changed.as_bytes()), Err(Refusal::Broken(why)) if why.contains("checksum")));
        }
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(decode(value.to_string().as_bytes()).expect("the same in another order"), file());
    }

    #[test]
    fn a_store_file_without_a_checksum_gets_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        std::fs::write(layout.store_file(), serde_json::to_string(&file()).expect("JSON")).expect("written");
        let old = read(&layout).expect("readable").expect("a store");
        old.seal(&layout).expect("sealed");
        let text = std::fs::read_to_string(layout.store_file()).expect("read");
        assert!(text.contains(CHECKSUM), "{text}");
        assert_eq!(read(&layout).expect("readable"), Some(file()));
    }

    /// The file as format 1 wrote it before it had a checksum, kept for ever.
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

    /// The file as format 1 writes it, kept for ever.
    #[test]
    fn golden_file_with_a_checksum_is_written_and_read() {
        let golden = include_bytes!("golden-v1.json");
        assert_eq!(decode(golden).expect("format 1"), file());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        file().write(&layout).expect("written");
        assert_eq!(std::fs::read(layout.store_file()).expect("read"), golden);
    }
}

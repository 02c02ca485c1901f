//! Values of the configuration, read by the rules of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use tracing_subscriber::EnvFilter;

use crate::settings::parse_dirty_bytes;
use crate::shares::plain_path;
use crate::units::{Code, parse_bytes, parse_duration, show_bytes};

const AUDIT_FILE_BYTES_MIN: u64 = 4 << 10;
const AUDIT_OLDER_FILES_MAX: u32 = 1000;

/// A value written as text, and how it is understood.
fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    text(deserializer, parse_bytes).map(Some)
}

pub(super) fn dirty_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    text(deserializer, parse_dirty_bytes).map(Some)
}

pub(super) fn required_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text(deserializer, parse_duration)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    required_duration(deserializer).map(Some)
}

pub(super) fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Code>, D::Error> {
    text(deserializer, Code::parse).map(Some)
}

/// Absolute: a service has no folder that everybody would think of.
pub(super) fn required_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    text(deserializer, |path| match path.starts_with('/') {
        true => Ok(PathBuf::from(path)),
        false => Err(format!("`{path}` is no absolute path: write it from the root, as /srv/tidegate")),
    })
}

pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    required_path(deserializer).map(Some)
}

pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.is_empty() {
        return Err(D::Error::custom("no address: write for example [\"127.0.0.1:2049\"], or leave [nfs] out"));
    }
    let wrong = |text: &String| {
        D::Error::custom(format!("`{text}` is no address with a port: write for example 0.0.0.0:2049 or [::]:2049"))
    };
    texts.iter().map(|text| text.parse().map_err(|_| wrong(text))).collect()
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    text(deserializer, |text| {
        let wrong = |_| format!("`{text}` is no address with a port: write for example 127.0.0.1:9420 or [::1]:9420");
        text.parse().map_err(wrong)
    })
}

/// As clients mount them. One that is not there yet may come.
pub(super) fn shares<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let shares = Vec::<String>::deserialize(deserializer)?;
    shares.iter().map(|share| plain_path(share).map_err(D::Error::custom)).collect()
}

/// A file that holds no more than a line or two would be turned over at every operation.
pub(super) fn audit_file_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    text(deserializer, |text| match parse_bytes(text)? {
        bytes if bytes < AUDIT_FILE_BYTES_MIN => {
            Err(format!("`{text}` is too little: give at least {}", show_bytes(AUDIT_FILE_BYTES_MIN)))
        }
        bytes => Ok(bytes),
    })
}

/// Each of them is renamed when the file is full.
pub(super) fn older_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        files if files > AUDIT_OLDER_FILES_MAX => {
            Err(D::Error::custom(format!("{files} are too many: keep at most {AUDIT_OLDER_FILES_MAX}")))
        }
        files => Ok(files),
    }
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer, |filter| match EnvFilter::try_new(filter) {
        Ok(_) => Ok(Some(filter.to_owned())),
        Err(_) => Err(format!("`{filter}` is no log filter: write for example info, or info,gateway_nfs=debug")),
    })
}

//! Named small values that belong to the store and not to the machine it runs on: shares, secrets, counters of starts.
//!
//! They lie in the `System` column behind a prefix of their own and are written through the journal like every change,
//! so that they come back with the files, by a replay as by a recovery from the pool. What a value means is the business
//! of whoever stores it; values carry their own version.

use std::ops::ControlFlow;

use fs_meta::{Column, Direction};
use objstore_base::{Error, ErrorKind, Result};

use crate::change::Change;
use crate::engine::Engine;

/// Before the name, in the key.
const PREFIX: &[u8] = b"set/";
/// The first byte behind `PREFIX`'s last, so that `..set0` ends the range of all settings.
const PREFIX_END: u8 = b'/' + 1;
/// A name is a word of a program, not of a user.
const NAME_BYTES_MAX: usize = 255;
/// All values together are read at a start: they stay small.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// One setting that is put, or deleted where it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    pub name: String,
    pub value: Option<Vec<u8>>,
}

impl SettingChange {
    pub fn put(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }

    pub fn delete(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: None }
    }
}

impl Engine {
    /// The value of `name`, as of the last change.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.meta.get(Column::System, &key(name)?)
    }

    /// The settings whose names begin with `prefix`, in the order of their names.
    pub fn settings(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let start = [PREFIX, prefix.as_bytes()].concat();
        let mut end = PREFIX.to_vec();
        if let Some(last) = end.last_mut() {
            *last = PREFIX_END;
        }
        let mut found = Vec::new();
        self.meta.scan(Column::System, &start..&end, Direction::Forward, &mut |key, value| {
            if !key.starts_with(&start) {
                return ControlFlow::Break(());
            }
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        let named = |(key, value): (Vec<u8>, Vec<u8>)| {
            let name = key.strip_prefix(PREFIX).and_then(|name| std::str::from_utf8(name).ok());
            let broken = || Error::corrupt("read setting", "its name is not text");
            name.map(|name| (name.to_owned(), value)).ok_or_else(broken)
        };
        found.into_iter().map(named).collect()
    }

    /// Makes `changes` as one: all of them are there, or none.
    ///
    /// # Durability
    /// D2 when it returns.
    ///
    /// # Errors
    /// `InvalidArgument` where a name or a value is too long.
    pub async fn change_settings(&self, changes: &[SettingChange]) -> Result<()> {
        let mut change = Change::background();
        Self::put_settings(changes, &mut change)?;
        let lsn = {
            let _one = self.setting_changes.lock();
            self.apply(change)?
        };
        self.journal.commit_async(lsn).await
    }

    /// Puts `changes` into `change`, which is applied with `setting_changes` held.
    pub(crate) fn put_settings(changes: &[SettingChange], change: &mut Change) -> Result<()> {
        for SettingChange { name, value } in changes {
            match value {
                Some(value) if value.len() > VALUE_BYTES_MAX => {
                    return Err(Error::new(ErrorKind::InvalidArgument, "store setting").entity(name));
                }
                Some(value) => change.batch.put(Column::System, &key(name)?, value),
                None => change.batch.delete(Column::System, &key(name)?),
            }
        }
        Ok(())
    }
}

fn key(name: &str) -> Result<Vec<u8>> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidArgument, "name setting").entity(name));
    }
    Ok([PREFIX, name.as_bytes()].concat())
}

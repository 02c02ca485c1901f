//! The filesystem itself: names, attributes, bytes and locks over a journal, an index and an object store.
//!
//! [`Engine`] implements [`fs_api::Vfs`]. Every change is one journal record and one index batch, made under the
//! stripes of the inodes it touches (see `engine.rs` for the lock order). Doors see the trait and nothing of this.

#![forbid(unsafe_code)]

mod attrs;
mod caches;
mod change;
mod config;
mod data;
mod engine;
mod handles;
mod hub;
mod index;
mod inspect;
mod keys;
mod locks;
mod names;
mod open;
mod orphans;
mod quota;
mod receipts;
mod records;
mod settings;
mod stripes;
mod system;
mod vfs;

pub use config::{Atime, CommitObserver, EngineConfig, SharedDisk};
pub use data::{Begun, CheckReport, CheckpointReport, Compaction, DamagedFile, RecoverReport, begin_timeline, recover};
pub use engine::Engine;
pub use inspect::{EngineStatus, ExtentInfo};
pub use quota::{ProjectId, Quota, QuotaLimits};
pub use records::Inode;
pub use settings::SettingChange;

//! Shares: which directories of the store NFS exports, to whom and as whom.
//!
//! They belong to the store: each is a setting of it, so that it survives a restart and a recovery, and `ShareTable`
//! shows them to the door the moment they change. A share is pinned to the inode of its directory: renaming the
//! directory keeps it. Its number is in every handle and is never given out again.

mod changes;
mod clients;
mod directories;
mod quota;
mod record;
mod reports;
mod table;

pub(crate) use quota::Cap;
pub(crate) use record::{AckRule, ShareTerms, SquashRule, plain_path};
pub(crate) use reports::{ShareChanged, ShareList, ShareReport};
pub(crate) use table::ShareTable;

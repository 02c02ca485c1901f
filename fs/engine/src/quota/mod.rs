//! Quotas: what lies under a directory may take so many bytes and so many inodes, and no more.
//!
//! As the project quotas of XFS and ext4: an inode carries the number of a project, which it inherits from the directory
//! that it is made in, and counts for that project wherever it is. What would grow a project past its limits is
//! refused with `QuotaExceeded` before anything of it happened; what was accepted (bytes that wait in memory included)
//! always becomes durable. Everything that needs no more room works at the limit and above it. Root is bound too.
//!
//! | file | what it is |
//! |---|---|
//! | `records.rs` | numbers, keys and records in the index |
//! | `project.rs` | one project in memory: its use and its limits |
//! | `projects.rs` | all of them, charging a change |
//! | `limit.rs` | setting and telling the quota of a directory |
//! | `walk.rs` | assigning a tree that is there already |
//! | `check.rs` | counting all of them again |
//! | `room.rs` | looking for room that is only not free yet |
//!
//! The use of a project is the sum of `allocated` over the records of its inodes, and their number; it moves in the
//! record that changes them (I6). Project 0 is none: its inodes cost no look-up and are not counted.

mod check;
mod limit;
mod project;
mod projects;
mod records;
mod room;
mod walk;

pub use limit::{Quota, QuotaLimits};
pub use records::ProjectId;

pub(crate) use check::Recount;
pub(crate) use projects::{Charge, Growth, Projects};
pub(crate) use records::{Key, is_counter};

//! The procedures, one family a file. Each decodes its arguments, asks the `Vfs`, writes its reply.

pub(crate) mod attributes;
pub(crate) mod create;
pub(crate) mod data;
pub(crate) mod directories;
pub(crate) mod names;
pub(crate) mod remove;
pub(crate) mod repeats;
pub(crate) mod system;

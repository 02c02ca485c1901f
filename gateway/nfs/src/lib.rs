//! The NFSv3 door (RFC 1813) with its MOUNT protocol, in front of any [`fs_api::Vfs`].
//!
//! A thin adapter: a call becomes one or a few calls of the `Vfs`, the answer a reply. What it adds is what the protocol
//! asks of a server: handles that prove where they come from, shares with their clients and squash rules, truthful
//! pre-operation attributes, byte limits of listings, write verifiers and a cache of replies for repeated calls. Permission
//! is decided behind the `Vfs` by the credentials passed in. It must not know the engine or a store. `SEMANTICS.md` says
//! what it promises.
//!
//! The types of `nfsserve` are not used: they copy every payload (`Vec<u8>`), decode from `io::Read` with counts that are
//! trusted before the bytes are there, and mix the wire with their own server's trait. These here are plain structs over
//! the bounded decoder of `gateway-sunrpc`.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod credentials;
mod door;
mod duplicates;
mod handle;
mod mount;
mod opened;
mod origins;
mod procedures;
pub mod protocol;
mod receipts;
mod refusals;
mod request;
mod shares;
mod verifier;

pub use credentials::ManageGids;
pub use door::{Door, DoorOptions};
pub use handle::{FileHandle, HandleKey};
pub use mount::MountProgram;
pub use opened::{HandleRefusal, Opened};
pub use shares::{Ack, ClientNet, Share, ShareId, Shares, Squash};

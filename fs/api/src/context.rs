//! Who asks, and how durable the answer has to be.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::{DoorId, Receipt};

/// The supplementary groups of a caller. Where finding them costs a system call they are looked up at the first
/// decision that depends on them, once.
#[derive(Clone)]
pub enum Groups {
    Known(Arc<[u32]>),
    Lazy(Arc<LazyGroups>),
}

pub struct LazyGroups {
    found: OnceLock<Vec<u32>>,
    find: Box<dyn Fn() -> Vec<u32> + Send + Sync>,
}

impl Groups {
    pub fn none() -> Self {
        Self::Known(Arc::from([]))
    }

    pub fn lazy(find: impl Fn() -> Vec<u32> + Send + Sync + 'static) -> Self {
        Self::Lazy(Arc::new(LazyGroups { found: OnceLock::new(), find: Box::new(find) }))
    }

    pub fn contains(&self, gid: u32) -> bool {
        match self {
            Self::Known(groups) => groups.contains(&gid),
            Self::Lazy(lazy) => lazy.found.get_or_init(&lazy.find).contains(&gid),
        }
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(groups) => write!(f, "{groups:?}"),
            Self::Lazy(lazy) => write!(f, "lazy {:?}", lazy.found.get()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Credentials {
    pub uid: u32,
    /// Effective (filesystem) group.
    pub gid: u32,
    pub groups: Groups,
}

impl Credentials {
    pub fn root() -> Self {
        Self { uid: 0, gid: 0, groups: Groups::none() }
    }

    pub fn user(uid: u32, gid: u32, groups: &[u32]) -> Self {
        Self { uid, gid, groups: Groups::Known(groups.into()) }
    }

    /// Whether the caller is in group `gid`, by its effective group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(gid)
    }

    /// Whether the caller has root's privileges over files (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_FSETID).
    pub const fn is_privileged(&self) -> bool {
        self.uid == 0
    }
}

/// When a change may be answered (design, section 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// D0/D1: once every reader sees it.
    #[default]
    Buffered,
    /// D2: once it is synced in the local journal.
    Synced,
}

/// Where a request came from: for accounts and traces, nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// As the door tells its clients apart: an address, an access key.
    pub client: String,
    pub share: String,
}

/// What every operation is called with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Unique per request in this process; appears in traces.
    pub request: u64,
    pub credentials: Credentials,
    pub durability: Durability,
    /// How long a wait (a cold read, back-pressure, a busy backend) may take before the operation fails.
    pub patience: Duration,
    /// The door it came through, so that the door is not told of its own changes.
    pub door: DoorId,
    /// `None` where the door has neither clients nor shares.
    pub origin: Option<Arc<Origin>>,
    /// Stored with every change that this request makes of names or attributes.
    pub receipt: Option<Arc<Receipt>>,
}

impl Context {
    /// A buffered request with half a minute of patience.
    pub fn new(request: u64, credentials: Credentials) -> Self {
        Self {
            request,
            credentials,
            durability: Durability::Buffered,
            patience: Duration::from_secs(30),
            door: DoorId::UNWATCHED,
            origin: None,
            receipt: None,
        }
    }
}

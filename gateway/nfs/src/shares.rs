//! Shares: which directories are exported, to whom, and as whom a client acts there.
//!
//! The table is an immutable snapshot; replacing it takes effect at the next call of every client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fs_api::Ino;
use parking_lot::RwLock;

/// Number of a share; part of every handle, so the same for as long as the share lives, and never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareId(pub u32);

/// Which callers become the anonymous user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    /// Uid 0, and gid 0 wherever it stands.
    #[default]
    Root,
    All,
    None,
}

/// When a change of names or attributes is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When it is durable (D2).
    #[default]
    Synced,
    /// When it is visible. `FILE_SYNC` and COMMIT mean D2 all the same.
    Async,
}

/// A network, as `address/prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNet {
    address: IpAddr,
    prefix: u8,
}

impl ClientNet {
    /// `None` where the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = plain(address);
        (u32::from(prefix) <= bits(address).1).then_some(Self { address, prefix })
    }

    /// One address, or `address/prefix`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((address, prefix)) => Self::new(address.parse().ok()?, prefix.parse().ok()?),
            None => {
                let address = plain(text.parse().ok()?);
                Self::new(address, bits(address).1 as u8)
            }
        }
    }

    pub fn contains(&self, client: IpAddr) -> bool {
        let ((own, width), (other, other_width)) = (bits(self.address), bits(plain(client)));
        let shift = width - u32::from(self.prefix);
        width == other_width && own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
    }
}

impl std::fmt::Display for ClientNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An IPv4 client on a dual-stack socket is an IPv4 client.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(Ipv4Addr::to_bits(v4)), 32),
        IpAddr::V6(v6) => (Ipv6Addr::to_bits(v6), 128),
    }
}

/// One exported directory.
#[derive(Clone, Debug)]
pub struct Share {
    pub id: ShareId,
    /// What clients mount: absolute, without `.`, `..`, empty parts or a slash at its end.
    pub path: Vec<u8>,
    pub root: Ino,
    pub clients: Vec<ClientNet>,
    pub read_only: bool,
    pub squash: Squash,
    pub anonymous_uid: u32,
    pub anonymous_gid: u32,
    pub ack: Ack,
    /// Refuse clients that do not use a privileged port.
    pub privileged_port: bool,
}

impl Share {
    pub const NOBODY: u32 = 65_534;

    /// A read-write share with root squashed, for this machine only.
    pub fn local(id: ShareId, path: &[u8], root: Ino) -> Self {
        let loopback = [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
        Self {
            id,
            path: path.to_vec(),
            root,
            clients: loopback.into_iter().filter_map(|(address, prefix)| ClientNet::new(address, prefix)).collect(),
            read_only: false,
            squash: Squash::Root,
            anonymous_uid: Self::NOBODY,
            anonymous_gid: Self::NOBODY,
            ack: Ack::Synced,
            privileged_port: false,
        }
    }

    pub fn admits(&self, client: std::net::SocketAddr) -> bool {
        let port_fits = !self.privileged_port || client.port() < 1024;
        port_fits && self.clients.iter().any(|net| net.contains(client.ip()))
    }
}

/// The shares there are now.
#[derive(Debug, Default)]
pub struct Shares {
    current: RwLock<Arc<Vec<Arc<Share>>>>,
}

impl Shares {
    pub fn new(shares: Vec<Share>) -> Self {
        let table = Self::default();
        table.replace(shares);
        table
    }

    /// All calls from now on see `shares`; a call under way ends under the old ones.
    pub fn replace(&self, shares: Vec<Share>) {
        *self.current.write() = Arc::new(shares.into_iter().map(Arc::new).collect());
    }

    pub fn snapshot(&self) -> Arc<Vec<Arc<Share>>> {
        Arc::clone(&self.current.read())
    }

    pub fn by_id(&self, id: ShareId) -> Option<Arc<Share>> {
        self.current.read().iter().find(|share| share.id == id).cloned()
    }

    /// The share of exactly this path; paths are compared as bytes and never walked.
    pub fn by_path(&self, path: &[u8]) -> Option<Arc<Share>> {
        let path = if path.len() > 1 { path.strip_suffix(b"/").unwrap_or(path) } else { path };
        self.current.read().iter().find(|share| share.path == path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h43_networks_hold_their_addresses_and_no_others() {
        let net = ClientNet::parse("10.1.0.0/16").expect("a network");
        for (client, inside) in [("10.1.255.3", true), ("10.2.0.1", false), ("::ffff:10.1.2.3", true), ("::1", false)] {
            assert_eq!(net.contains(client.parse().expect("an address")), inside, "{client}");
        }
        let all = ClientNet::parse("0.0.0.0/0").expect("a network");
        assert!(all.contains("203.0.113.9".parse().expect("an address")));
        assert!(!all.contains("2001:db8::1".parse().expect("an address")));
        let v6 = ClientNet::parse("2001:db8::/32").expect("a network");
        assert!(v6.contains("2001:db8:ffff::1".parse().expect("an address")));
        let everyone = ClientNet::parse("::/0").expect("a network");
        assert!(everyone.contains("2001:db9::1".parse().expect("an address")));
        assert_eq!(ClientNet::parse("10.0.0.0/33"), None);
        assert_eq!(ClientNet::parse("host.example"), None);
    }

    #[test]
    fn h50_a_path_names_a_share_exactly_or_nothing() {
        let shares = Shares::new(vec![Share::local(ShareId(1), b"/export", Ino(5))]);
        assert!(shares.by_path(b"/export").is_some());
        assert!(shares.by_path(b"/export/").is_some());
        for path in [&b"/export/../other"[..], b"//export", b"/export\0", b"/export//", b"", b"/", b"/exp"] {
            assert!(shares.by_path(path).is_none(), "{path:?}");
        }
    }
}

//! The durable list as one small file, replaced as a whole at each change: clients come and go seldom. `FORMAT.md` has
//! its bytes.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use bytes::{BufMut, Bytes};
use futures::FutureExt;
use objstore_base::{BoxFuture, Error, Result};
use objstore_env::Env;
use tokio::sync::Mutex;

use crate::monitor::{LISTED_MAX, MonitorStore, Monitored, state_after};
use crate::protocol::NAME_BYTES_MAX;

const MAGIC: [u8; 8] = *b"TGNSMLST";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 20;
const CRC_BYTES: usize = 4;
const ADDRESS_BYTES: usize = 16;
/// Of the length of a name.
const LENGTH_BYTES: usize = 2;
/// A full list with the longest names: what was written can be read.
const FILE_BYTES_MAX: usize = HEAD_BYTES + LISTED_MAX * (ADDRESS_BYTES + LENGTH_BYTES + NAME_BYTES_MAX) + CRC_BYTES;

#[derive(Clone, Default)]
struct List {
    state: i32,
    hosts: Vec<Monitored>,
}

pub struct FileMonitors {
    env: Env,
    path: PathBuf,
    list: Mutex<List>,
}

impl FileMonitors {
    /// Reads the list at `path`; a missing file is an empty list.
    ///
    /// # Errors
    /// `Corrupt` where the file is no list: it is not overwritten.
    pub async fn open(env: Env, path: PathBuf) -> Result<Self> {
        let (disk, at) = (env.disk.clone(), path.clone());
        let list = match env.blocking(move || disk.read_file(&at, FILE_BYTES_MAX as u64)).await {
            Ok(content) => decode(Bytes::from(content)).ok_or_else(|| {
                Error::corrupt("read monitored clients", "checksum, length or version does not fit")
                    .entity(path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => List::default(),
            Err(error) => return Err(Error::io("read monitored clients", error).entity(path.display())),
        };
        Ok(Self { env, path, list: Mutex::new(list) })
    }

    async fn change<T>(&self, change: impl FnOnce(&mut List) -> T + Send) -> Result<T> {
        let mut list = self.list.lock().await;
        let mut changed = list.clone();
        let result = change(&mut changed);
        let (disk, path, content) = (self.env.disk.clone(), self.path.clone(), encode(&changed));
        let written = self.env.blocking(move || disk.write_atomic(&path, &content)).await;
        written.map_err(|e| Error::io("write monitored clients", e).entity(self.path.display()))?;
        *list = changed;
        Ok(result)
    }
}

impl MonitorStore for FileMonitors {
    fn list(&self) -> BoxFuture<'_, Result<Vec<Monitored>>> {
        async move { Ok(self.list.lock().await.hosts.clone()) }.boxed()
    }

    fn add(&self, host: Monitored) -> BoxFuture<'_, Result<()>> {
        self.change(move |list| {
            list.hosts.retain(|known| known.address != host.address);
            list.hosts.push(host);
        })
        .boxed()
    }

    fn remove(&self, gone: BTreeSet<IpAddr>) -> BoxFuture<'_, Result<()>> {
        self.change(move |list| list.hosts.retain(|known| !gone.contains(&known.address))).boxed()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<i32>> {
        self.change(|list| {
            list.state = state_after(list.state);
            list.state
        })
        .boxed()
    }
}

fn encode(list: &List) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_slice(&MAGIC);
    out.put_u32_le(VERSION);
    out.put_i32_le(list.state);
    out.put_u32_le(u32::try_from(list.hosts.len()).expect("the number of clients is bounded"));
    for host in &list.hosts {
        let address = match host.address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        out.put_slice(&address.octets());
        out.put_u16_le(u16::try_from(host.name.len()).expect("names come from the wire with their bound"));
        out.put_slice(&host.name);
    }
    let crc = crc(&out);
    out.put_u32_le(crc);
    out
}

fn decode(content: Bytes) -> Option<List> {
    use bytes::Buf;
    let body_bytes = content.len().checked_sub(CRC_BYTES).filter(|body| *body >= HEAD_BYTES)?;
    let mut body = content.clone();
    let mut tail = body.split_off(body_bytes);
    if crc(&body) != tail.try_get_u32_le().ok()? || !body.starts_with(&MAGIC) {
        return None;
    }
    body.advance(MAGIC.len());
    if body.try_get_u32_le().ok()? != VERSION {
        return None;
    }
    let state = body.try_get_i32_le().ok()?;
    let count = body.try_get_u32_le().ok()?;
    let mut hosts = Vec::new();
    for _ in 0..count {
        let mut octets = [0; ADDRESS_BYTES];
        body.try_copy_to_slice(&mut octets).ok()?;
        let length = usize::from(body.try_get_u16_le().ok()?);
        if length > NAME_BYTES_MAX || length > body.len() {
            return None;
        }
        let address = IpAddr::V6(Ipv6Addr::from(octets)).to_canonical();
        hosts.push(Monitored { address, name: body.split_to(length) });
    }
    body.is_empty().then_some(List { state, hosts })
}

fn crc(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).expect("a CRC of 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        let host = |address: &str, name: &'static [u8]| Monitored {
            address: address.parse().expect("an address"),
            name: Bytes::from_static(name),
        };
        List { state: 7, hosts: vec![host("10.1.2.3", b"alpha"), host("2001:db8::1", b"")] }
    }

    #[test]
    fn a_list_comes_back_and_no_changed_byte_goes_unseen() {
        let content = encode(&list());
        let back = decode(Bytes::from(content.clone())).expect("a list");
        assert_eq!((back.state, back.hosts), (7, list().hosts));
        for at in 0..content.len() {
            let mut bad = content.clone();
            bad[at] ^= 1;
            assert!(decode(Bytes::from(bad)).is_none(), "byte {at}");
            assert!(decode(Bytes::copy_from_slice(&content[..at])).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn the_longest_list_can_be_read_at_the_next_start() {
        let longest = Bytes::from(vec![b'x'; NAME_BYTES_MAX]);
        let address = |number: usize| IpAddr::from(u128::MAX.wrapping_sub(number as u128).to_be_bytes());
        let host = |number| Monitored { address: address(number), name: longest.clone() };
        let hosts: Vec<Monitored> = (0..LISTED_MAX).map(host).collect();
        let content = encode(&List { state: 7, hosts: hosts.clone() });
        assert_eq!(content.len(), FILE_BYTES_MAX);
        assert_eq!(decode(Bytes::from(content)).expect("a list").hosts, hosts);
    }

    #[test]
    fn the_first_version_stays_readable() {
        let golden = include_bytes!("../tests/golden/monitors-v1.bin");
        assert_eq!(encode(&list()), golden);
    }
}

//! Finding shards by walking directories: the directory tree is the only index of a drive.

use std::io;
use std::path::Path;

use objstore_base::{BlobClass, BlobId, Result};

use super::Root;
use crate::ShardName;
use crate::name::{FanOut, hex};

impl Root {
    pub(super) fn find(&self, blob: BlobId) -> Result<Vec<ShardName>> {
        let mut shards = self.shards_in(FanOut::of(blob))?;
        shards.retain(|shard| shard.blob == blob);
        Ok(shards)
    }

    pub(super) fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> Result<Vec<ShardName>> {
        let Some(first) = after.map_or(Some(0), |after| after.checked_add(1)) else { return Ok(Vec::new()) };
        let start = FanOut::of(BlobId::new(class, first));
        let mut found: Vec<ShardName> = Vec::new();
        for upper in self.uppers(class, start.upper)? {
            for lower in self.lowers(class, upper)? {
                let fan_out = FanOut { class, upper, lower };
                if fan_out < start {
                    continue;
                }
                found.extend(self.shards_in(fan_out)?.into_iter().filter(|s| s.blob.number >= first));
                if found.len() >= limit.max(1) {
                    return Ok(whole_blobs(found, limit.max(1)));
                }
            }
        }
        Ok(found)
    }

    fn uppers(&self, class: BlobClass, from: u64) -> Result<Vec<u64>> {
        let names = self.names(&self.dir)?;
        if names.is_empty() && self.is_gone() {
            return Err(self.failed("list drive", &self.dir, io::ErrorKind::NotFound.into()));
        }
        let wanted = |(of, upper): (BlobClass, u64)| (of == class && upper >= from).then_some(upper);
        let mut uppers: Vec<u64> = names.iter().filter_map(|name| FanOut::parse_upper(name).and_then(wanted)).collect();
        uppers.sort_unstable();
        Ok(uppers)
    }

    fn lowers(&self, class: BlobClass, upper: u64) -> Result<Vec<u8>> {
        let names = self.names(&FanOut { class, upper, lower: 0 }.upper_dir(&self.dir))?;
        let mut lowers: Vec<u8> = names.iter().filter_map(|name| hex(name, 2)?.try_into().ok()).collect();
        lowers.sort_unstable();
        Ok(lowers)
    }

    /// The shards in one directory, in order. Files that are no shard of this directory are nobody's.
    fn shards_in(&self, fan_out: FanOut) -> Result<Vec<ShardName>> {
        let names = self.names(&fan_out.dir(&self.dir))?;
        let mut shards: Vec<ShardName> = names.iter().filter_map(|name| ShardName::parse(name)).collect();
        shards.retain(|shard| FanOut::of(shard.blob) == fan_out);
        shards.sort_unstable();
        Ok(shards)
    }

    /// The names in `dir`; none where it does not exist on a drive that does.
    fn names(&self, dir: &Path) -> Result<Vec<String>> {
        match self.env.disk.list(dir) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.is_gone() => Ok(Vec::new()),
            Err(e) => Err(self.failed("list drive", dir, e)),
        }
    }
}

/// Cuts `found` behind the blob with which `limit` shards are reached.
fn whole_blobs(mut found: Vec<ShardName>, limit: usize) -> Vec<ShardName> {
    if let Some(last) = found.get(limit - 1).map(|shard| shard.blob) {
        found.retain(|shard| shard.blob <= last);
    }
    found
}

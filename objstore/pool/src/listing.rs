//! Listing blobs: the drives' directories merged, page by page.

use std::collections::BTreeSet;

use objstore_base::{BlobClass, BlobId, Error, ErrorKind, Result};
use objstore_shard::ShardName;

use crate::pool::Inner;

/// Shards asked of each drive at once.
const PAGE_SHARDS: usize = 1024;

/// What is known to be complete: ids found, and up to where (nothing means to the end).
struct Page {
    ids: BTreeSet<BlobId>,
    complete_upto: Option<u64>,
}

impl Inner {
    pub(crate) async fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> Result<Vec<BlobId>> {
        let mut found = Vec::new();
        let mut after = after;
        while found.len() < limit {
            let page = self.page(class, after, (limit - found.len()).clamp(16, PAGE_SHARDS)).await?;
            found.extend(page.ids);
            match page.complete_upto {
                Some(upto) => after = Some(upto),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn page(&self, class: BlobClass, after: Option<u64>, shards: usize) -> Result<Page> {
        let answers = self.ask_all(|drive| Box::pin(async move { drive.list(class, after, shards).await })).await;
        let mut page = Page { ids: BTreeSet::new(), complete_upto: None };
        let mut unreachable = Vec::new();
        for (slot, answer) in self.slots.iter().zip(answers) {
            match answer {
                Ok(names) => page.add(&names, shards, |name| self.is_deleted(name)),
                Err(_) => unreachable.push(slot.number),
            }
        }
        if unreachable.len() > self.config.m {
            let why = format!("cannot be asked: {}", self.places(&unreachable));
            return Err(Error::new(ErrorKind::Unavailable, "list blobs").context(why));
        }
        if !unreachable.is_empty() {
            // A put with several shards on each of few drives may lie on those that are away alone.
            let owed = self.heal_log.debts().into_iter().map(|(id, _)| id);
            page.ids.extend(owed.filter(|id| id.class == class && after.is_none_or(|after| id.number > after)));
        }
        if let Some(upto) = page.complete_upto {
            page.ids.retain(|id| id.number <= upto);
        }
        Ok(page)
    }

    fn is_deleted(&self, name: &ShardName) -> bool {
        self.heal_log.deleted_upto(name.blob).is_some_and(|upto| name.generation <= upto)
    }
}

impl Page {
    /// A drive that gave as many shards as asked for may hold more behind the last.
    fn add(&mut self, names: &[ShardName], asked: usize, is_deleted: impl Fn(&ShardName) -> bool) {
        self.ids.extend(names.iter().filter(|name| !is_deleted(name)).map(|name| name.blob));
        if names.len() >= asked
            && let Some(last) = names.last()
        {
            let last = last.blob.number;
            self.complete_upto = Some(self.complete_upto.map_or(last, |upto| upto.min(last)));
        }
    }
}

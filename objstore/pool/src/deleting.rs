//! Removing a blob: every shard of every put of it, now where drives can be reached, later where not.

use futures::future::join_all;
use objstore_base::{BlobId, Result};

use crate::heal_log::Record;
use crate::pool::Inner;

impl Inner {
    /// Once this returns no shard of the blob serves a read again, also when a drive that was away comes back.
    pub(crate) async fn delete(&self, id: BlobId) -> Result<()> {
        let _guard = self.lock(id).await;
        self.stragglers.revoke(id);
        let survey = self.survey_with_deleted(id).await;
        // What a drive that is away holds is not known; it is at most what the others hold or held, or is on record.
        let upto = self.newest(id, &survey);
        if let Some(upto) = upto
            && !survey.unreachable.is_empty()
        {
            self.record(vec![Record::Deleted { blob: id, upto }]).await?;
        }
        self.forget(id);
        let removed = join_all(survey.shards.iter().map(|(slot, name)| self.delete_shard(*slot, *name))).await;
        self.forget(id);
        if let Some(upto) = upto
            && survey.unreachable.is_empty()
        {
            self.settle_deletion(id, upto, removed.iter().any(Result::is_err)).await?;
        } else if self.heal_log.debt_of(id).is_some() {
            self.record(vec![Record::Healed { blob: id }]).await?;
        }
        Ok(())
    }

    async fn settle_deletion(&self, id: BlobId, upto: objstore_shard::Generation, incomplete: bool) -> Result<()> {
        if incomplete {
            return self.record(vec![Record::Deleted { blob: id, upto }]).await;
        }
        self.record(vec![Record::Healed { blob: id }, Record::Purged { blob: id }]).await
    }
}

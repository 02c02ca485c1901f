//! `tidegate recover`: a lost or damaged index, built again from the pool and the local journal.
//!
//! The damaged index is kept beside the new one until a person removes it.

use std::path::PathBuf;
use std::sync::Arc;

use cache_journal::{Journal, JournalConfig, Lsn, SegmentId};
use fs_engine::{Begun, RecoverReport};
use fs_rocks::{RocksConfig, RocksStore};
use objstore_base::BlobStore;
use objstore_env::{Env, real};
use objstore_pool::Pool;
use serde::Serialize;

use crate::Outcome;
use crate::cli::StoreArgs;
use crate::cmd::find_store;
use crate::exit::{Exit, Failure};
use crate::host;
use crate::output;
use crate::service::{Locks, open_pool, runtime};
use crate::store::{self, Layout, StoreFile};

#[derive(Serialize)]
struct RecoverOutcome {
    data: PathBuf,
    /// The checkpoint that the index was built from; null where the whole history was replayed.
    checkpoint: Option<u64>,
    segments_replayed: u64,
    records_replayed: u64,
    lsn: u64,
    /// Why the replay of the pool ended early, where it did; the local journal may hold what follows.
    stopped: Option<String>,
    /// Segments in the pool whose records are not in the state that was rebuilt.
    segments_left_behind: Vec<u64>,
    /// The journal was lost too: an empty one goes on from here.
    new_journal: bool,
    /// What that one goes on from and the pool could not make whole, and why.
    not_whole: Vec<String>,
    /// Where the old index is kept.
    old_index: Option<PathBuf>,
}

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let layout = find_store(args)?;
    let store = store::existing(&layout.data)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let lock = Locks::take(&layout, &store)?;
        let env = real::env(tokio::runtime::Handle::current())
            .map_err(|error| Failure::refuse("read", "the system's random device", error))?;
        let pool = Arc::new(open_pool(&env, &layout, &store).await?);
        let old_index = set_aside(&layout)?;
        let index = RocksStore::open(layout.index(), &RocksConfig::default())?;
        let report = fs_engine::recover(&index, Arc::clone(&pool) as Arc<dyn BlobStore>).await?;
        let begun = begin_journal(&env, &layout, &store, &index, &pool, &report).await?;
        drop(lock);
        Ok::<_, Failure>(RecoverOutcome {
            data: layout.data.clone(),
            checkpoint: report.checkpoint,
            segments_replayed: report.segments,
            records_replayed: report.records,
            lsn: report.lsn,
            stopped: report.stopped,
            segments_left_behind: report.left_behind,
            new_journal: begun.is_some(),
            not_whole: begun.map(|begun| begun.not_whole).unwrap_or_default(),
            old_index,
        })
    })?;
    output::report(&outcome, json, || text(&outcome));
    Ok(Exit::Ok)
}

/// Where the journal is lost too, an empty one that goes on after what the pool had, in a timeline of its own. Gives where
/// it begins.
async fn begin_journal(
    env: &Env,
    layout: &Layout,
    store: &StoreFile,
    index: &RocksStore,
    pool: &Arc<Pool>,
    report: &RecoverReport,
) -> Result<Option<Begun>, Failure> {
    let mut config = JournalConfig::new(layout.journal(), store.store_uuid.0);
    config.segment_bytes = store.segment_bytes;
    // The usual case: it is there, goes on in its timeline, and is replayed on top at the next start.
    if Journal::exists(env, &config)? {
        return Ok(None);
    }
    let begun = fs_engine::begin_timeline(index, Arc::clone(pool) as Arc<dyn BlobStore>, report).await?;
    Journal::begin_after(env, &config, Lsn(begun.lsn), SegmentId(begun.last_segment))?;
    Ok(Some(begun))
}

/// Renames the index out of the way, to a name that is free.
fn set_aside(layout: &Layout) -> Result<Option<PathBuf>, Failure> {
    let index = layout.index();
    if host::metadata(&index).is_err() {
        return Ok(None);
    }
    let free = (1..1000).map(|n| layout.data.join(format!("index.old-{n}"))).find(|path| host::metadata(path).is_err());
    let Some(aside) = free else {
        return Err(Failure::refuse(
            "set the old index aside",
            index.display(),
            "a thousand are kept already: remove some",
        ));
    };
    host::rename(&index, &aside).map_err(|error| Failure::refuse("set the old index aside", index.display(), error))?;
    Ok(Some(aside))
}

fn text(outcome: &RecoverOutcome) -> String {
    let base = outcome.checkpoint.map_or("from the first record on".to_owned(), |n| format!("from checkpoint {n}"));
    let journal = match outcome.new_journal {
        true => "the journal is lost: what was not in the pool is not there, and a new one goes on from here",
        false => "the local journal is replayed on top at the next `tidegate mount`",
    };
    let mut text = format!(
        "the index is rebuilt {base}: {} records of {} segments replayed\n{journal}",
        outcome.records_replayed, outcome.segments_replayed
    );
    if let Some(why) = &outcome.stopped {
        text.push_str(&format!("\nthe pool's history ends early: {why}"));
    }
    if !outcome.not_whole.is_empty() {
        let which = outcome.not_whole.join("\n  ");
        text.push_str(&format!(
            "\nsome of it is not whole in the pool, and loss of more drives could take it: bring the drives back and run \
             `tidegate pool heal`\n  {which}"
        ));
    }
    if !outcome.segments_left_behind.is_empty() {
        let count = outcome.segments_left_behind.len();
        text.push_str(&format!("\n{count} segments of the pool are not part of the state that was rebuilt"));
    }
    if let Some(old) = &outcome.old_index {
        text.push_str(&format!("\nthe old index is kept as {}; remove it when all is well", old.display()));
    }
    text
}

//! F5: a sync of the journal fails and takes what was not durable with it; a later sync succeeds and proves nothing. No
//! fsync that was answered with success may lose anything.

mod files;

use files::{bytes, check, create, fsync, read, store, write};
use objstore_env::sim::{Effect, Fault, Ops, Survival, When};
use std::time::Duration;

const EIO: i32 = 5;
const FILES: u64 = 6;

#[test]
fn f05_no_acknowledged_byte_is_lost_whichever_sync_of_the_journal_fails() {
    let (mut hits, mut refused) = (0, 0);
    for effect in [Effect::LoseSync, Effect::Errno(EIO)] {
        for nth in 1..=14 {
            let mut store = store(nth, |_| {});
            let fault = store.disk().arm(Fault::new("/journal", Ops::SYNC, When::Nth(nth), effect));
            let mut acknowledged = Vec::new();
            for number in 0..FILES {
                let name = format!("file {number}");
                let content = bytes(number, 3000 + 40_000 * (number % 3) as usize);
                let Ok(ino) = create(&store, &name) else { continue };
                if write(&store, ino, 0, &content, Duration::from_secs(1)).is_err() {
                    continue;
                }
                // A client that is told of an error tries again, as databases do.
                let first = fsync(&store, ino);
                refused += u32::from(first.is_err());
                if first.is_ok() || fsync(&store, ino).is_ok() {
                    acknowledged.push((name, content));
                }
            }
            hits += store.disk().disarm(fault);
            store.disk().drop_caches();
            for (name, content) in &acknowledged {
                assert_eq!(
                    read(&store, name).unwrap().as_deref(),
                    Some(&content[..]),
                    "{effect:?} {nth}: {name} before"
                );
            }
            store.crash(Survival::Nothing).unwrap_or_else(|e| panic!("{effect:?} {nth}: {e}"));
            for (name, content) in &acknowledged {
                assert_eq!(
                    read(&store, name).unwrap().as_deref(),
                    Some(&content[..]),
                    "{effect:?} {nth}: {name} after"
                );
            }
            check(&store);
        }
    }
    assert!(hits >= 10, "the fault is to be met: {hits}");
    assert!(refused > 0, "a failed sync is to be told");
}

//! The read cache: one fetch for all, limits kept, and never a wrong byte, whoever gives up and whatever rots.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_journal::{FrameId, FrameNo, SegmentId};
use cache_readcache::{ReadCache, ReadCacheConfig};
use futures::FutureExt;
use futures::future::join_all;
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use objstore_env::sim::{Effect, Fault, Ops, SimWorld, When};
use objstore_env::{Env, OpenMode};

const DIR: &str = "/data/cache";
const LEN: usize = 4096;
const MS: Duration = Duration::from_millis(1);

/// A pool in which every frame has bytes that follow from its name.
#[derive(Clone)]
struct Pool {
    env: Env,
    fetches: Arc<AtomicU64>,
    frames: Arc<AtomicU64>,
    away: Arc<AtomicBool>,
    delay_ms: u64,
}

fn content(frame: FrameId) -> Bytes {
    let seed = frame.segment.0 * 1_000_003 + u64::from(frame.frame.0);
    (0..LEN as u64)
        .map(|n| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32 % 64) >> 7) as u8 ^ n as u8)
        .collect()
}

fn frame(number: u32) -> FrameId {
    FrameId::new(SegmentId(1 + u64::from(number / 100)), FrameNo(number % 100))
}

impl Pool {
    fn new(env: &Env, delay_ms: u64) -> Self {
        Self { env: env.clone(), fetches: Arc::default(), frames: Arc::default(), away: Arc::default(), delay_ms }
    }

    fn fetch(&self, frames: Vec<FrameId>) -> BoxFuture<'static, Result<Vec<(FrameId, Bytes)>>> {
        let this = self.clone();
        Box::pin(async move {
            this.fetches.fetch_add(1, Ordering::SeqCst);
            this.frames.fetch_add(frames.len() as u64, Ordering::SeqCst);
            this.env.clock.sleep(Duration::from_millis(this.delay_ms)).await;
            if this.away.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "get blob").entity("s-1"));
            }
            Ok(frames.into_iter().map(|frame| (frame, content(frame))).collect())
        })
    }

    fn get(&self, cache: &Arc<ReadCache>, frame: FrameId) -> BoxFuture<'static, Result<Bytes>> {
        let this = self.clone();
        cache.get_or_fetch(frame, move || Box::pin(async move { Ok(this.fetch(vec![frame]).await?.remove(0).1) }))
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

struct Setup {
    world: SimWorld,
    env: Env,
    cache: Arc<ReadCache>,
    pool: Pool,
}

fn setup(memory_bytes_max: u64, disk_bytes_max: u64) -> Setup {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    println!("SEED={seed}");
    let world = SimWorld::new(seed);
    let env = world.env();
    let config = ReadCacheConfig { memory_bytes_max, ..ReadCacheConfig::new(DIR, disk_bytes_max) };
    let cache = ReadCache::open(env.clone(), config);
    let pool = Pool::new(&env, 10);
    Setup { world, env, cache, pool }
}

impl Setup {
    fn read(&self, number: u32) {
        let read = self.world.run(self.pool.get(&self.cache, frame(number))).expect("the pool is up");
        assert!(read == content(frame(number)), "{}", frame(number));
    }

    /// Bytes of all files in the cache's folder.
    fn disk_bytes(&self) -> u64 {
        let names = self.env.disk.list(Path::new(DIR)).expect("the folder is there");
        names.iter().map(|n| self.env.disk.metadata(&Path::new(DIR).join(&n.name)).map_or(0, |m| m.len)).sum()
    }

    fn files(&self) -> Vec<String> {
        let names = self.env.disk.list(Path::new(DIR)).expect("the folder is there");
        names.iter().map(|n| format!("{DIR}/{}", n.name)).collect()
    }
}

#[test]
fn a_hundred_waiters_cost_one_fetch() {
    let s = setup(1 << 20, 0);
    let reads = s.world.run(join_all((0..100).map(|_| s.pool.get(&s.cache, frame(7)))));
    assert!(reads.into_iter().all(|read| read.is_ok_and(|bytes| bytes == content(frame(7)))));
    assert_eq!(s.pool.fetches(), 1);
    let stats = s.cache.stats();
    assert_eq!((stats.fetches, stats.misses, stats.joined, stats.fetched_bytes), (1, 1, 99, LEN as u64));
    s.read(7);
    assert_eq!((s.pool.fetches(), s.cache.stats().memory_hits), (1, 1));
}

#[test]
fn the_others_go_on_when_the_first_gives_up() {
    let s = setup(1 << 20, 0);
    s.world.run(async {
        let mut first = s.pool.get(&s.cache, frame(1));
        assert!((&mut first).now_or_never().is_none(), "it fetches");
        let second = s.pool.get(&s.cache, frame(1));
        drop(first);
        assert!(second.await.is_ok_and(|bytes| bytes == content(frame(1))));
    });
    assert_eq!(s.pool.fetches(), 1, "the fetch that ran was not lost");
}

#[test]
fn a_fetch_nobody_waits_for_ends_and_the_next_reader_starts_anew() {
    let s = setup(1 << 20, 0);
    s.world.run(async {
        let mut first = s.pool.get(&s.cache, frame(1));
        assert!((&mut first).now_or_never().is_none());
        assert!(s.cache.holds(frame(1)));
        drop(first);
        assert!(!s.cache.holds(frame(1)), "nothing is on its way");
    });
    s.read(1);
    assert_eq!(s.pool.fetches(), 2);
}

#[test]
fn a_failed_fetch_is_told_to_all_and_kept_by_nobody() {
    let s = setup(1 << 20, 1 << 20);
    s.pool.away.store(true, Ordering::SeqCst);
    let reads = s.world.run(join_all((0..10).map(|_| s.pool.get(&s.cache, frame(1)))));
    for read in reads {
        let error = read.expect_err("the pool is away");
        assert_eq!((error.kind(), error.entity_name()), (ErrorKind::Unavailable, "frame 1/1"));
        assert!(error.to_string().contains("get blob s-1"), "{error}");
    }
    assert_eq!(s.pool.fetches(), 1);
    s.pool.away.store(false, Ordering::SeqCst);
    s.read(1);
}

/// H60: readers give up at every moment, and what the others get is always the frame they asked for.
#[test]
fn h60_no_reader_ever_sees_what_another_ones_cancelled_read_left() {
    let s = setup(8 * LEN as u64, 64 * LEN as u64);
    let right = s.world.run(async {
        let readers = (0..2000_u64).map(|n| {
            let (pool, cache, env) = (s.pool.clone(), s.cache.clone(), s.env.clone());
            async move {
                env.clock.sleep(Duration::from_micros(env.rng.below(400_000))).await;
                let wanted = frame(env.rng.below(60) as u32);
                let patience = Duration::from_micros(env.rng.below(20_000));
                tokio::select! {
                    biased;
                    read = pool.get(&cache, wanted) => {
                        let bytes = read.expect("the pool is up");
                        assert!(bytes == content(wanted), "reader {n} got something else than {wanted}");
                        1
                    }
                    () = env.clock.sleep(patience) => 0,
                }
            }
        });
        join_all(readers).await.into_iter().sum::<u32>()
    });
    assert!((500..2000).contains(&right), "{right} of 2000 had the patience");
    assert_eq!(s.cache.stats().corrupt, 0);
}

#[test]
fn runs_fetch_only_what_is_neither_here_nor_on_its_way() {
    let s = setup(1 << 20, 0);
    s.read(3);
    let asked = |numbers: std::ops::Range<u32>| {
        let (pool, frames) = (s.pool.clone(), numbers.map(frame).collect::<Vec<_>>());
        s.cache.get_or_fetch_run(&frames, move |missing| {
            assert!(missing.is_sorted());
            pool.fetch(missing)
        })
    };
    let (a, b) = s.world.run(futures::future::join(asked(0..8), asked(4..12)));
    let wanted = |numbers: std::ops::Range<u32>| numbers.map(|n| content(frame(n))).collect::<Vec<_>>();
    assert!(a.is_ok_and(|bytes| bytes == wanted(0..8)) && b.is_ok_and(|bytes| bytes == wanted(4..12)));
    assert_eq!((s.pool.fetches(), s.pool.frames.load(Ordering::SeqCst)), (3, 12), "no frame twice");

    // Read-ahead: more than was asked for is kept.
    let pool = s.pool.clone();
    let ahead = s.cache.get_or_fetch_run(&[frame(20)], move |_| pool.fetch((20..24).map(frame).collect()));
    s.world.run(ahead).expect("the pool is up");
    let before = s.pool.fetches();
    (20..24).for_each(|number| s.read(number));
    assert_eq!(s.pool.fetches(), before);
    // A fetch that leaves out what it was asked for is a defect, not an empty frame.
    let nothing = s.cache.get_or_fetch_run(&[frame(30)], |_| Box::pin(async { Ok(Vec::new()) }));
    assert_eq!(s.world.run(nothing).map_err(|e| e.kind()), Err(ErrorKind::Internal));
}

#[test]
fn limits_of_memory_and_disk_hold_at_every_moment() {
    let (memory, disk) = (20 * LEN as u64, 100 * LEN as u64);
    let s = setup(memory, disk);
    for number in 0..400 {
        s.read(number);
        let stats = s.cache.stats();
        assert!(stats.memory_bytes <= memory && stats.disk_bytes <= disk, "{stats:?}");
        assert!(s.disk_bytes() <= disk);
        s.world.pass(MS);
        assert!(s.disk_bytes() <= disk);
    }
    let stats = s.cache.stats();
    assert!(stats.disk_bytes > disk / 10 * 9 && stats.memory_bytes > memory / 2, "and they are used: {stats:?}");
    let before = s.pool.fetches();
    (340..400).for_each(|number| s.read(number));
    let stats = s.cache.stats();
    assert_eq!(s.pool.fetches(), before, "the latest frames are here");
    assert!(stats.disk_hits >= 40, "{stats:?}");
}

#[test]
fn frames_that_are_used_outlive_their_file() {
    let s = setup(2 * LEN as u64, 100 * LEN as u64);
    s.read(0);
    s.world.pass(MS);
    for number in 1..500 {
        s.read(number);
        s.world.pass(MS);
        if number % 10 == 0 {
            s.read(0);
        }
    }
    assert!(s.pool.fetches() < 510, "{} fetches: frame 0 stayed", s.pool.fetches());
}

#[test]
fn h63_every_flipped_bit_on_the_cache_disk_costs_a_fetch_and_nothing_else() {
    for round in 0..40 {
        let s = setup(LEN as u64, 1 << 20);
        (0..20).for_each(|number| s.read(number));
        s.world.pass(MS);
        assert_eq!(s.cache.stats().disk_frames, 20);
        for path in s.files() {
            let bits = s.env.disk.metadata(Path::new(&path)).expect("it is there").len * 8;
            for n in 0..3 {
                let bit = (round * 7919 + n * 104_729 + n * bits / 3) % bits;
                s.world.disk().flip(&path, bit).expect("there is such a bit");
            }
        }
        (0..20).for_each(|number| s.read(number));
        let stats = s.cache.stats();
        assert!(stats.corrupt >= 1, "{stats:?}");
        assert_eq!(stats.fetches, 20 + stats.corrupt);
        // What was fetched again is whole again.
        s.world.pass(MS);
        let before = s.cache.stats().fetches;
        (0..20).for_each(|number| s.read(number));
        assert_eq!(s.cache.stats().fetches, before);
    }
}

#[test]
fn a_disk_that_lies_while_it_reads_is_noticed_at_each_use() {
    let s = setup(LEN as u64, 1 << 20);
    (0..20).for_each(|number| s.read(number));
    s.world.pass(MS);
    s.world.disk().arm(Fault::new(DIR, Ops::READ, When::Always, Effect::FlipBit));
    (0..20).for_each(|number| s.read(number));
    let stats = s.cache.stats();
    assert!(stats.corrupt >= 19 && stats.disk_hits == 0, "{stats:?}");
}

#[test]
fn a_full_or_failing_cache_disk_only_costs_the_disk_level() {
    for errno in [28, 5] {
        let s = setup(4 * LEN as u64, 1 << 20);
        (0..10).for_each(|number| s.read(number));
        s.world.pass(MS);
        let fault = s.world.disk().arm(Fault::new(DIR, Ops::WRITE | Ops::CREATE, When::Always, Effect::Partial(errno)));
        (10..40).for_each(|number| {
            s.read(number);
            s.world.pass(MS);
        });
        let stats = s.cache.stats();
        assert_eq!(stats.disk_errors, 1, "one error, then a pause: {stats:?}");
        assert!(stats.not_written >= 28, "{stats:?}");
        assert!(s.disk_bytes() <= stats.disk_bytes, "what a failed write left counts");
        s.world.disk().disarm(fault);
        s.world.pass(61_000 * MS);
        (40..60).for_each(|number| s.read(number));
        s.world.pass(MS);
        assert!(s.cache.stats().disk_frames >= 20, "it is used again: {:?}", s.cache.stats());
        (0..60).for_each(|number| s.read(number));
    }
}

#[test]
fn files_that_cannot_be_removed_do_not_break_the_limit() {
    let disk = 40 * LEN as u64;
    let s = setup(2 * LEN as u64, disk);
    s.world.disk().arm(Fault::new(DIR, Ops::REMOVE, When::Always, Effect::Errno(5)));
    for number in 0..200 {
        s.read(number);
        s.world.pass(61_000 * MS);
        assert!(s.disk_bytes() <= disk);
    }
    assert!(s.cache.stats().disk_errors > 0);
}

#[test]
fn opening_empties_the_folder_and_leaves_what_is_not_its_own() {
    let s = setup(1 << 20, 1 << 20);
    (0..10).for_each(|number| s.read(number));
    s.world.pass(MS);
    assert!(s.disk_bytes() > 0);
    s.world.run(s.cache.stop());
    s.env.disk.open(&Path::new(DIR).join("notes"), OpenMode::CreateNew).expect("a writable folder");
    let again = ReadCache::open(s.env.clone(), ReadCacheConfig::new(DIR, 1 << 20));
    assert_eq!(again.stats().disk_frames, 0);
    assert_eq!(s.files(), [format!("{DIR}/notes")]);
}

#[test]
fn a_folder_that_cannot_be_used_costs_the_disk_level_not_the_start() {
    let world = SimWorld::new(3);
    world.disk().arm(Fault::read_only("/data"));
    let env = world.env();
    let cache = ReadCache::open(env.clone(), ReadCacheConfig::new(DIR, 1 << 20));
    let pool = Pool::new(&env, 1);
    for number in [1, 2, 1] {
        assert!(world.run(pool.get(&cache, frame(number))).is_ok_and(|bytes| bytes == content(frame(number))));
    }
    assert_eq!((pool.fetches(), cache.stats().disk_bytes), (2, 0));
}

#[test]
fn a_slow_cache_disk_does_not_slow_reads_and_its_queue_is_bounded() {
    let s = setup(1 << 20, 1 << 24);
    s.world.disk().arm(Fault::new(DIR, Ops::WRITE, When::Always, Effect::Delay(Duration::from_secs(600))));
    let before = s.env.clock.monotonic();
    let config_queue = ReadCacheConfig::new(DIR, 0).queue_bytes_max;
    for number in 0..6000 {
        s.read(number);
    }
    let spent = s.env.clock.monotonic() - before;
    assert!(spent < Duration::from_secs(100), "6000 fetches of 10 ms took {spent:?}");
    assert!(s.cache.stats().not_written > 6000 - config_queue / LEN as u64 - 600, "{:?}", s.cache.stats());
}

#[test]
fn forgotten_segments_are_gone_from_both_levels() {
    let s = setup(1 << 20, 1 << 20);
    (90..110).for_each(|number| s.read(number));
    s.world.pass(MS);
    s.cache.forget(SegmentId(1));
    assert!((90..100).all(|number| !s.cache.holds(frame(number))));
    assert!((100..110).all(|number| s.cache.holds(frame(number))));
    (90..110).for_each(|number| s.read(number));
    assert_eq!(s.pool.fetches(), 30);
}

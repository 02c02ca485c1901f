//! One line per operation, for those who ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Lines that wait for one reader; beyond, they are lost and counted: a trace never holds an operation up.
const LINES_WAITING_MAX: usize = 4096;
/// Readers at a time.
const READERS_MAX: usize = 16;

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Wall clock at the end of the operation, in milliseconds since 1970.
    pub time_ms: u64,
    pub door: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub share: String,
    pub uid: u32,
    pub request: u64,
    pub op: String,
    pub ino: u64,
    /// From the root of the store; begins with an inode in brackets where the names above were not seen.
    pub path: String,
    /// The new path of a rename or link.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    pub offset: u64,
    pub len: u64,
    pub dur_us: u64,
    /// `ok`, or the kind of the error.
    pub result: String,
}

/// What a reader wants to see; what is not set lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceFilter {
    pub door: Option<String>,
    pub share: Option<String>,
    pub client: Option<String>,
    /// The path, or what lies below it.
    pub path: Option<String>,
    pub op: Option<String>,
    pub errors_only: bool,
    pub slower_than_us: u64,
}

impl TraceFilter {
    pub fn lets_through(&self, line: &Line) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let below = |wanted: &str, path: &str| {
            let wanted = wanted.trim_end_matches('/');
            path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        same(&self.door, &line.door)
            && same(&self.share, &line.share)
            && same(&self.client, &line.client)
            && same(&self.op, &line.op)
            && self.path.as_ref().is_none_or(|wanted| below(wanted, &line.path) || below(wanted, &line.to))
            && (!self.errors_only || line.result != "ok")
            && line.dur_us >= self.slower_than_us
    }
}

struct Reader {
    filter: TraceFilter,
    lines: mpsc::Sender<Arc<Line>>,
    lost: Arc<AtomicU64>,
}

#[derive(Default)]
pub(crate) struct Readers {
    count: AtomicUsize,
    all: Mutex<Vec<Reader>>,
}

/// The lines of one reader, from its beginning on. Dropping it ends it.
pub struct Trace {
    lines: mpsc::Receiver<Arc<Line>>,
    lost: Arc<AtomicU64>,
}

impl Trace {
    pub async fn next(&mut self) -> Option<Arc<Line>> {
        self.lines.recv().await
    }

    /// Lines that this reader was too slow for, since the last call.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl Readers {
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// `None` where there are too many already.
    pub(crate) fn add(&self, filter: TraceFilter) -> Option<Trace> {
        let mut all = self.all.lock();
        all.retain(|reader| !reader.lines.is_closed());
        if all.len() >= READERS_MAX {
            return None;
        }
        let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        all.push(Reader { filter, lines: sender, lost: Arc::clone(&lost) });
        self.count.store(all.len(), Ordering::Relaxed);
        Some(Trace { lines, lost })
    }

    pub(crate) fn tell(&self, line: &Arc<Line>) {
        let mut all = self.all.lock();
        all.retain(|reader| {
            if reader.filter.lets_through(line)
                && let Err(mpsc::error::TrySendError::Full(_)) = reader.lines.try_send(Arc::clone(line))
            {
                reader.lost.fetch_add(1, Ordering::Relaxed);
            }
            !reader.lines.is_closed()
        });
        self.count.store(all.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            door: "nfs".into(),
            client: "10.0.0.7".into(),
            share: "/export".into(),
            op: "read".into(),
            path: "/a/b".into(),
            dur_us: 10,
            result: "ok".into(),
            ..Line::default()
        }
    }

    #[test]
    fn a_filter_lets_through_what_fits_in_every_part() {
        let some = |text: &str| Some(text.to_owned());
        let all = TraceFilter::default();
        assert!(all.lets_through(&line()));
        for (filter, fits) in [
            (TraceFilter { client: some("10.0.0.7"), share: some("/export"), ..all.clone() }, true),
            (TraceFilter { client: some("10.0.0.8"), ..all.clone() }, false),
            (TraceFilter { path: some("/a"), ..all.clone() }, true),
            (TraceFilter { path: some("/a/"), ..all.clone() }, true),
            (TraceFilter { path: some("/"), ..all.clone() }, true),
            (TraceFilter { path: some("/a/b"), ..all.clone() }, true),
            (TraceFilter { path: some("/a/bb"), ..all.clone() }, false),
            (TraceFilter { path: some("/a/b/c"), ..all.clone() }, false),
            (TraceFilter { errors_only: true, ..all.clone() }, false),
            (TraceFilter { slower_than_us: 11, ..all.clone() }, false),
            (TraceFilter { op: some("write"), ..all }, false),
        ] {
            assert_eq!(filter.lets_through(&line()), fits, "{filter:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_reader_loses_lines_and_is_told_how_many() {
        let readers = Readers::default();
        assert!(!readers.any());
        let mut trace = readers.add(TraceFilter::default()).expect("there is room");
        assert!(readers.any());
        let line = Arc::new(line());
        (0..LINES_WAITING_MAX + 3).for_each(|_| readers.tell(&line));
        assert_eq!(trace.lost(), 3);
        assert_eq!(trace.next().await, Some(Arc::clone(&line)));
        drop(trace);
        readers.tell(&line);
        assert!(!readers.any());
    }

    #[test]
    fn readers_are_bounded_and_make_room_when_they_go() {
        let readers = Readers::default();
        let mut all: Vec<Trace> = (0..READERS_MAX).filter_map(|_| readers.add(TraceFilter::default())).collect();
        assert_eq!(all.len(), READERS_MAX);
        assert!(readers.add(TraceFilter::default()).is_none());
        all.pop();
        assert!(readers.add(TraceFilter::default()).is_some());
    }
}

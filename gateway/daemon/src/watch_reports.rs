//! What is said of what goes through the doors: `stats`, `top`, and the admin interface.

use std::fmt::Write;
use std::path::PathBuf;

use gateway_admin::{DoorStats, LatencyStats, Stats};
use serde::{Deserialize, Serialize};

use crate::units::{show_bytes, show_micros, show_seconds};

/// Clients that `top` shows.
const CLIENTS_SHOWN: usize = 5;
/// Longest name in a table; the end of a path says more than its beginning.
const NAME_CHARS_MAX: usize = 24;

/// The admin interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AdminReport {
    pub(crate) listen: String,
    pub(crate) token_file: PathBuf,
}

impl AdminReport {
    pub(crate) fn summary(&self) -> String {
        format!("http://{}/metrics (token in {})", self.listen, self.token_file.display())
    }
}

/// What goes on behind the doors, as far as memory says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    pub(crate) uptime_secs: f64,
    pub(crate) dirty_bytes: u64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) dirty_oldest_secs: Option<f64>,
    /// `idle`, `uploading`, `retrying`, `stopped`.
    pub(crate) upload_state: String,
    pub(crate) upload_bytes_per_sec: Option<u64>,
    /// Of blobs, since the start.
    pub(crate) upload_bytes: u64,
    pub(crate) journal_bytes: u64,
    pub(crate) cache_bytes: u64,
    /// Frames from the pool that were found in memory or on disk, and those that were not.
    pub(crate) cache_hits: u64,
    pub(crate) cache_misses: u64,
    pub(crate) nfs_connections: Option<u64>,
}

/// One look at a service, or the difference of two.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) stats: Stats,
    pub(crate) load: LoadReport,
}

/// `stats`, and each look of `top`.
#[derive(Debug, Serialize)]
pub(crate) struct StatsReport<'a> {
    /// What was counted in: since the start, or since the look before.
    seconds: f64,
    doors: Vec<DoorReport<'a>>,
    load: &'a LoadReport,
}

#[derive(Debug, Serialize)]
struct DoorReport<'a> {
    door: &'a str,
    in_flight: u64,
    ops: Vec<OpReport<'a>>,
    clients: Vec<ClientReport<'a>>,
}

#[derive(Debug, Serialize)]
struct OpReport<'a> {
    op: &'a str,
    calls: u64,
    errors: u64,
    bytes: u64,
    mean_us: u64,
    /// Ends of the buckets in which these lie: half, and 99 of 100, took less.
    p50_us: u64,
    p99_us: u64,
}

#[derive(Debug, Serialize)]
struct ClientReport<'a> {
    client: &'a str,
    ops: u64,
    errors: u64,
    bytes: u64,
    busy_us: u64,
}

impl<'a> OpReport<'a> {
    fn new(op: &'a str, errors: u64, bytes: u64, latency: &LatencyStats) -> Self {
        Self {
            op,
            calls: latency.count(),
            errors,
            bytes,
            mean_us: latency.mean_us(),
            p50_us: latency.quantile_us(0.5),
            p99_us: latency.quantile_us(0.99),
        }
    }
}

impl<'a> DoorReport<'a> {
    fn new(door: &'a DoorStats) -> Self {
        let client = |(client, stats): (&'a String, &gateway_admin::ClientStats)| ClientReport {
            client,
            ops: stats.ops,
            errors: stats.errors,
            bytes: stats.bytes,
            busy_us: stats.busy_us,
        };
        let mut clients: Vec<ClientReport<'a>> = door.clients.iter().map(client).collect();
        clients.sort_by_key(|client| std::cmp::Reverse((client.busy_us, client.ops)));
        let op = |op: &'a gateway_admin::OpStats| OpReport::new(&op.op, op.errors, op.bytes, &op.latency);
        Self { door: &door.door, in_flight: door.in_flight, ops: door.ops.iter().map(op).collect(), clients }
    }

    /// All operations as one.
    fn sum(door: &'a DoorStats) -> OpReport<'a> {
        let latency = door.ops.iter().fold(LatencyStats::default(), |sum, op| sum.plus(&op.latency));
        let (errors, bytes) = (door.ops.iter().map(|op| op.errors).sum(), door.ops.iter().map(|op| op.bytes).sum());
        OpReport::new(&door.door, errors, bytes, &latency)
    }
}

impl Sample {
    /// What happened since `before`; what is a state is as it is now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let load = LoadReport {
            upload_bytes: self.load.upload_bytes.saturating_sub(before.load.upload_bytes),
            cache_hits: self.load.cache_hits.saturating_sub(before.load.cache_hits),
            cache_misses: self.load.cache_misses.saturating_sub(before.load.cache_misses),
            ..self.load.clone()
        };
        Self { stats: self.stats.since(&before.stats), load }
    }

    /// As counted since the start.
    pub(crate) fn report(&self) -> StatsReport<'_> {
        self.report_of(self.load.uptime_secs)
    }

    /// Of what [`Sample::since`] gives.
    pub(crate) fn report_between(&self) -> StatsReport<'_> {
        self.report_of(self.seconds())
    }

    fn report_of(&self, seconds: f64) -> StatsReport<'_> {
        StatsReport { seconds, doors: self.stats.doors.iter().map(DoorReport::new).collect(), load: &self.load }
    }

    fn seconds(&self) -> f64 {
        self.stats.at_us as f64 / 1e6
    }

    /// `stats`: a table for each door.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for door in self.report().doors {
            let (name, flight) = (shown(door.door), door.in_flight);
            writeln!(out, "{name}: {} under way, up {}", flight, show_seconds(self.load.uptime_secs)).ok();
            row(&mut out, "operation", ["calls", "errors", "bytes", "mean", "p50 <", "p99 <"].map(str::to_owned));
            for op in &door.ops {
                row(
                    &mut out,
                    op.op,
                    [
                        op.calls.to_string(),
                        op.errors.to_string(),
                        bytes_or_none(op.bytes),
                        show_micros(op.mean_us),
                        show_micros(op.p50_us),
                        show_micros(op.p99_us),
                    ],
                );
            }
            if door.ops.is_empty() {
                writeln!(out, "nothing was called yet").ok();
            }
            out.push('\n');
        }
        out
    }

    /// `top`: rates of what [`Sample::since`] gives.
    pub(crate) fn rates(&self) -> String {
        let mut out = String::new();
        let load = &self.load;
        let oldest = load.dirty_oldest_secs.map_or_else(String::new, |age| format!(", oldest {}", show_seconds(age)));
        let (dirty, most) = (show_bytes(load.dirty_bytes), show_bytes(load.dirty_bytes_max));
        writeln!(out, "dirty     {dirty} of at most {most}{oldest}").ok();
        let rate =
            load.upload_bytes_per_sec.map_or_else(String::new, |rate| format!(", {}/s of late", show_bytes(rate)));
        writeln!(out, "upload    {}{rate}", load.upload_state).ok();
        let looked = load.cache_hits + load.cache_misses;
        let hits = match looked {
            0 => "nothing asked of it".to_owned(),
            _ => format!("{:.0} % of {looked} frames found", load.cache_hits as f64 * 100.0 / looked as f64),
        };
        writeln!(out, "cache     {hits}, {} on disk\n", show_bytes(load.cache_bytes)).ok();
        row(&mut out, "door", ["ops/s", "errors/s", "bytes/s", "mean", "p50 <", "p99 <"].map(str::to_owned));
        for door in &self.stats.doors {
            let sum = DoorReport::sum(door);
            row(
                &mut out,
                &shown(sum.op),
                [
                    self.per_second(sum.calls),
                    self.per_second(sum.errors),
                    self.bytes_per_second(sum.bytes),
                    show_micros(sum.mean_us),
                    show_micros(sum.p50_us),
                    show_micros(sum.p99_us),
                ],
            );
        }
        let doors = self.report_between().doors;
        let mut clients: Vec<ClientReport<'_>> = doors.into_iter().flat_map(|door| door.clients).collect();
        clients.sort_by_key(|client| std::cmp::Reverse((client.busy_us, client.ops)));
        if !clients.is_empty() {
            out.push('\n');
            row(&mut out, "client", ["ops/s", "errors/s", "bytes/s", "at work", "", ""].map(str::to_owned));
        }
        for client in clients.iter().take(CLIENTS_SHOWN) {
            // More than one request at a time may be: 250 % are two and a half on the average.
            let busy = client.busy_us as f64 / 1e4 / self.seconds().max(f64::MIN_POSITIVE);
            row(
                &mut out,
                &shown(client.client),
                [
                    self.per_second(client.ops),
                    self.per_second(client.errors),
                    self.bytes_per_second(client.bytes),
                    format!("{busy:.0} %"),
                    String::new(),
                    String::new(),
                ],
            );
        }
        out
    }

    fn rate(&self, count: u64) -> f64 {
        let seconds = self.seconds();
        // A service that was started in between counts from the beginning, and its clock may be behind.
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    fn per_second(&self, count: u64) -> String {
        format!("{:.0}", self.rate(count))
    }

    fn bytes_per_second(&self, bytes: u64) -> String {
        bytes_or_none(self.rate(bytes) as u64)
    }
}

fn bytes_or_none(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { show_bytes(bytes) }
}

fn row(out: &mut String, name: &str, cells: [String; 6]) {
    let [a, b, c, d, e, f] = cells;
    let line = format!("{name:<NAME_CHARS_MAX$} {a:>9} {b:>8} {c:>9} {d:>8} {e:>8} {f:>8}");
    writeln!(out, "{}", line.trim_end()).ok();
}

/// A name as it fits: which door it is stays, and of a path its end.
fn shown(name: &str) -> String {
    let name = plain(name);
    if name.chars().count() <= NAME_CHARS_MAX {
        return name;
    }
    let (door, path) = match name.split_once(' ') {
        Some((door, path)) if door.len() < NAME_CHARS_MAX / 2 => (format!("{door} "), path),
        _ => (String::new(), name.as_str()),
    };
    let end_chars = NAME_CHARS_MAX - 1 - door.chars().count();
    let end: String = path.chars().skip(path.chars().count().saturating_sub(end_chars)).collect();
    format!("{door}…{end}")
}

/// Text from outside, for a terminal: what would move its cursor is shown as an escape.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use gateway_admin::{ClientStats, OpStats};

    use super::*;

    fn op(name: &str, calls: u64, errors: u64, bytes: u64) -> OpStats {
        // All of them took 4 to 8 microseconds.
        let latency = LatencyStats { counts: vec![0, 0, 0, calls], sum_us: calls * 6 };
        OpStats { op: name.to_owned(), errors, bytes, latency }
    }

    fn sample(at_secs: u64, calls: u64) -> Sample {
        let client = ClientStats { ops: calls, errors: 1, bytes: calls * 1024, busy_us: calls * 6 };
        let door = DoorStats {
            door: "nfs".to_owned(),
            in_flight: 2,
            ops: vec![op("read", calls, 1, calls * 1024), op("lookup", 10, 0, 0)],
            clients: [("10.0.0.7".to_owned(), client)].into(),
        };
        let load =
            LoadReport { cache_hits: calls, cache_misses: calls / 3, uptime_secs: 90.0, ..LoadReport::default() };
        Sample { stats: Stats { at_us: at_secs * 1_000_000, doors: vec![door] }, load }
    }

    #[test]
    fn a_table_has_a_row_for_each_operation_that_was_called() {
        let table = sample(5, 300).table();
        let read: Vec<&str> =
            table.lines().find(|line| line.starts_with("read")).expect("a row").split_whitespace().collect();
        assert_eq!(read, ["read", "300", "1", "300", "KiB", "6", "us", "8", "us", "8", "us"]);
        assert!(table.contains("nfs: 2 under way") && !table.contains("write"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn rates_are_of_what_happened_between_two_looks() {
        let rates = sample(7, 900).since(&sample(5, 300)).rates();
        let row = |name: &str| {
            let line = rates.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {rates}"));
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("nfs")[1..5], ["300", "0", "300", "KiB"], "600 reads in two seconds, and no lookup");
        assert_eq!(row("10.0.0.7")[1], "300");
        assert!(rates.contains("75 % of 800 frames found"), "{rates}");
        assert!(rates.lines().all(|line| line.chars().count() <= 80), "{rates}");
        let restarted = sample(1, 5).since(&sample(100, 900)).rates();
        assert!(restarted.contains("nothing asked of it"), "{restarted}");
    }

    #[test]
    fn json_says_calls_and_quantiles() {
        let sample = sample(5, 300);
        let json = serde_json::to_value(sample.report()).expect("plain");
        let read = &json["doors"][0]["ops"][0];
        assert_eq!((&read["op"], &read["calls"], &read["p99_us"]), (&"read".into(), &300.into(), &8.into()));
        assert_eq!(json["doors"][0]["clients"][0]["client"], "10.0.0.7");
        assert_eq!(json["seconds"], 90.0);
    }

    #[test]
    fn names_from_outside_cannot_move_the_cursor_and_fit() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        let long = shown("fuse /a/very/long/mount/point/at/the/end");
        assert_eq!(long, "fuse …t/point/at/the/end");
        assert_eq!(long.chars().count(), NAME_CHARS_MAX);
        assert_eq!(shown("2001:db8:0000:0000:0000:ff00:0042:8329"), "…000:0000:ff00:0042:8329");
    }
}

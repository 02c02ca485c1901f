//! Reading one row: the wanted cells, and as many others as it takes when some are missing, corrupt or slow.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};

use crate::encode::code_error;
use crate::layout::Layout;
use crate::pool::Inner;

/// After this nobody waits for a drive any more.
const READ_DEADLINE: Duration = Duration::from_secs(60);
/// Rebuilding up to this many input bytes takes well under a millisecond and stays on the caller's thread.
const INLINE_REBUILD_BYTES: u64 = 4 << 20;

/// A wanted part of a cell: index in the row, range within the cell.
pub(crate) type Wanted = (usize, Range<u64>);

struct Answer {
    ticket: usize,
    result: Result<Bytes>,
}

/// A read under way.
struct Pending {
    ticket: usize,
    index: usize,
    range: Range<u64>,
    /// It has outlived a hedge delay and is not counted on any more.
    slow: bool,
}

/// The state of one row's read. Indices are those of shards, 0..k data, k..k+m parity.
pub(crate) struct RowRead<'a> {
    pool: &'a Inner,
    layout: &'a Layout,
    row: u64,
    wanted: &'a [Wanted],
    got: Vec<(usize, Range<u64>, Bytes)>,
    /// Per index: whether asking (again) is useless.
    failed: Vec<bool>,
    /// Per index: whether that is so because the drive is away.
    away: Vec<bool>,
    pending: Vec<Pending>,
    tickets: usize,
    hedged: bool,
    last_error: Option<Error>,
}

type Reads<'a> = FuturesUnordered<BoxFuture<'a, Answer>>;

impl<'a> RowRead<'a> {
    pub(crate) fn new(pool: &'a Inner, layout: &'a Layout, row: u64, wanted: &'a [Wanted]) -> Self {
        let is_away = |slot: u16| pool.slot(slot).drive().is_none();
        let failed = layout.slots.iter().map(|slot| slot.is_none_or(is_away)).collect();
        let away = layout.slots.iter().map(|slot| slot.is_some_and(is_away)).collect();
        Self {
            pool,
            layout,
            row,
            wanted,
            got: Vec::new(),
            failed,
            away,
            pending: Vec::new(),
            tickets: 0,
            hedged: false,
            last_error: None,
        }
    }

    /// The bytes of each wanted part, in order.
    ///
    /// # Errors
    /// `Damaged` where fewer than k cells can be read; `Unavailable` where so many drives are away that the
    /// blob may be whole; `TimedOut`.
    pub(crate) async fn run(mut self) -> Result<Vec<Bytes>> {
        let mut reads: Reads<'a> = FuturesUnordered::new();
        let started = self.pool.now();
        // A blob that has lost too much is damaged as a whole: an answer must not depend on which part is asked for.
        if self.failed.iter().filter(|failed| !**failed).count() < self.pool.config.k {
            return Err(self.too_few());
        }
        self.ask_wanted(&mut reads);
        loop {
            if let Some(parts) = self.parts() {
                return Ok(parts);
            }
            if let Some(sources) = self.rebuild_sources() {
                return self.rebuild(sources).await;
            }
            self.ask_others(&mut reads);
            if self.pending.is_empty() {
                return Err(self.too_few());
            }
            if self.pool.now().saturating_sub(started) > READ_DEADLINE {
                let why = format!("drives do not answer: {}", self.silent());
                return Err(Error::new(ErrorKind::TimedOut, "read blob")
                    .entity(self.layout.identity.name.blob)
                    .context(why));
            }
            let timer = self.pool.env.clock.sleep(self.pool.hedge_delay());
            match select(reads.next(), timer).await {
                Either::Left((Some(answer), _)) => self.take(answer),
                Either::Left((None, _)) => return Err(self.too_few()),
                Either::Right(_) => self.give_up_on_pending(),
            }
        }
    }

    /// First the wanted cells themselves, those on suspect drives only where parity does not suffice.
    fn ask_wanted(&mut self, reads: &mut Reads<'a>) {
        let now = self.pool.now();
        let is_suspect = |index: usize| self.layout.slots[index].is_some_and(|s| self.pool.slot(s).is_suspect(now));
        let trusted = (0..self.failed.len()).filter(|&index| !self.failed[index] && !is_suspect(index)).count();
        let avoid_suspects = trusted >= self.pool.config.k;
        let direct: Vec<&'a Wanted> = self
            .wanted
            .iter()
            .filter(|(index, _)| !(self.failed[*index] || avoid_suspects && is_suspect(*index)))
            .collect();
        for (index, range) in direct {
            self.ask(reads, *index, range.clone());
        }
    }

    fn ask(&mut self, reads: &mut Reads<'a>, index: usize, range: Range<u64>) {
        let Some(slot) = self.layout.slots[index] else { return };
        self.tickets += 1;
        let ticket = self.tickets;
        let cell = self.layout.stripe.cell_in_shard(self.row);
        let in_shard = cell.start + range.start..cell.start + range.end;
        let (pool, layout) = (self.pool, self.layout);
        reads.push(Box::pin(
            async move { Answer { ticket, result: pool.read_cell(slot, layout, index, in_shard).await } },
        ));
        self.pending.push(Pending { ticket, index, range, slow: false });
    }

    fn take(&mut self, answer: Answer) {
        let Some(at) = self.pending.iter().position(|p| p.ticket == answer.ticket) else { return };
        let pending = self.pending.swap_remove(at);
        match answer.result {
            Ok(bytes) => self.got.push((pending.index, pending.range, bytes)),
            Err(e) => {
                self.failed[pending.index] = true;
                self.away[pending.index] = e.kind() == ErrorKind::Unavailable;
                self.last_error = Some(e);
            }
        }
    }

    fn give_up_on_pending(&mut self) {
        if self.pending.iter().any(|p| !p.slow) {
            self.hedged = true;
        }
        self.pending.iter_mut().for_each(|p| p.slow = true);
    }

    fn holding(&self, index: usize, range: &Range<u64>) -> Option<Bytes> {
        let fits = |held: &Range<u64>| held.start <= range.start && held.end >= range.end;
        let (_, held, bytes) = self.got.iter().find(|(i, held, _)| *i == index && fits(held))?;
        Some(bytes.slice((range.start - held.start) as usize..(range.end - held.start) as usize))
    }

    fn parts(&self) -> Option<Vec<Bytes>> {
        self.wanted.iter().map(|(index, range)| self.holding(*index, range)).collect()
    }

    /// The smallest range of a cell that covers every wanted part not yet read.
    fn hull(&self) -> Range<u64> {
        let open = self.wanted.iter().filter(|(index, range)| self.holding(*index, range).is_none());
        let cover = |a: Range<u64>, b: Range<u64>| a.start.min(b.start)..a.end.max(b.end);
        open.map(|(_, range)| range.clone()).reduce(cover).unwrap_or_default()
    }

    /// k cells that hold the hull, if so many have been read.
    fn rebuild_sources(&self) -> Option<Vec<(usize, Bytes)>> {
        let hull = self.hull();
        let held = (0..self.failed.len()).filter_map(|index| self.holding(index, &hull).map(|bytes| (index, bytes)));
        let sources: Vec<_> = held.take(self.pool.config.k).collect();
        (sources.len() == self.pool.config.k).then_some(sources)
    }

    /// Starts as many reads as rebuilding still lacks, where a wanted cell cannot be counted on.
    fn ask_others(&mut self, reads: &mut Reads<'a>) {
        let counted_on = |row: &Self, index: usize, range: &Range<u64>| {
            let fits = |p: &&Pending| p.index == index && p.range.start <= range.start && p.range.end >= range.end;
            row.pending.iter().find(fits).map(|p| !p.slow)
        };
        let is_open = |row: &Self, (index, range): &Wanted| {
            row.holding(*index, range).is_none() && counted_on(row, *index, range) != Some(true)
        };
        if !self.wanted.iter().any(|wanted| is_open(self, wanted)) {
            return;
        }
        let hull = self.hull();
        let usable =
            |index: usize| self.holding(index, &hull).is_some() || counted_on(self, index, &hull) == Some(true);
        let have = (0..self.failed.len()).filter(|&index| usable(index)).count();
        let now = self.pool.now();
        let idle = |&index: &usize| {
            !self.failed[index] && self.holding(index, &hull).is_none() && counted_on(self, index, &hull).is_none()
        };
        let mut others: Vec<usize> = (0..self.failed.len()).filter(idle).collect();
        others
            .sort_by_key(|&index| (self.layout.slots[index].is_some_and(|s| self.pool.slot(s).is_suspect(now)), index));
        for index in others.into_iter().take(self.pool.config.k.saturating_sub(have)) {
            self.ask(reads, index, hull.clone());
        }
    }

    async fn rebuild(&self, sources: Vec<(usize, Bytes)>) -> Result<Vec<Bytes>> {
        let hull = self.hull();
        let open: Vec<usize> =
            self.wanted.iter().filter(|(i, range)| self.holding(*i, range).is_none()).map(|(i, _)| *i).collect();
        self.count_rebuild();
        let rebuilt = self.pool.rebuild_cells(sources, open, hull.end - hull.start).await?;
        let part = |(index, range): &Wanted| {
            self.holding(*index, range).or_else(|| {
                let (_, cell) = rebuilt.iter().find(|(i, _)| i == index)?;
                Some(cell.slice((range.start - hull.start) as usize..(range.end - hull.start) as usize))
            })
        };
        let parts: Option<Vec<Bytes>> = self.wanted.iter().map(part).collect();
        parts.ok_or_else(|| Error::new(ErrorKind::Internal, "rebuild cells"))
    }

    fn count_rebuild(&self) {
        self.pool.counters.reconstructed();
        if self.hedged {
            self.pool.counters.hedged();
            let now = self.pool.now();
            let late = self.pending.iter().filter(|p| p.slow).filter_map(|p| self.layout.slots[p.index]);
            late.for_each(|slot| self.pool.slot(slot).slow(now));
        }
    }

    fn silent(&self) -> String {
        let slots: Vec<u16> = self.pending.iter().filter_map(|p| self.layout.slots[p.index]).collect();
        self.pool.places(&slots)
    }

    /// The drives that cannot be asked, whether for a shard that they are known to hold or not.
    fn drives_away(&self) -> Vec<u16> {
        let holders = self.layout.slots.iter().zip(&self.away).filter(|(_, away)| **away);
        let mut drives: Vec<u16> = holders.filter_map(|(slot, _)| *slot).collect();
        drives.extend(&self.layout.unreachable);
        drives.sort_unstable();
        drives.dedup();
        drives
    }

    /// Names the blob and every drive that holds or should hold a shard that cannot be read.
    fn too_few(&mut self) -> Error {
        let lost = self.failed.iter().filter(|failed| **failed).count();
        let mut bad: Vec<u16> = Vec::new();
        for (index, slot) in self.layout.slots.iter().enumerate().filter(|(index, _)| self.failed[*index]) {
            tracing::debug!(blob = %self.layout.identity.name.blob, index, ?slot, "shard cannot be read");
            bad.extend(slot);
        }
        let holders: Vec<u16> = self.layout.slots.iter().flatten().copied().collect();
        bad.extend(self.pool.slots.iter().map(|slot| slot.number).filter(|slot| !holders.contains(slot)));
        bad.sort_unstable();
        bad.dedup();
        let (k, m) = (self.pool.config.k, self.pool.config.m);
        let (kind, are) = match self.pool.may_come_back(self.layout.identity.name.blob, &self.drives_away()) {
            true => (ErrorKind::Unavailable, "are away or lost"),
            false => (ErrorKind::Damaged, "are lost"),
        };
        let why =
            format!("{lost} of {} shards {are}, code {k}+{m} rebuilds {m}; drives: {}", k + m, self.pool.places(&bad));
        let error = Error::new(kind, "read blob").entity(self.layout.identity.name.blob).context(why);
        match self.last_error.take() {
            Some(e) => error.source(e),
            None => error,
        }
    }
}

impl Inner {
    /// Computes the cells `missing` from k others, `len` bytes each.
    pub(crate) async fn rebuild_cells(
        &self,
        sources: Vec<(usize, Bytes)>,
        missing: Vec<usize>,
        len: u64,
    ) -> Result<Vec<(usize, Bytes)>> {
        let codec = std::sync::Arc::clone(&self.codec);
        let input_bytes = len * sources.len() as u64;
        let work = move || {
            let present: Vec<(usize, &[u8])> = sources.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
            let mut made: Vec<(usize, BytesMut)> =
                missing.into_iter().map(|index| (index, BytesMut::zeroed(len as usize))).collect();
            let mut outputs: Vec<(usize, &mut [u8])> = made.iter_mut().map(|(i, cell)| (*i, &mut cell[..])).collect();
            codec.reconstruct(&present, &mut outputs).map_err(code_error)?;
            Ok(made.into_iter().map(|(index, cell)| (index, cell.freeze())).collect())
        };
        if input_bytes <= INLINE_REBUILD_BYTES { work() } else { self.env.blocking(work).await }
    }
}

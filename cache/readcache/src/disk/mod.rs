//! The second level: frames in a few append-only files, found through an index in memory.
//!
//! Files are written one after the other and dropped as a whole, oldest first, so writing is sequential and the limit
//! is kept without a free list. Frames of the oldest file that were used go to the head again. The files are worth
//! nothing to the next process: opening empties the folder. Lock order: `writing`, then `state`; no I/O under `state`.

mod entry;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_journal::{FrameId, SegmentId};
use objstore_base::{Error, ErrorKind, Result};
use objstore_env::{DiskFile, Env, OpenMode};
use parking_lot::Mutex;

use entry::{HEAD_BYTES, Head};

/// The limit is shared out over about this many files, so dropping one frees a few percent.
const FILES: u64 = 32;
const FILE_BYTES_MAX: u64 = 64 << 20;
/// After a failed write nothing is written for this long: the disk is full or failing, and reads do not need it.
const PAUSE: Duration = Duration::from_secs(60);
/// Of the oldest file at most this share goes to the head again; more would make the cache write more than it keeps.
const KEPT_SHARE: u64 = 4;

#[derive(Clone, Copy)]
struct Place {
    file: u64,
    offset: u64,
    head: Head,
    used: bool,
}

struct CacheFile {
    number: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    frames: Vec<FrameId>,
}

#[derive(Default)]
struct State {
    index: BTreeMap<FrameId, Place>,
    files: VecDeque<CacheFile>,
    bytes: u64,
    next: u64,
    /// The last file is not written any further: a write to it failed.
    closed: bool,
    paused_until: Option<Duration>,
}

/// What a look at the disk level gave.
pub(crate) enum Found {
    Bytes(Bytes),
    Missing,
    /// There was an entry, and it did not verify.
    Corrupt,
    Failed(Error),
}

pub(crate) struct DiskLevel {
    env: Env,
    dir: PathBuf,
    bytes_max: u64,
    file_bytes: u64,
    state: Mutex<State>,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl DiskLevel {
    /// An empty level in `dir`; files of an earlier process are removed.
    pub(crate) fn open(env: Env, dir: PathBuf, bytes_max: u64) -> Result<Self> {
        let disk = &env.disk;
        disk.create_dir_all(&dir).map_err(|e| Error::io("open read cache", e).entity(dir.display()))?;
        let names = disk.list(&dir).map_err(|e| Error::io("open read cache", e).entity(dir.display()))?;
        for name in names.iter().filter(|n| !n.is_dir && is_own(&n.name)) {
            let path = dir.join(&name.name);
            disk.remove_file(&path).map_err(|e| Error::io("empty read cache", e).entity(path.display()))?;
        }
        let file_bytes = (bytes_max / FILES).min(FILE_BYTES_MAX);
        Ok(Self { env, dir, bytes_max, file_bytes, state: Mutex::default(), writing: Mutex::default() })
    }

    pub(crate) fn holds(&self, frame: FrameId) -> bool {
        self.state.lock().index.contains_key(&frame)
    }

    /// Bytes and frames held.
    pub(crate) fn size(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.bytes, state.index.len() as u64)
    }

    /// Whether writing is paused after an error.
    pub(crate) fn paused(&self) -> bool {
        let until = self.state.lock().paused_until;
        until.is_some_and(|until| self.env.clock.monotonic() < until)
    }

    /// The verified bytes of a frame. Blocks. An entry that fails is forgotten.
    pub(crate) fn read(&self, frame: FrameId) -> Found {
        let (place, file) = {
            let mut state = self.state.lock();
            let Some(place) = state.index.get_mut(&frame) else { return Found::Missing };
            place.used = true;
            let place = *place;
            let Some(file) = state.files.iter().find(|f| f.number == place.file) else { return Found::Missing };
            (place, file.file.clone())
        };
        let found = read_entry(file.as_ref(), &place, frame);
        if !matches!(found, Found::Bytes(_)) {
            let mut state = self.state.lock();
            if state.index.get(&frame).is_some_and(|p| (p.file, p.offset) == (place.file, place.offset)) {
                state.index.remove(&frame);
            }
        }
        found
    }

    /// Writes frames that are not there yet. Blocks. The limit holds at every moment: room is made before.
    ///
    /// # Errors
    /// What the disk said; nothing is written until the pause is over.
    pub(crate) fn write(&self, frames: Vec<(FrameId, Bytes)>) -> Result<()> {
        let writing = self.writing.lock();
        let mut queue: VecDeque<(FrameId, Bytes)> = frames.into();
        let mut written = Ok(());
        while let Some((frame, bytes)) = queue.pop_front() {
            let len = HEAD_BYTES as u64 + bytes.len() as u64;
            if self.holds(frame) || len > self.bytes_max {
                continue;
            }
            written = self.make_room(len, &mut queue).and_then(|()| self.append(frame, &bytes));
            if let Err(error) = &written {
                self.pause(error);
                break;
            }
        }
        drop(writing);
        written
    }

    /// Drops the oldest files until `len` more bytes fit; used frames of them go to the queue. The caller writes.
    fn make_room(&self, len: u64, queue: &mut VecDeque<(FrameId, Bytes)>) -> Result<()> {
        while self.state.lock().bytes + len > self.bytes_max {
            let kept = self.drop_oldest()?;
            queue.extend(kept);
        }
        Ok(())
    }

    /// Removes the oldest file and gives the frames in it that are worth another round.
    fn drop_oldest(&self) -> Result<Vec<(FrameId, Bytes)>> {
        let (oldest, used) = {
            let mut state = self.state.lock();
            let Some(oldest) = state.files.pop_front() else {
                let why = "files that could not be removed take all of its room";
                return Err(Error::new(ErrorKind::NoSpace, "write read cache").entity(self.dir.display()).context(why));
            };
            if state.files.is_empty() {
                state.closed = false;
            }
            let mut used = Vec::new();
            for frame in &oldest.frames {
                if let Some(place) = state.index.get(frame).copied().filter(|p| p.file == oldest.number) {
                    state.index.remove(frame);
                    used.extend(place.used.then_some((*frame, place)));
                }
            }
            (oldest, used)
        };
        let mut left = self.file_bytes / KEPT_SHARE;
        let mut kept = Vec::new();
        for (frame, place) in used {
            let Some(rest) = left.checked_sub(u64::from(place.head.len)) else { break };
            if let Found::Bytes(bytes) = read_entry(oldest.file.as_ref(), &place, frame) {
                kept.push((frame, bytes));
                left = rest;
            }
        }
        let path = self.path(oldest.number);
        match self.env.disk.remove_file(&path) {
            // Somebody emptied the folder.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            // Its bytes count for ever: a file that cannot be removed must not break the limit silently.
            removed => removed.map_err(|e| Error::io("drop file of the read cache", e).entity(path.display()))?,
        }
        self.state.lock().bytes -= oldest.len;
        Ok(kept)
    }

    fn append(&self, frame: FrameId, bytes: &Bytes) -> Result<()> {
        let head = Head::new(frame, bytes);
        let len = HEAD_BYTES as u64 + bytes.len() as u64;
        let (number, file, offset) = self.file_for(len)?;
        self.env.failpoints.hit("readcache.write").map_err(|e| Error::io("readcache.write", e))?;
        let encoded = head.encode(frame);
        let parts = [IoSlice::new(&encoded), IoSlice::new(bytes)];
        let written = file.write_all_at(&parts, offset);
        let mut state = self.state.lock();
        // A failed write may have written all the same.
        state.bytes += len;
        if let Some(last) = state.files.back_mut() {
            last.len += len;
            if written.is_ok() {
                last.frames.push(frame);
            }
        }
        written.map_err(|e| Error::io("write read cache", e).entity(self.dir.display()))?;
        state.index.insert(frame, Place { file: number, offset, head, used: false });
        Ok(())
    }

    /// The file to append `len` bytes to, and where: the last one, or a new one.
    fn file_for(&self, len: u64) -> Result<(u64, Arc<dyn DiskFile>, u64)> {
        let number = {
            let state = self.state.lock();
            if let Some(last) = state.files.back().filter(|last| !state.closed && last.len + len <= self.file_bytes) {
                return Ok((last.number, last.file.clone(), last.len));
            }
            state.next
        };
        let path = self.path(number);
        let file = self.env.disk.open(&path, OpenMode::Truncate);
        let file = file.map_err(|e| Error::io("create file of the read cache", e).entity(path.display()))?;
        let mut state = self.state.lock();
        state.next += 1;
        state.closed = false;
        state.files.push_back(CacheFile { number, file: file.clone(), len: 0, frames: Vec::new() });
        Ok((number, file, 0))
    }

    fn pause(&self, error: &Error) {
        tracing::warn!(%error, pause_s = PAUSE.as_secs(), "the read cache's disk level takes nothing for a while");
        {
            let mut state = self.state.lock();
            state.closed = true;
            state.paused_until = Some(self.env.clock.monotonic() + PAUSE);
        }
        // A full filesystem may be the journal's too, which needs the room more.
        if error.kind() == ErrorKind::NoSpace
            && self.size().0 > 0
            && let Err(error) = self.drop_oldest()
        {
            tracing::warn!(%error, "the read cache could not make room");
        }
    }

    /// Forgets every frame; the files are overwritten as room is needed.
    pub(crate) fn clear(&self) {
        self.state.lock().index.clear();
    }

    pub(crate) fn forget(&self, segment: SegmentId) {
        let mut state = self.state.lock();
        let range = FrameId::new(segment, Default::default())..FrameId::new(segment.next(), Default::default());
        let frames: Vec<FrameId> = state.index.range(range).map(|(frame, _)| *frame).collect();
        frames.iter().for_each(|frame| {
            state.index.remove(frame);
        });
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("frames-{number:08}.cache"))
    }
}

fn is_own(name: &str) -> bool {
    name.starts_with("frames-") && name.ends_with(".cache")
}

fn read_entry(file: &dyn DiskFile, place: &Place, frame: FrameId) -> Found {
    let mut whole = vec![0; HEAD_BYTES + place.head.len as usize];
    match file.read_exact_at(&mut whole, place.offset) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Found::Corrupt,
        Err(e) => return Found::Failed(Error::io("read the read cache", e).entity(frame)),
    }
    let whole = Bytes::from(whole);
    let (head, bytes) = (whole.slice(..HEAD_BYTES), whole.slice(HEAD_BYTES..));
    if Head::decode(frame, &head) == Some(place.head) && Head::new(frame, &bytes) == place.head {
        Found::Bytes(bytes)
    } else {
        Found::Corrupt
    }
}

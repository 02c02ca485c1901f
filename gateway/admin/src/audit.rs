//! The audit log: who opened, read, changed or removed what, with success and failure; JSON lines in files that rotate.
//!
//! Lines are written by a thread of their own. Where it cannot keep up, or the disk refuses, lines are lost: they are
//! counted, and the next line that gets through says how many. An operation never waits for its line.

#![allow(clippy::disallowed_methods, reason = "a log for people, beside the store and not part of its state")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use objstore_base::{Error, Result};
use objstore_env::{Env, TaskHandle};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use crate::trace::Line;

/// Lines that wait for the thread.
const LINES_WAITING_MAX: usize = 65_536;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// The file being written; older ones are beside it with `.1`, `.2`, … at the end, the youngest first.
    pub path: PathBuf,
    /// Shares that are audited; all, doors without shares too, where there is none in it.
    pub shares: Vec<String>,
    /// A file of this size becomes the first of the older ones.
    pub file_bytes_max: u64,
    /// Older files that are kept.
    pub older_files_max: u32,
}

/// A log being written. Dropping it ends the thread once everything is written.
pub struct AuditLog {
    config: Arc<RwLock<AuditConfig>>,
    lines: mpsc::Sender<Arc<Line>>,
    lost: Arc<AtomicU64>,
    writing: Box<dyn TaskHandle>,
}

impl AuditLog {
    /// # Errors
    /// Where the file cannot be opened.
    pub fn start(env: &Env, config: AuditConfig) -> Result<Arc<Self>> {
        let (file, size) =
            open(&config.path).map_err(|e| Error::io("open audit log", e).entity(config.path.display()))?;
        let (sender, mut lines) = mpsc::channel::<Arc<Line>>(LINES_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let config = Arc::new(RwLock::new(config));
        let mut files = Files { file, size, config: Arc::clone(&config) };
        let counter = Arc::clone(&lost);
        let writing = env.tasks.blocking(Box::new(move || {
            while let Some(line) = lines.blocking_recv() {
                if let Err(error) = files.write(&line, counter.swap(0, Ordering::Relaxed)) {
                    counter.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, path = %files.config.read().path.display(), "the audit log cannot be written");
                }
            }
        }));
        let writing = env.tasks.spawn("audit log", writing);
        Ok(Arc::new(Self { config, lines: sender, lost, writing }))
    }

    /// Follows `config` from the next operation on, without losing a line; `false` where it names another file, which
    /// takes a log of its own.
    pub fn follow(&self, config: AuditConfig) -> bool {
        let mut current = self.config.write();
        let same = current.path == config.path;
        if same {
            *current = config;
        }
        same
    }

    /// Waits until everything is written, where nobody else has this log any more.
    pub async fn close(self: Arc<Self>) {
        if let Some(Self { lines, writing, .. }) = Arc::into_inner(self) {
            drop(lines);
            writing.join().await;
        }
    }

    pub(crate) fn wants(&self, share: &str) -> bool {
        let shares = &self.config.read().shares;
        shares.is_empty() || shares.iter().any(|wanted| wanted == share)
    }

    pub(crate) fn note(&self, line: &Arc<Line>) {
        if self.lines.try_send(Arc::clone(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Files {
    file: File,
    size: u64,
    config: Arc<RwLock<AuditConfig>>,
}

impl Files {
    fn write(&mut self, line: &Line, lost: u64) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        if lost > 0 {
            let word = format!("{{\"time_ms\":{},\"lost_lines\":{lost}}}\n", line.time_ms);
            bytes.splice(..0, word.into_bytes());
        }
        let config = self.config.read().clone();
        if self.size > 0 && self.size + bytes.len() as u64 > config.file_bytes_max {
            self.rotate(&config)?;
        }
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, config: &AuditConfig) -> io::Result<()> {
        let place = |number: u32| match number {
            0 => config.path.clone(),
            _ => {
                let mut name = config.path.clone().into_os_string();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        let oldest = config.older_files_max;
        for number in (0..oldest).rev() {
            match fs::rename(place(number), place(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if oldest == 0 {
            fs::remove_file(place(0))?;
        }
        (self.file, self.size) = open(&config.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

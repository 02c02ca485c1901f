//! Where the service writes what happened: standard error in the foreground, a rotated file in the background.

#![allow(clippy::disallowed_methods, reason = "the log must work when the store's own disk layer does not")]

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The file is put aside at this size, and this many older ones are kept: 64 MiB of log at most.
const FILE_BYTES_MAX: u64 = 16 << 20;
const OLDER_FILES: u32 = 3;

/// What is logged unless this variable says otherwise (`TIDEGATE_LOG=gateway_fuse=debug`).
const FILTER_VARIABLE: &str = "TIDEGATE_LOG";
const FILTER_DEFAULT: &str = "info,fuser=error";

/// Lines held before the store's log is open; a start says little.
const HELD_BYTES_MAX: usize = 64 << 10;

/// Where log lines go.
#[derive(Clone)]
pub(crate) struct LogTarget(Arc<Mutex<Sink>>);

/// What is logged, while the program runs.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl LogFilter {
    /// From now on `configured` (or the default) is logged. The environment wins over it.
    ///
    /// # Errors
    /// Where it is no filter.
    pub(crate) fn set(&self, configured: Option<&str>) -> Result<(), String> {
        self.0(filter(configured)?)
    }
}

fn filter(configured: Option<&str>) -> Result<EnvFilter, String> {
    match (EnvFilter::try_from_env(FILTER_VARIABLE), configured) {
        (Ok(filter), _) => Ok(filter),
        (Err(_), Some(text)) => EnvFilter::try_new(text).map_err(|error| error.to_string()),
        (Err(_), None) => Ok(EnvFilter::new(FILTER_DEFAULT)),
    }
}

enum Sink {
    /// In the foreground.
    Stderr,
    /// In the background, until [`LogTarget::switch_to_file`]: the terminal belongs to the command's own words.
    Held(Vec<u8>),
    File(RotatedFile),
}

struct RotatedFile {
    path: PathBuf,
    file: File,
    len: u64,
}

impl LogTarget {
    /// Starts logging; once per process. `configured` was looked at when the configuration was read.
    pub(crate) fn start(background: bool, configured: Option<&str>) -> (Self, LogFilter) {
        let sink = if background { Sink::Held(Vec::new()) } else { Sink::Stderr };
        let target = Self(Arc::new(Mutex::new(sink)));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(configured).unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT)))
            .with_ansi(io::stderr().is_terminal())
            .with_writer(target.clone())
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        let change = LogFilter(Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
        if let Err(error) = subscriber.try_init() {
            eprintln!("tidegate: start logging: {error}");
        }
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tracing::error!(%panic, "a defect; please report it");
            if std::env::var_os("RUST_BACKTRACE").is_some() {
                default(panic);
            }
        }));
        (target, change)
    }

    /// From here on the log goes to `tidegate.log` in `folder`, standard error with it.
    pub(crate) fn switch_to_file(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut opened = RotatedFile::open(folder.join("tidegate.log"))?;
        nix::unistd::dup2_stderr(&opened.file)?;
        let mut sink = self.0.lock();
        if let Sink::Held(lines) = &*sink {
            opened.write(lines)?;
        }
        *sink = Sink::File(opened);
        Ok(())
    }
}

impl RotatedFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { path, file, len })
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    /// Puts the file aside and begins a new one, which standard error follows.
    fn rotate(&mut self) -> io::Result<()> {
        self.put_aside()?;
        nix::unistd::dup2_stderr(&self.file)?;
        Ok(())
    }

    /// Renames this file and the older ones, the oldest one away.
    fn put_aside(&mut self) -> io::Result<()> {
        for number in (1..OLDER_FILES).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        *self = Self::open(self.path.clone())?;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // A log that cannot be rotated goes on growing rather than ending.
        if self.len >= FILE_BYTES_MAX && self.rotate().is_err() {
            self.len = 0;
        }
        self.file.write_all(line)?;
        self.len += line.len() as u64;
        Ok(())
    }
}

/// Writes whole events.
pub(crate) struct LogWriter(LogTarget);

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *self.0.0.lock() {
            Sink::File(file) => file.write(line)?,
            Sink::Held(lines) if lines.len() < HELD_BYTES_MAX => lines.extend_from_slice(line),
            Sink::Held(_) => {}
            Sink::Stderr => io::stderr().lock().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogTarget {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("tidegate.log");
        let mut file = RotatedFile::open(path).expect("opened");
        for round in 0..6 {
            file.write(format!("round {round}").as_bytes()).expect("written");
            file.put_aside().expect("put aside");
            assert_eq!(file.len, 0);
        }
        let kept: Vec<String> = (1..=OLDER_FILES)
            .map(|n| std::fs::read_to_string(dir.path().join(format!("tidegate.log.{n}"))).expect("kept"))
            .collect();
        assert_eq!(kept, ["round 5", "round 4", "round 3"]);
        assert!(!dir.path().join("tidegate.log.4").exists());
    }
}

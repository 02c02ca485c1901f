//! The asking side.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Answer, LINE_BYTES_MAX, Reply, Request, with_short_path};
use crate::exit::{Exit, Failure};
use crate::reports::Progress;
use crate::store::Layout;

/// From the answer to the end of the process: closing the index, and what the runtime still has to wait for.
const END_MAX: Duration = Duration::from_secs(60);

/// A request on its way, and what came back so far.
pub(crate) struct Conversation<'a> {
    layout: &'a Layout,
    reader: BufReader<UnixStream>,
    process: Option<OwnedFd>,
}

impl<'a> Conversation<'a> {
    /// Asks the service of the store in `layout`.
    pub(crate) fn begin(layout: &'a Layout, request: &Request) -> Result<Self, Failure> {
        let lost = |error: std::io::Error| lost(layout, error);
        let mut stream = connect(layout)?;
        let process = process_behind(&stream);
        let mut line = serde_json::to_vec(request).map_err(|error| lost(error.into()))?;
        line.push(b'\n');
        stream.write_all(&line).map_err(lost)?;
        if matches!(request, Request::Stop { .. }) && process.is_none() {
            // Progress comes several times a second, so this ends only a wait for the end.
            stream.set_read_timeout(Some(END_MAX)).map_err(lost)?;
        }
        Ok(Self { layout, reader: BufReader::new(stream), process })
    }

    /// The next reply; `None` where the service ended before its last one.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Failure> {
        let lost = |error: std::io::Error| lost(self.layout, error);
        let mut text = String::new();
        if Read::take(&mut self.reader, LINE_BYTES_MAX as u64).read_line(&mut text).map_err(lost)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|error| lost(error.into()))
    }
}

fn lost(layout: &Layout, error: std::io::Error) -> Failure {
    Failure::refuse("talk to the service", layout.control().display(), error)
}

/// Asks the service of the store in `layout`; `progress` hears how it gets on.
pub(crate) fn ask(layout: &Layout, request: &Request, mut progress: impl FnMut(&Progress)) -> Result<Answer, Failure> {
    let mut conversation = Conversation::begin(layout, request)?;
    loop {
        match conversation.next()? {
            Some(Reply::Progress(step)) => progress(&step),
            Some(Reply::Operations { .. }) => {}
            Some(Reply::Done(answer)) => {
                if matches!(*answer, Answer::Stopped(_)) {
                    wait_for_end(layout, conversation.reader, conversation.process)?;
                }
                return Ok(*answer);
            }
            Some(Reply::Failed { exit, message }) => return Err(Failure { exit, message }),
            None => {
                let advice = "it ended before it answered: see its log";
                return Err(Failure::refuse("talk to the service", layout.data.display(), advice));
            }
        }
    }
}

/// As [`ask`], for requests that answer at once.
pub(crate) fn ask_for(layout: &Layout, request: &Request) -> Result<Answer, Failure> {
    ask(layout, request, |_| {})
}

/// The service's process, so that its end can be waited for; `None` where the kernel does not say (the service is in
/// another PID namespace, or Linux is older than 5.3).
fn process_behind(stream: &UnixStream) -> Option<OwnedFd> {
    let service = getsockopt(stream, PeerCredentials).ok()?;
    pidfd_open(Pid::from_raw(service.pid())?, PidfdFlags::empty()).ok()
}

/// Waits until the process is gone: only then its locks and open files are, and the disk under the store can be
/// unmounted or the store opened again. Where the process is not known the end of the connection has to do.
fn wait_for_end(layout: &Layout, mut reader: impl Read, process: Option<OwnedFd>) -> Result<(), Failure> {
    let late = || {
        let why = format!("it has not ended after {} s: see its log", END_MAX.as_secs());
        Err(Failure::refuse("stop the service", layout.data.display(), why))
    };
    let Some(process) = process else {
        let mut rest = [0; 256];
        loop {
            match reader.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return late(),
                Err(_) => return Ok(()),
            }
        }
    };
    let limit = PollTimeout::try_from(END_MAX).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], limit) {
        Ok(0) => late(),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::refuse("wait for the service", layout.data.display(), error)),
    }
}

fn connect(layout: &Layout) -> Result<UnixStream, Failure> {
    with_short_path(&layout.control(), |path| UnixStream::connect(path)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Failure::refuse(
            "talk to the service",
            layout.data.display(),
            "it does not run: start it with `tidegate serve` or `tidegate mount`",
        )
        .with_exit(Exit::NotRunning),
        std::io::ErrorKind::PermissionDenied => Failure::refuse(
            "talk to the service",
            layout.data.display(),
            "only its owner may: run this as that user or as root",
        ),
        _ => Failure::refuse("talk to the service", layout.data.display(), error),
    })
}

//! The answering side.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_admin::{Trace, TraceFilter};
use objstore_base::{BoxFuture, Error, Result};
use objstore_env::Env;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::conversation::{Ear, Ending, converse, parse};
use super::{Answer, Request, with_short_path};
use crate::exit::Failure;
use crate::host;
use crate::reports::{Left, Progress};

/// A request is short; whoever sends more is no command of ours.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// After a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// What the service can be asked for.
pub(crate) trait Control: Send + Sync {
    fn answer(&self, request: Request, progress: mpsc::Sender<Progress>) -> BoxFuture<'_, Result<Answer, Failure>>;

    /// Operations of the doors from now on.
    ///
    /// # Errors
    /// Where too many watch already.
    fn trace(&self, filter: TraceFilter) -> Result<Trace, Failure>;

    /// Whoever asked for the end has heard how it went.
    fn stop_answered(&self);
}

/// A wish to unmount, with where to say how it went.
pub(crate) struct Stop {
    pub(crate) mountpoint: PathBuf,
    pub(crate) force: bool,
    pub(crate) progress: mpsc::Sender<Progress>,
    pub(crate) outcome: tokio::sync::oneshot::Sender<Result<Stopped, Failure>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped {
    pub(crate) left: Left,
    /// It was the last door: the service ends.
    pub(crate) ended: bool,
}

/// Listens on `socket` until the process ends.
///
/// # Errors
/// Where the socket cannot be made.
pub(crate) fn serve(env: &Env, socket: PathBuf, control: Arc<dyn Control>) -> Result<()> {
    let failed = |error: io::Error| Error::io("make control socket", error).entity(socket.display());
    match host::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        // What a crash left: this process has the store's lock.
        _ => {}
    }
    let listener = with_short_path(&socket, |path| UnixListener::bind(path)).map_err(failed)?;
    host::make_socket_private(&socket).map_err(failed)?;
    let (tasks, clock) = (Arc::clone(&env.tasks), Arc::clone(&env.clock));
    drop(env.tasks.spawn(
        "control",
        Box::pin(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let control = Arc::clone(&control);
                        drop(tasks.spawn(
                            "control request",
                            Box::pin(async move {
                                if let Err(error) = talk(stream, control).await {
                                    tracing::debug!(%error, "a control connection broke");
                                }
                            }),
                        ));
                    }
                    // Descriptors are short: what is connected goes on, the next one is tried again.
                    Err(error) => {
                        tracing::warn!(%error, "accepting a control connection failed");
                        clock.sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        }),
    ));
    Ok(())
}

async fn talk(stream: UnixStream, control: Arc<dyn Control>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    reader.read_until(b'\n', &mut line).await?;
    let request = match parse(&line) {
        Ok(request) => request,
        Err(refusal) => return writer.hear(&refusal).await,
    };
    // These may wait for ever: who leaves must not leave a wait behind that ends the service hours later, or a watcher
    // of operations.
    let waits = matches!(request, Request::Stop { .. } | Request::Flush | Request::Trace { .. });
    let ending = tokio::select! {
        ending = converse(request, &*control, &mut writer) => ending?,
        () = hung_up(&mut reader), if waits => return Ok(()),
    };
    if ending == Ending::Stopped {
        control.stop_answered();
        // Whoever asked waits for the end of the process: it closes this connection.
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Returns when the other side is gone; nothing more is expected from it.
async fn hung_up(reader: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    while reader.read(&mut rest).await.is_ok_and(|len| len > 0) {}
}

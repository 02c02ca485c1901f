//! The asking side.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use super::{Answer, LINE_BYTES_MAX, Reply, Request, with_short_path};
use crate::exit::{Exit, Failure};
use crate::reports::Progress;
use crate::store::Layout;

/// Asks the service of the store in `layout`; `progress` hears how it gets on.
pub(crate) fn ask(layout: &Layout, request: &Request, mut progress: impl FnMut(&Progress)) -> Result<Answer, Failure> {
    let lost = |error: std::io::Error| Failure::refuse("talk to the service", layout.control().display(), error);
    let mut stream = connect(layout)?;
    let mut line = serde_json::to_vec(request).map_err(|error| lost(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(lost)?;
    let mut reader = BufReader::new(std::io::Read::take(stream, LINE_BYTES_MAX as u64 * 4));
    loop {
        let mut text = String::new();
        if reader.read_line(&mut text).map_err(lost)? == 0 {
            return Err(Failure::refuse(
                "talk to the service",
                layout.data.display(),
                "it ended before it answered: see its log",
            ));
        }
        match serde_json::from_str(&text) {
            Ok(Reply::Progress(step)) => progress(&step),
            Ok(Reply::Done(answer)) => {
                if matches!(request, Request::Stop { .. }) {
                    wait_for_end(reader);
                }
                return Ok(*answer);
            }
            Ok(Reply::Failed { exit, message }) => return Err(Failure { exit, message }),
            Err(error) => return Err(lost(error.into())),
        }
    }
}

/// As [`ask`], for requests that answer at once.
pub(crate) fn ask_for(layout: &Layout, request: &Request) -> Result<Answer, Failure> {
    ask(layout, request, |_| {})
}

/// The service closes the connection by ending: then the store is free.
fn wait_for_end(mut reader: impl BufRead) {
    let mut rest = String::new();
    while reader.read_line(&mut rest).is_ok_and(|len| len > 0) {
        rest.clear();
    }
}

fn connect(layout: &Layout) -> Result<UnixStream, Failure> {
    with_short_path(&layout.control(), |path| UnixStream::connect(path)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Failure::refuse(
            "talk to the service",
            layout.data.display(),
            "it does not run: start it with `tidegate mount`",
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

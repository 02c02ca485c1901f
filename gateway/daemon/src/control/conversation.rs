//! One request and its replies, whoever listens: a command on the socket, or a client of the admin interface.

use std::io;

use bytes::Bytes;
use futures::FutureExt;
use gateway_admin::{Trace, TraceFilter};
use objstore_base::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::{Answer, Control, Reply, Request};
use crate::exit::{Exit, Failure};

/// Operations that go out as one reply where many happen at once.
const LINES_AT_ONCE_MAX: usize = 256;

/// Who hears the replies.
pub(crate) trait Ear: Send {
    /// # Errors
    /// Where nobody listens any more.
    fn hear<'a>(&'a mut self, reply: &'a Reply) -> BoxFuture<'a, io::Result<()>>;
}

impl Ear for OwnedWriteHalf {
    fn hear<'a>(&'a mut self, reply: &'a Reply) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.write_all(&line(reply)?).await })
    }
}

impl Ear for mpsc::Sender<Bytes> {
    fn hear<'a>(&'a mut self, reply: &'a Reply) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.send(line(reply)?.into()).await.map_err(gone)
        })
    }
}

fn line(reply: &Reply) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    Ok(line)
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    /// The service ends now.
    Stopped,
}

/// The request in `line`.
///
/// # Errors
/// The reply to what is none.
pub(crate) fn parse(line: &[u8]) -> Result<Request, Reply> {
    serde_json::from_slice(line).map_err(|error| {
        let message = format!("talk to the service: {error}: use the same version of tidegate");
        Reply::Failed { exit: Exit::Usage, message }
    })
}

/// Carries `request` out; `ear` hears of its progress and then its result.
///
/// # Errors
/// Where nobody listens any more: what was asked for is given up then.
pub(crate) async fn converse(request: Request, control: &dyn Control, ear: &mut dyn Ear) -> io::Result<Ending> {
    let result = match request {
        Request::Trace { filter } => show_operations(filter, control, ear).await?,
        request => {
            let (progress, mut steps) = mpsc::channel(16);
            let mut answer = control.answer(request, progress);
            loop {
                tokio::select! {
                    Some(step) = steps.recv() => ear.hear(&Reply::Progress(step)).await?,
                    result = &mut answer => break result,
                }
            }
        }
    };
    let ending = if matches!(result, Ok(Answer::Stopped(_))) { Ending::Stopped } else { Ending::Answered };
    let reply = match result {
        Ok(answer) => Reply::Done(Box::new(answer)),
        Err(Failure { exit, message }) => Reply::Failed { exit, message },
    };
    ear.hear(&reply).await?;
    Ok(ending)
}

async fn show_operations(
    filter: TraceFilter,
    control: &dyn Control,
    ear: &mut dyn Ear,
) -> io::Result<Result<Answer, Failure>> {
    let mut trace = match control.trace(filter) {
        Ok(trace) => trace,
        Err(failure) => return Ok(Err(failure)),
    };
    while let Some(lines) = next_lines(&mut trace).await {
        ear.hear(&Reply::Operations { lines, lost: trace.lost() }).await?;
    }
    Ok(Ok(Answer::Finished))
}

/// The next one, and those that happened with it.
async fn next_lines(trace: &mut Trace) -> Option<Vec<gateway_admin::Line>> {
    let mut lines = vec![(*trace.next().await?).clone()];
    while lines.len() < LINES_AT_ONCE_MAX
        && let Some(Some(line)) = trace.next().now_or_never()
    {
        lines.push((*line).clone());
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::Progress;

    /// Counts to three, or refuses.
    struct Counting;

    impl Control for Counting {
        fn answer(&self, request: Request, progress: mpsc::Sender<Progress>) -> BoxFuture<'_, Result<Answer, Failure>> {
            Box::pin(async move {
                if request == Request::Check {
                    return Err(Failure::refuse("check", "here", "not now"));
                }
                for done in 0..3 {
                    drop(progress.send(Progress { done, ..Progress::default() }).await);
                }
                Ok(Answer::Finished)
            })
        }

        fn trace(&self, _: TraceFilter) -> Result<Trace, Failure> {
            Err(Failure::refuse("watch", "here", "too many watch"))
        }

        fn stop_answered(&self) {}
    }

    async fn told(line: &str) -> Vec<String> {
        let (mut ear, mut heard) = mpsc::channel(16);
        match parse(line.as_bytes()) {
            Ok(request) => {
                converse(request, &Counting, &mut ear).await.expect("somebody listens");
            }
            Err(reply) => ear.hear(&reply).await.expect("somebody listens"),
        }
        drop(ear);
        let mut lines = Vec::new();
        while let Some(line) = heard.recv().await {
            lines.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        lines
    }

    #[tokio::test]
    async fn the_result_comes_last_whatever_it_is() {
        let lines = told("{\"op\":\"flush\"}").await;
        assert!(lines.iter().all(|line| line.ends_with('\n')), "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("{\"done\":\"finished\"}\n"));
        for (asked, why) in [
            ("{\"op\":\"check\"}", "not now"),
            ("{\"op\":\"trace\",\"filter\":{\"errors_only\":true}}", "too many watch"),
            ("{\"op\":\"trace\",\"filter\":{\"nonsense\":1}}", "nonsense"),
            ("nonsense", "same version"),
        ] {
            let lines = told(asked).await;
            assert!(lines.len() == 1 && lines[0].contains("failed") && lines[0].contains(why), "{asked}: {lines:?}");
        }
    }

    #[tokio::test]
    async fn what_nobody_hears_is_given_up() {
        let (mut ear, heard) = mpsc::channel(1);
        drop(heard);
        converse(Request::Flush, &Counting, &mut ear).await.expect_err("nobody listens");
    }
}

//! `tidegate trace`: one line for each operation that goes through the doors, until Ctrl-C.

use gateway_admin::{Line, TraceFilter};
use serde::Serialize;

use crate::cli::TraceArgs;
use crate::cmd::{find_store, unexpected};
use crate::control::{Conversation, Reply, Request};
use crate::exit::{Exit, Failure};
use crate::units::show_micros;
use crate::watch_reports::plain;
use crate::{Outcome, output};

/// With `--json`, what this reader was too slow for.
#[derive(Serialize)]
struct LostLines {
    lost_lines: u64,
}

pub(crate) fn run(args: TraceArgs, json: bool) -> Outcome {
    let layout = find_store(&args.store)?;
    let filter = TraceFilter::from(args);
    let mut conversation = Conversation::begin(&layout, &Request::Trace { filter })?;
    loop {
        match conversation.next()? {
            Some(Reply::Operations { lines, lost }) => {
                let heard = lines.iter().all(|line| output::say_if_heard(&shown(line, json)));
                if !(heard && tell_lost(lost, json)) {
                    return Ok(Exit::Ok);
                }
            }
            Some(Reply::Failed { exit, message }) => return Err(Failure { exit, message }),
            Some(Reply::Progress(_)) => {}
            Some(Reply::Done(_)) => return Err(unexpected()),
            None => {
                return Err(Failure::refuse("watch operations", layout.data.display(), "the service ended")
                    .with_exit(Exit::NotRunning));
            }
        }
    }
}

/// Whether somebody listens still.
fn tell_lost(lost: u64, json: bool) -> bool {
    match (lost, json) {
        (0, _) => true,
        (_, true) => output::say_if_heard(&serde_json::to_string(&LostLines { lost_lines: lost }).unwrap_or_default()),
        (_, false) => {
            output::tell(&format!("tidegate: {lost} operations went by faster than they could be shown"));
            true
        }
    }
}

fn shown(line: &Line, json: bool) -> String {
    if json { serde_json::to_string(line).unwrap_or_default() } else { text(line) }
}

/// `20:11:05.123 nfs 10.0.0.7 uid 1000 write /a/b 4096+100 1.2 ms ok`, the time in UTC.
fn text(line: &Line) -> String {
    let (seconds, ms) = (line.time_ms / 1000 % 86_400, line.time_ms % 1000);
    let time = format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let client = if line.client.is_empty() { String::new() } else { format!(" {}", plain(&line.client)) };
    let to = if line.to.is_empty() { String::new() } else { format!(" -> {}", plain(&line.to)) };
    let range = if line.len == 0 { String::new() } else { format!(" {}+{}", line.offset, line.len) };
    format!(
        "{time} {}{client} uid {} {} {}{to}{range} {} {}",
        plain(&line.door),
        line.uid,
        line.op,
        plain(&line.path),
        show_micros(line.dur_us),
        line.result
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_one_line_whatever_its_names_are() {
        let line = Line {
            time_ms: 1_795_810_265_123,
            door: "nfs".into(),
            client: "10.0.0.7".into(),
            uid: 1000,
            op: "rename".into(),
            path: "/a/b\n\u{1b}[2J".into(),
            to: "/c".into(),
            dur_us: 1234,
            result: "ok".into(),
            ..Line::default()
        };
        assert_eq!(text(&line), "20:11:05.123 nfs 10.0.0.7 uid 1000 rename /a/b\\n\\u{1b}[2J -> /c 1.2 ms ok");
        let read = Line { op: "read".into(), offset: 4096, len: 100, to: String::new(), client: String::new(), ..line };
        assert!(text(&read).contains("nfs uid 1000 read") && text(&read).contains(" 4096+100 "), "{}", text(&read));
    }
}

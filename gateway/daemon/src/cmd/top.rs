//! `tidegate top`: what goes through the doors now, once a second, until Ctrl-C.

use std::io::IsTerminal;
use std::time::Duration;

use nix::poll::{PollTimeout, poll};

use crate::cli::TopArgs;
use crate::cmd::find_store;
use crate::cmd::stats::look;
use crate::exit::{Exit, Failure};
use crate::store::Layout;
use crate::watch_reports::{Sample, plain};
use crate::{Outcome, output};

const STEP: Duration = Duration::from_secs(1);
/// To the upper left; what was there is overwritten, which does not flicker.
const HOME: &str = "\x1b[H";
const TO_END_OF_LINE: &str = "\x1b[K";
const TO_END_OF_SCREEN: &str = "\x1b[J";

pub(crate) fn run(args: &TopArgs, json: bool) -> Outcome {
    let layout = find_store(&args.store)?;
    let redraw = std::io::stdout().is_terminal() && !json && !args.once;
    let looks = if args.once { Some(1) } else { args.seconds };
    let mut before = look(&layout)?;
    let mut seen = 0;
    while looks.is_none_or(|looks| seen < looks) {
        wait()?;
        let now = look(&layout)?;
        let text = text(&layout, &now.since(&before), json, redraw)?;
        // Whoever read it is gone.
        if !output::say_if_heard(&text) {
            break;
        }
        before = now;
        seen += 1;
    }
    Ok(Exit::Ok)
}

fn text(layout: &Layout, rates: &Sample, json: bool, redraw: bool) -> Result<String, Failure> {
    if json {
        // An object a line: there are many.
        return serde_json::to_string(&rates.report_between())
            .map_err(|error| Failure::refuse("write the report", layout.data.display(), error));
    }
    let title = plain(&layout.data.display().to_string());
    let block = format!("tidegate  {title}\n{}", rates.rates());
    if !redraw {
        return Ok(format!("{block}\n"));
    }
    let lines: String = block.lines().map(|line| format!("{line}{TO_END_OF_LINE}\n")).collect();
    Ok(format!("{HOME}{lines}{TO_END_OF_SCREEN}"))
}

/// A second; a signal ends the program.
fn wait() -> Result<(), Failure> {
    let step = PollTimeout::try_from(STEP).unwrap_or(PollTimeout::MAX);
    match poll(&mut [], step) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(Failure::refuse("wait", "a second", error)),
    }
}

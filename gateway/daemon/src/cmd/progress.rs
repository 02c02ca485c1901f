//! What a command shows while it waits: a bar on a terminal (how much, how fast, how long still), and what keeps it
//! from going on, said at once and again from time to time.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use objstore_env::Clock;
use objstore_env::real::RealClock;
use serde::Serialize;

use crate::output;
use crate::reports::Progress;

/// The same obstacle is named again after this time.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// The bar shows nothing where standard error is no terminal, or where JSON was asked for.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    json: bool,
    /// What the user can do about a wait, besides mending its cause.
    advice: &'static str,
    clock: RealClock,
    said: Option<(String, Duration)>,
}

/// One line of standard error, with `--json`.
#[derive(Serialize)]
struct ProgressLine<'a> {
    progress: &'a Progress,
}

impl Bar {
    pub(crate) fn new(json: bool, advice: &'static str) -> Self {
        Self { bar: None, json, advice, clock: RealClock::new(), said: None }
    }

    pub(crate) fn show(&mut self, step: &Progress) {
        if let Some(waiting) = &step.waiting {
            self.say(step, waiting);
        }
        if self.json {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(step.total).with_style(style(step)));
        bar.set_length(step.total);
        bar.set_position(step.done);
        bar.set_message(step.doing.clone());
    }

    fn say(&mut self, step: &Progress, waiting: &str) {
        let now = self.clock.monotonic();
        let due = self.said.as_ref().is_none_or(|(what, at)| what != waiting || now.saturating_sub(*at) >= SAID_AGAIN);
        if !due {
            return;
        }
        self.said = Some((waiting.to_owned(), now));
        let text = if self.json {
            serde_json::to_string(&ProgressLine { progress: step }).unwrap_or_default()
        } else {
            format!("tidegate: waiting: {waiting}. {}", self.advice)
        };
        match &self.bar {
            Some(bar) => bar.suspend(|| output::tell(&text)),
            None => output::tell(&text),
        }
    }

    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn style(step: &Progress) -> ProgressStyle {
    let template = if step.bytes {
        "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
    } else {
        "{msg} [{bar:30}] {pos} of {len}, {eta} left"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

//! A bar on standard error while a command waits: how much, how fast, how long still.

use indicatif::{ProgressBar, ProgressStyle};

use crate::reports::Progress;

/// Shows nothing where standard error is no terminal, or where JSON was asked for.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    hidden: bool,
}

impl Bar {
    pub(crate) const fn new(json: bool) -> Self {
        Self { bar: None, hidden: json }
    }

    pub(crate) fn show(&mut self, step: &Progress) {
        if self.hidden {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(step.total).with_style(style(step)));
        bar.set_length(step.total);
        bar.set_position(step.done);
        bar.set_message(step.doing.clone());
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

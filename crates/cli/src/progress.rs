//! Progress for people: bars with rate and time left on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::say::remark;

/// One stage of the work.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    bar: ProgressBar,
    terminal: bool,
    start: Instant,
}

impl Stage {
    fn new(what: &str, total: Option<u64>, style: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = match (terminal, total) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(total)) => ProgressBar::new(total),
            (true, None) => ProgressBar::new_spinner(),
        };
        // The templates are ours, so this cannot fail; were it to, the default style would do.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Stage { bar, terminal, start: Instant::now() }
    }

    /// Work whose length is not known.
    pub(crate) fn spinner(what: &str) -> Self {
        Stage::new(what, None, "{spinner} {msg} {pos:.dim} {elapsed:.dim}")
    }

    /// Work counted in bytes.
    pub(crate) fn bytes(what: &str, total: u64) -> Self {
        Stage::new(what, Some(total), "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
    }

    /// Work counted in steps.
    pub(crate) fn steps(total: u64, done: u64) -> Self {
        let stage = Stage::new("", Some(total), "{wide_bar} {pos}/{len} {msg}, {eta} left");
        stage.bar.set_position(done);
        stage.bar.reset_eta();
        stage
    }

    pub(crate) fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// Moves to `done` and shows `message`.
    pub(crate) fn at(&self, done: u64, message: String) {
        self.bar.set_position(done);
        self.bar.set_message(message);
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&self, text: &str) {
        if self.terminal {
            self.bar.suspend(|| remark!("{text}"));
        } else {
            remark!("{text}");
        }
    }

    /// Whether a person watches.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Ends the stage with a line about what came of it.
    pub(crate) fn finish(&self, result: &str) {
        self.bar.finish_and_clear();
        remark!("{result} ({})", seconds(self.start.elapsed()));
    }

    /// Ends the stage without a word.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A duration in words.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{} s", time.as_secs()),
        more => format!("{} min {} s", more / 60, more % 60),
    }
}

//! How far a measurement has come: a bar for people at a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use crate::progress::{Stage, seconds};

/// Longest silence where there is no bar.
const SILENCE: Duration = Duration::from_secs(10);

/// Progress of work in equal parts.
pub(crate) struct Pace {
    stage: Stage,
    what: &'static str,
    total: u64,
    start: Instant,
    said: Instant,
}

impl Pace {
    /// Of so many parts, each called `what`.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let now = Instant::now();
        Pace { stage: Stage::steps(total, 0), what, total, start: now, said: now }
    }

    /// After so many parts and units of `unit`; `found` is the result so far. Elsewhere than at a terminal `is_line` says
    /// that each part is worth a line.
    pub(crate) fn at(&mut self, done: u64, units: u64, unit: &str, found: &str, is_line: bool) {
        let time = self.start.elapsed().as_secs_f64().max(1e-9);
        let rate = units as f64 / time;
        let rate = format!("{rate:.*} {unit}/s", usize::from(rate < 10.0));
        if self.stage.is_terminal() {
            return self.stage.at(done, format!("{found}, {rate}"));
        }
        if is_line || self.said.elapsed() >= SILENCE {
            self.said = Instant::now();
            let left = time / done as f64 * self.total.saturating_sub(done) as f64;
            let left = seconds(Duration::try_from_secs_f64(left).unwrap_or_default());
            self.stage.line(&format!("{} {done}/{}: {found}, {rate}, {left} left", self.what, self.total));
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.stage.clear();
    }
}

//! More threads than cores, for regions whose tasks take long.

use super::gate::Gate;
use std::time::{Duration, Instant};

/// One participant's clock, by which it calls for one more thread after each of its tasks that took long: such a task
/// may have waited for a disk, and the system shares out the cores as well as it can.
pub(super) struct Relief {
    /// The time from which on a task is long, and when this one began; none, where the clock need not be read: all
    /// workers may be awake anyway.
    task: Option<(Duration, Instant)>,
}

impl Relief {
    /// At the beginning of the first task.
    #[inline]
    pub(super) fn new(gate: &Gate) -> Self {
        Self { task: gate.long_task().map(|long| (long, Instant::now())) }
    }

    /// Between the end of a task and the beginning of the next, with so many left to others.
    #[inline]
    pub(super) fn look(&mut self, gate: &Gate, helpers: usize) {
        if let Some((long, began)) = &mut self.task {
            let now = Instant::now();
            let took = now - *began;
            *began = now;
            if took >= *long && helpers > 0 {
                gate.relieve(helpers);
            }
        }
    }
}

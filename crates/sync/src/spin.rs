//! How long a waiter looks before it parks.

use std::time::Duration;
#[cfg(not(any(loom, shuttle)))]
use std::time::Instant;

/// Long enough that back-to-back regions never park, short enough that an idle team is off the processor at once.
const BUDGET: Duration = Duration::from_micros(30);

/// Longer than a task of a kernel takes, which only computes, and no longer than many a wait for a disk.
const PERIOD: Duration = Duration::from_millis(5);

/// Workers that are dismissed end in microseconds; a thread that has not in so long is stuck.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long one who offers its core to others goes on looking: some turns of all threads on few cores.
/// Under a model checker a model says itself who looks how often.
pub(crate) const YIELDING: Duration =
    if cfg!(any(loom, shuttle)) { Duration::ZERO } else { Duration::from_micros(100) };

/// Looks between two readings of the clock.
#[cfg(not(any(loom, shuttle)))]
const LOOKS_PER_READING: u32 = 32;

/// Pauses before a look that is not urgent: about 0.3 µs.
#[cfg(not(any(loom, shuttle)))]
const SELDOM: u32 = 16;

/// Doublings of a pause.
#[cfg(not(any(loom, shuttle)))]
const MOST_PAUSES: u32 = 6;

/// Cores that this process may use. One under a model checker: what a model explores is not to depend on the machine.
pub(crate) fn cores() -> usize {
    if cfg!(any(loom, shuttle)) { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// How long a thread looks for what another is to do: not at all on one core, where looking only burns the time slice
/// that the other is waiting for.
pub(crate) fn budget(cores: usize) -> Duration {
    if cores <= 1 { Duration::ZERO } else { BUDGET }
}

/// How the threads of a team wait, and how many of them are awake at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long one looks before it parks.
    pub(crate) spin: Duration,
    /// Most workers beside the caller that are called to a region before one of its tasks has taken a period.
    pub(crate) awake: usize,
    /// Most stretches of a region's tasks that participants take them from: one for each that is awake.
    pub(crate) lanes: usize,
    /// The time between two looks at a region that may not be getting on.
    pub(crate) period: Duration,
    /// How long the drop of a team waits for its threads.
    pub(crate) farewell: Duration,
}

impl Pace {
    /// Of a team on `cores`: no more workers are awake than have a core, for others would take it from those.
    pub(crate) fn on(cores: usize) -> Self {
        // One at least, so that a region has help wherever there are two threads.
        let awake = cores.saturating_sub(1).max(1);
        Self { spin: budget(cores), awake, lanes: awake + 1, period: PERIOD, farewell: FAREWELL }
    }

    /// Nobody looks twice, `awake` workers have a core, all take tasks from one lane, and a period is nothing.
    #[cfg(test)]
    pub(crate) const fn parking(awake: usize) -> Self {
        Self { spin: Duration::ZERO, awake, lanes: 1, period: Duration::ZERO, farewell: FAREWELL }
    }
}

/// One bounded spin.
#[derive(Debug)]
pub(crate) struct Spin {
    budget: Duration,
    looks: u32,
    /// Pauses before a look; with none the core is offered to others instead.
    #[cfg(not(any(loom, shuttle)))]
    pauses: u32,
    #[cfg(not(any(loom, shuttle)))]
    since: Option<Instant>,
}

impl Spin {
    pub(crate) fn new(budget: Duration) -> Self {
        Self {
            budget,
            looks: 0,
            #[cfg(not(any(loom, shuttle)))]
            pauses: 1,
            #[cfg(not(any(loom, shuttle)))]
            since: None,
        }
    }

    /// Looks less often: every look fetches the line from whoever is about to change it.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn seldom(self) -> Self {
        Self { pauses: SELDOM, ..self }
    }

    /// Offers the core to others between looks: to those it looks out for, where there are more threads than cores.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn yielding(self) -> Self {
        Self { pauses: 0, ..self }
    }

    /// A model checker knows no often.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn seldom(self) -> Self {
        self
    }

    /// A model checker is always told.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn yielding(self) -> Self {
        self
    }

    /// Starts the budget afresh.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.budget);
    }

    /// Pauses for an instant and says whether to look again; `false` once the budget is spent.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn again(&mut self) -> bool {
        if self.budget.is_zero() {
            return false;
        }
        (0..self.pauses).for_each(|_| std::hint::spin_loop());
        self.looks += 1;
        if self.pauses == 0 {
            std::thread::yield_now();
        } else if !self.looks.is_multiple_of(LOOKS_PER_READING) {
            return true;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        since.elapsed() < self.budget
    }

    /// Under a model checker time stands still: the budget counts looks, one a nanosecond.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn again(&mut self) -> bool {
        if u128::from(self.looks) >= self.budget.as_nanos() {
            return false;
        }
        self.looks += 1;
        crate::shim::yield_now();
        true
    }
}

/// Growing pauses between the attempts of an operation that never parks.
#[derive(Debug)]
pub(crate) struct Backoff {
    #[cfg(not(any(loom, shuttle)))]
    step: u32,
}

#[cfg(not(any(loom, shuttle)))]
impl Backoff {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { step: 0 }
    }

    /// After an attempt that somebody else's success made fail: somebody gets on, so the core is kept.
    pub(crate) fn lost(&mut self) {
        self.pause();
        self.step = (self.step + 1).min(MOST_PAUSES);
    }

    /// Before another look for a step that somebody else has yet to do; who may need this core for it.
    pub(crate) fn wait(&mut self) {
        if self.step < MOST_PAUSES {
            self.lost();
        } else {
            crate::shim::yield_now();
        }
    }

    fn pause(&self) {
        (0..1 << self.step).for_each(|_| std::hint::spin_loop());
    }
}

/// A model checker needs no pause, and must be told that only somebody else can get on.
#[cfg(any(loom, shuttle))]
impl Backoff {
    pub(crate) fn new() -> Self {
        Self {}
    }

    pub(crate) fn lost(&mut self) {}

    pub(crate) fn wait(&mut self) {
        crate::shim::yield_now();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn nobody_spins_on_one_core() {
        assert_eq!(budget(1), Duration::ZERO);
        assert_eq!(budget(2), BUDGET);
        assert!(!Spin::new(Duration::ZERO).again());
    }

    #[test]
    fn a_spin_ends_and_can_be_started_again() {
        let mut spin = Spin::new(Duration::from_micros(200));
        let began = Instant::now();
        while spin.again() {}
        assert!(began.elapsed() >= Duration::from_micros(200));
        assert!(began.elapsed() < Duration::from_secs(5));
        spin.reset();
        assert!(spin.again());
    }
}

//! Noticing that a thread has stopped making progress, without touching anything it could hold.

use crate::error::SpawnError;
use crate::latch::{Latch, Ticket};
use crate::probe::{self, Kind};
use crate::shim::{Arc, AtomicU64, Line, OnceLock, Ordering, weaken};
use crate::thread::OwnedThread;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::time::{Duration, Instant};

/// Names of phases one pulse can tell apart; those beyond are reported as [`OTHER`].
#[cfg(not(any(loom, shuttle)))]
const PHASES: usize = 31;
#[cfg(any(loom, shuttle))]
const PHASES: usize = 2;
const OTHER: &str = "other";

const BUSY: u64 = 1;
const PHASE_SHIFT: u32 = 1;
const PHASE: u64 = 0xFF;
const BEAT_SHIFT: u32 = 9;

/// A thread that has been busy without a sign of progress for longer than the deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StallReport {
    /// Name the pulse was given.
    pub who: String,
    /// Phase it was busy with when last heard of.
    pub phase: &'static str,
    /// Time since it was last heard of.
    pub silent_for: Duration,
}

/// One thread's sign of life, given by [`Watchdog::start`].
///
/// A beat is two relaxed accesses to a word of its own and a look-up of the phase: a few nanoseconds.
#[derive(Debug)]
pub struct Pulse {
    heart: Arc<Line<Heart>>,
}

#[derive(Debug)]
pub(crate) struct Heart {
    /// `beats << 9 | phase << 1 | busy`.
    word: AtomicU64,
    phases: [OnceLock<&'static str>; PHASES],
}

impl Heart {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), phases: std::array::from_fn(|_| OnceLock::new()) }
    }

    pub(crate) fn busy(&self, phase: &'static str) {
        let known = |slot: &OnceLock<&'static str>| {
            let name = *slot.get_or_init(|| phase);
            std::ptr::eq(name, phase) || name == phase
        };
        let index = self.phases.iter().position(known).unwrap_or(PHASES);
        self.beat((index as u64) << PHASE_SHIFT | BUSY);
    }

    pub(crate) fn idle(&self) {
        self.beat(0);
    }

    fn beat(&self, low: u64) {
        let beats = (self.word.load(Ordering::Relaxed) >> BEAT_SHIFT).wrapping_add(1);
        // Releases the name of the phase, which may be new.
        self.word.store(beats << BEAT_SHIFT | low, weaken!("watchdog_beat_relaxed", Release));
    }

    /// The word, different after each beat, and the phase if busy.
    pub(crate) fn seen(&self) -> (u64, Option<&'static str>) {
        let word = self.word.load(weaken!("watchdog_look_relaxed", Acquire));
        let index = (word >> PHASE_SHIFT & PHASE) as usize;
        let name = || self.phases.get(index).and_then(|slot| slot.get()).copied().unwrap_or(OTHER);
        (word, (word & BUSY != 0).then(name))
    }
}

impl Pulse {
    /// Says that its thread goes on, with `phase` from now on. Names are few: past 31 of them all are called "other".
    #[track_caller]
    pub fn busy(&self, phase: &'static str) {
        probe::enter_phase(phase, Location::caller());
        self.heart.busy(phase);
    }

    /// Says that its thread has nothing to do, and may be silent for as long as it likes.
    pub fn idle(&self) {
        probe::leave_phase();
        self.heart.idle();
    }
}

/// A thread that watches pulses and reports those that stall, once for each stall. Dropping it ends the watch, at once
/// unless a report is being made just then.
///
/// ```
/// use selvedge_sync::Watchdog;
/// use std::time::Duration;
///
/// let (watchdog, pulses) = Watchdog::start(Duration::from_secs(30), &["loader", "step"], |stall| {
///     eprintln!("{} silent for {:?} in {}", stall.who, stall.silent_for, stall.phase);
/// })?;
/// pulses[0].busy("read shard");
/// pulses[0].idle();
/// drop(watchdog);
/// # Ok::<(), selvedge_sync::SpawnError>(())
/// ```
///
/// It reads one atomic word of each pulse and takes no lock that a watched thread could hold.
pub struct Watchdog {
    /// Dropped to end the watch.
    leash: Option<Ticket>,
    thread: Option<OwnedThread<()>>,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Watches one pulse for each of `names`; all are idle at first.
    ///
    /// `on_stall` runs on the watchdog's thread with each pulse that has been busy, and silent, for longer than
    /// `deadline`; it is noticed within a quarter of the deadline (a second, for long ones). A panic in it is dropped
    /// and the watch goes on.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] when the thread cannot be started.
    #[track_caller]
    pub fn start(
        deadline: Duration,
        names: &[&str],
        on_stall: impl Fn(&StallReport) + Send + 'static,
    ) -> Result<(Self, Vec<Pulse>), SpawnError> {
        let pulses: Vec<Pulse> =
            names.iter().map(|_| Pulse { heart: Arc::new(Line(Heart::new())) }).collect();
        let now = Instant::now();
        let mut watched: Vec<Watched> = names
            .iter()
            .zip(&pulses)
            .map(|(name, pulse)| Watched {
                name: (*name).to_owned(),
                heart: Arc::clone(&pulse.heart),
                last: 0,
                heard: now,
                reported: false,
            })
            .collect();
        let (cut, mut leash) = Latch::of(Kind::Sleep, 1);
        let pause = pause(deadline);
        let thread = OwnedThread::spawn("selvedge-watch", move || {
            while !cut.wait_timeout(pause) {
                for watched in &mut watched {
                    if let Some(report) = watched.look(Instant::now(), deadline) {
                        // The report is the user's; what it throws must not end the watch over the others.
                        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| on_stall(&report))) {
                            crate::error::discard(payload);
                        }
                    }
                }
            }
        })?;
        Ok((Self { leash: leash.pop(), thread: Some(thread) }, pulses))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.leash.take();
        // Joins.
        self.thread.take();
    }
}

/// Time between two looks for what takes longer than `deadline`.
pub(crate) fn pause(deadline: Duration) -> Duration {
    (deadline / 4).clamp(Duration::from_millis(1), Duration::from_secs(1))
}

/// What the watchdog remembers of one pulse.
struct Watched {
    name: String,
    heart: Arc<Line<Heart>>,
    last: u64,
    heard: Instant,
    reported: bool,
}

impl Watched {
    fn look(&mut self, now: Instant, deadline: Duration) -> Option<StallReport> {
        let (word, busy) = self.heart.seen();
        if word != self.last {
            self.last = word;
            self.heard = now;
            self.reported = false;
        }
        let silent_for = now.saturating_duration_since(self.heard);
        let phase = busy.filter(|_| !self.reported && silent_for > deadline)?;
        self.reported = true;
        Some(StallReport { who: self.name.clone(), phase, silent_for })
    }
}

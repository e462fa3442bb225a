//! The protocol by which workers enter and leave parallel regions: one atomic word, one lock for those who sleep.
//!
//! ```text
//! 63           37 36   35    34       33       32    31        16 15        0
//! |  generation  |WATCH|PANIC|DRAINER|SHUTDOWN|OPEN | asleep      | active    |
//! ```
//!
//! A caller who holds the team opens the gate: the next generation, `OPEN`, nobody active. A worker enters by adding
//! itself to `active` while the gate is open for a generation it has not served, and leaves by subtracting itself. The
//! caller closes the gate once no task is left, after which nobody can enter, and waits until `active` is zero. Nobody
//! ever waits for a worker that did not enter, so a parked or descheduled one costs its help and nothing else.
//!
//! No more workers are kept awake than have a core: others sleep as soon as they are done. With that, eight threads on
//! two cores compute as fast as two. So that tasks may even so wait, for a disk or for each other, one worker of such a
//! team is its [lookout](lookout), which calls the sleepers one by one to a region that does not get on.
//!
//! Both kinds of sleep are announced *in the word* by compare-and-swap, so that the announcement and the event it
//! waits for are ordered by the word itself: either the opener sees the sleeper, or the sleeper sees the opening. No
//! argument needs a total order over several atomics, so nothing here is `SeqCst` and there is no stand-alone fence.

mod lookout;

use crate::shim::{AtomicU64, Condvar, Line, Mutex, Ordering, in_order, keep, lock, wait_while, weaken};
use crate::spin::{Pace, Spin};
use std::time::Duration;

/// Sleepers that a worker wakes when it enters: with two, all are awake after a number of turns that grows as the
/// logarithm of theirs.
const CALLED: u64 = 2;

/// Most workers a gate can count.
pub(crate) const MOST_WORKERS: usize = 0xFFFF;

const ACTIVE_ONE: u64 = 1;
const ACTIVE: u64 = 0xFFFF;
const ASLEEP_SHIFT: u32 = 16;
const ASLEEP_ONE: u64 = 1 << ASLEEP_SHIFT;
const ASLEEP: u64 = 0xFFFF << ASLEEP_SHIFT;
const OPEN: u64 = 1 << 32;
const SHUTDOWN: u64 = 1 << 33;
const DRAINER: u64 = 1 << 34;
const PANICKED: u64 = 1 << 35;
/// The lookout looks; without, it is asleep until an opener sets this.
const WATCH: u64 = 1 << 36;
const GENERATION_SHIFT: u32 = 37;
const GENERATION_ONE: u64 = 1 << GENERATION_SHIFT;

fn asleep(word: u64) -> u64 {
    (word & ASLEEP) >> ASLEEP_SHIFT
}

/// What sleepers wait for, guarded by the gate's lock.
#[derive(Debug, Default)]
struct Beds {
    /// Wake-ups given out and not yet taken: one for each sleeper that an opener took out of the word.
    wake_ups: u64,
    /// The last active worker has left, and the caller announced as `DRAINER` has not yet seen it.
    drained: bool,
    /// The lookout has been called, and has not yet seen it.
    watch: bool,
}

/// What a worker knows of the gate; a fresh worker has served nothing.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The generation it served last.
    generation: u64,
    /// The word by which it entered.
    word: u64,
    /// It came too late: regions are so small at the moment that looking for them costs more than it helps.
    pub(crate) late: bool,
}

impl Seen {
    /// Whether workers slept when it entered.
    pub(crate) fn has_sleepers(&self) -> bool {
        asleep(self.word) > 0
    }
}

/// The gate; see the module text.
#[derive(Debug)]
pub(crate) struct Gate {
    word: Line<AtomicU64>,
    /// The word that the last close left. Whoever opens next expects it: a look would fetch the line once to read it
    /// and, since workers look too, once more to write it.
    last: Line<AtomicU64>,
    beds: Line<Mutex<Beds>>,
    region: Condvar,
    drained: Condvar,
    watch: Condvar,
    /// The workers without the lookout.
    workers: u64,
    /// Most of them that are to be awake: as many as have a core beside the caller's.
    awake: u64,
    /// There are more workers than that, and the last of them is the lookout.
    lookout: bool,
    pace: Pace,
}

impl Gate {
    /// A closed gate for `workers` workers, who wait at this pace.
    pub(crate) fn new(workers: usize, pace: Pace) -> Self {
        assert!(workers <= MOST_WORKERS, "{workers} workers, a gate counts {MOST_WORKERS}");
        let lookout = workers > pace.awake;
        let workers = workers - usize::from(lookout);
        Self {
            word: Line(AtomicU64::new(0)),
            last: Line(AtomicU64::new(0)),
            beds: Line(Mutex::new(Beds::default())),
            region: Condvar::new(),
            drained: Condvar::new(),
            watch: Condvar::new(),
            workers: workers as u64,
            awake: workers.min(pace.awake) as u64,
            lookout,
            pace,
        }
    }

    /// Opens the next region, for `helpers` workers at most, and wakes one sleeper if more are needed than are awake
    /// and there is a core for it. Whoever enters wakes the next ones, see [`Gate::call`]: the caller pays for one
    /// wake-up, whatever the number, and for one more if the lookout must be called.
    ///
    /// Only the holder of the team calls this, with the gate closed and nobody active; what it wrote before is
    /// visible to every worker that enters.
    pub(crate) fn open(&self, helpers: usize) {
        let mut word = self.last.load(Ordering::Relaxed);
        let watch = if self.lookout && helpers as u64 > self.awake { WATCH } else { 0 };
        let (woken, called) = loop {
            let sleeping = asleep(word);
            let awake = self.workers - sleeping;
            let woken = u64::from(self.awake.min(helpers as u64) > awake && sleeping > 0);
            let kept = word & (SHUTDOWN | ASLEEP | WATCH);
            let step = if keep!("gate_generation_kept") { GENERATION_ONE } else { 0 };
            let generation = (word & !(GENERATION_ONE - 1)).wrapping_add(step);
            let opened = (generation | kept | watch | OPEN) - woken * ASLEEP_ONE;
            match self.word.compare_exchange_weak(
                word,
                opened,
                weaken!("gate_open_relaxed", Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => break (woken, watch & !word != 0),
                Err(now) => word = now,
            }
        };
        if keep!("gate_open_no_wake") {
            self.wake(woken);
        }
        if called {
            self.call_lookout();
        }
    }

    /// Wakes sleepers for the region that the calling worker is in and that could use `helpers` more: [`CALLED`] at
    /// most, none while there are as many awake outside as are needed, and none without a core.
    pub(crate) fn call(&self, seen: &Seen, helpers: usize) {
        let most = if keep!("gate_call_silent") { CALLED } else { 0 };
        let mut word = seen.word;
        let woken = loop {
            let sleeping = asleep(word);
            let awake = self.workers - sleeping;
            let outside = awake.saturating_sub(word & ACTIVE);
            let room = self.awake.saturating_sub(awake);
            let woken = (helpers as u64).saturating_sub(outside).min(sleeping).min(room).min(most);
            if woken == 0 {
                return;
            }
            let called = word - woken * ASLEEP_ONE;
            match self.word.compare_exchange_weak(word, called, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break woken,
                Err(now) => word = now,
            }
        };
        self.wake(woken);
    }

    #[inline]
    fn wake(&self, sleepers: u64) {
        if sleepers > 0 {
            self.wake_asleep(sleepers);
        }
    }

    #[cold]
    fn wake_asleep(&self, sleepers: u64) {
        in_order!(
            "gate_wake_swapped",
            lock(&self.beds).wake_ups += sleepers,
            (0..if keep!("gate_wake_once") { sleepers } else { 1 }).for_each(|_| self.region.notify_one())
        );
    }

    /// Waits for a region this worker has not served and enters it; `false` when the gate is shut for good.
    ///
    /// Whoever gets `true` owes one [`Gate::leave`].
    pub(crate) fn enter(&self, seen: &mut Seen) -> bool {
        let mut spin = Spin::new(self.pace.spin);
        if seen.late {
            spin = spin.seldom();
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let generation = word >> GENERATION_SHIFT;
            if word & SHUTDOWN != 0 {
                return false;
            }
            if word & OPEN != 0 && generation != seen.generation {
                match self.step_in(word, seen) {
                    Ok(()) => return true,
                    Err(now) => word = now,
                }
            } else if self.workers - asleep(word) <= self.awake && spin.again() {
                word = self.word.load(Ordering::Relaxed);
            } else {
                word = self.sleep(word);
                spin.reset();
            }
        }
    }

    /// Enters on top of `word`, by which the gate is open; the word it is now, when it has moved on.
    fn step_in(&self, word: u64, seen: &mut Seen) -> Result<(), u64> {
        let ordering = weaken!("gate_enter_relaxed", Acquire);
        if keep!("gate_enter_blind") {
            self.word.compare_exchange_weak(word, word + ACTIVE_ONE, ordering, Ordering::Relaxed)?;
        } else {
            self.word.fetch_add(ACTIVE_ONE, ordering);
        }
        *seen = Seen { generation: word >> GENERATION_SHIFT, word: word + ACTIVE_ONE, late: false };
        Ok(())
    }

    /// Announces a sleeper on top of `word` and sleeps until an opener takes it out again; returns the word to look
    /// at next. When the word has moved on, nobody sleeps.
    fn sleep(&self, word: u64) -> u64 {
        let announced = if keep!("gate_sleep_blind") {
            self.word.compare_exchange(word, word + ASLEEP_ONE, Ordering::Relaxed, Ordering::Relaxed)
        } else {
            Ok(self.word.fetch_add(ASLEEP_ONE, Ordering::Relaxed))
        };
        if let Err(now) = announced {
            return now;
        }
        let mut beds = wait_while(&self.region, lock(&self.beds), |beds| beds.wake_ups == 0);
        if keep!("gate_wake_up_kept") {
            beds.wake_ups -= 1;
        }
        drop(beds);
        self.word.load(Ordering::Relaxed)
    }

    /// Tells the caller that a task of this worker panicked; before [`Gate::leave`].
    pub(crate) fn mark_panicked(&self) {
        self.word.fetch_or(PANICKED, Ordering::Relaxed);
    }

    /// Leaves the region: the worker's last access to anything the caller lent it.
    pub(crate) fn leave(&self) {
        let ordering = weaken!("gate_leave_relaxed", Release);
        let before = if keep!("gate_leave_torn") {
            self.word.fetch_sub(ACTIVE_ONE, ordering)
        } else {
            let before = self.word.load(Ordering::Relaxed);
            self.word.store(before - ACTIVE_ONE, ordering);
            before
        };
        if before & ACTIVE == ACTIVE_ONE && before & DRAINER != 0 {
            in_order!("gate_leave_swapped", lock(&self.beds).drained = true, {
                if keep!("gate_leave_no_notify") {
                    self.drained.notify_one();
                }
            });
        }
    }

    /// Closes the region and waits until every worker that entered has left; what they wrote is visible then.
    /// Returns whether one of them marked a panic.
    // Called from one place where a region is watched and from one where it is not: the latter is not to pay for that.
    #[inline(always)]
    pub(crate) fn close(&self) -> bool {
        // Subtracted, for the bit is set: an `and` that returns the word is a loop on x86.
        let open = if keep!("gate_close_left_open") { OPEN } else { 0 };
        let mut word = self.word.fetch_sub(open, weaken!("gate_close_relaxed", Acquire)) - open;
        // Among more than have a core, the awaited one may be waiting for this one's.
        let crowded = word & ACTIVE > self.awake;
        let mut spin = Spin::new(if crowded { Duration::ZERO } else { self.pace.spin });
        while word & ACTIVE != 0 && keep!("gate_close_no_wait") {
            word = if spin.again() {
                self.word.load(weaken!("gate_drain_relaxed", Acquire))
            } else {
                self.drain(word)
            };
        }
        self.last.store(word, Ordering::Relaxed);
        word & PANICKED != 0
    }

    /// Announces the caller on top of `word`, in which somebody is active, and sleeps until nobody is; returns the
    /// word to look at next. When the word has moved on, nobody sleeps.
    fn drain(&self, word: u64) -> u64 {
        let announced = if keep!("gate_drain_blind") {
            let lost = weaken!("gate_drain_lost_relaxed", Acquire);
            self.word.compare_exchange(word, word | DRAINER, Ordering::Relaxed, lost)
        } else {
            Ok(self.word.fetch_or(DRAINER, Ordering::Relaxed))
        };
        if let Err(now) = announced {
            return now;
        }
        let mut beds = wait_while(&self.drained, lock(&self.beds), |beds| !beds.drained);
        if keep!("gate_drained_kept") {
            beds.drained = false;
        }
        drop(beds);
        // The last worker's lock orders only its own writes before this; the word orders everybody's.
        self.word.load(weaken!("gate_drained_relaxed", Acquire))
    }

    /// Shuts the gate for good: workers asleep or about to be are turned away from [`Gate::enter`].
    pub(crate) fn shut(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(now) = self.word.compare_exchange_weak(
            word,
            (word | SHUTDOWN) & !ASLEEP,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            word = now;
        }
        if keep!("gate_shut_no_wake") {
            self.wake(asleep(word));
        }
        if self.lookout && keep!("gate_shut_unwatched") {
            self.call_lookout();
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn generations_begin_again_and_touch_nothing_else() {
        let gate = Gate::new(1, Pace::parking(1));
        gate.word.store(!(GENERATION_ONE - 1), Ordering::Relaxed);
        let mut seen = Seen { generation: 1, ..Seen::default() };
        for generation in 0..3 {
            gate.open(1);
            assert_eq!(gate.word.load(Ordering::Relaxed), generation << GENERATION_SHIFT | OPEN);
            assert!(gate.enter(&mut seen));
            assert_eq!(seen.generation, generation);
            gate.leave();
            assert!(!gate.close());
        }
        gate.shut();
        assert!(!gate.enter(&mut seen));
    }
}

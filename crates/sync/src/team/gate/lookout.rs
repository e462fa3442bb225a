//! The lookout: the one worker of a team with more threads than cores that sees when a region does not get on.
//!
//! Only so many workers are awake as have a core, and all of them, and the caller, may be in tasks that wait: for a
//! disk, or for tasks that nobody has begun. Nobody among them can call for help then, so the lookout looks at the region
//! once a period: it enters, compares what was claimed with what was claimed a period ago, and leaves. Where something
//! stands still it calls one sleeper, core or no core, and joins the region itself once nobody sleeps. So in the end a
//! region has every thread of its team.
//!
//! It is no part of the sleepers' count, and has a condition variable of its own. When no region was opened for a period
//! it takes `WATCH` out of the word, by compare-and-swap, and sleeps until an opener puts it back: an idle team costs
//! nothing, and one in use a look in five milliseconds.

use super::{ACTIVE, ASLEEP_ONE, GENERATION_SHIFT, Gate, OPEN, SHUTDOWN, Seen, WATCH, asleep};
use crate::shim::{self, Ordering, in_order, keep, lock, pause_until, wait_while};

impl Gate {
    /// Whether this worker, counted from 1, is the lookout.
    pub(crate) fn is_lookout(&self, worker: usize) -> bool {
        self.lookout && worker as u64 == self.workers + 1
    }

    /// Waits for a period, or, if nothing has happened since the region in `seen`, until the next one is opened; `false`
    /// when the gate is shut for good.
    pub(crate) fn keep_watch(&self, seen: &Seen) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        if word & SHUTDOWN != 0 {
            return false;
        }
        let idle = word & OPEN == 0 && word >> GENERATION_SHIFT == seen.generation;
        if idle && self.go_off_watch(word) {
            let mut beds = wait_while(&self.watch, lock(&self.beds), |beds| !beds.watch);
            if keep!("gate_watch_kept") {
                beds.watch = false;
            }
        } else {
            let until = shim::deadline(self.pace.period);
            drop(pause_until(&self.watch, lock(&self.beds), until, |beds| !beds.watch));
        }
        self.word.load(Ordering::Relaxed) & SHUTDOWN == 0
    }

    /// Announces on top of `word` that the next region must call the lookout; not when the word has moved on.
    fn go_off_watch(&self, word: u64) -> bool {
        if keep!("gate_watch_blind") {
            self.word.compare_exchange(word, word & !WATCH, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        } else {
            self.word.fetch_and(!WATCH, Ordering::Relaxed);
            true
        }
    }

    /// Enters, if a region is open, even one seen before. Whoever gets `true` owes one [`Gate::leave`].
    pub(crate) fn look_in(&self, seen: &mut Seen) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & OPEN != 0 {
            match self.step_in(word, seen) {
                Ok(()) => return true,
                Err(now) => word = now,
            }
        }
        *seen = Seen { generation: word >> GENERATION_SHIFT, ..Seen::default() };
        false
    }

    /// Wakes one sleeper, core or no core, for the region that the lookout is in and that could use `helpers` more;
    /// `false` when there is nobody to wake and the lookout itself is needed.
    pub(crate) fn relieve(&self, seen: &Seen, helpers: usize) -> bool {
        let mut word = seen.word;
        loop {
            let awake = self.workers - asleep(word);
            // Those in the region, without the lookout.
            let inside = (word & ACTIVE) - 1;
            if awake - inside >= helpers as u64 {
                return true;
            }
            if asleep(word) == 0 {
                return !keep!("gate_relieve_aloof");
            }
            match self.word.compare_exchange_weak(
                word,
                word - ASLEEP_ONE,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if keep!("gate_relieve_silent") {
            self.wake(1);
        }
        true
    }

    #[cold]
    pub(super) fn call_lookout(&self) {
        in_order!("gate_watch_swapped", lock(&self.beds).watch = true, {
            if keep!("gate_watch_silent") {
                self.watch.notify_one();
            }
        });
    }
}

impl Seen {
    /// Participants of the region when the lookout entered it, itself counted for the caller, whom the word does not count.
    pub(crate) fn participants(&self) -> usize {
        (self.word & ACTIVE) as usize
    }

    /// The region's number.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

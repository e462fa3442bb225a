//! A meeting point for a fixed set of threads that nobody waits at for one who is gone.

use crate::probe::{Held, Kind, Object};
use crate::shim::{
    self, Arc, AtomicU64, Condvar, Line, Mutex, Ordering, in_order, keep, lock, planted, wait_while_until,
    weaken,
};
use crate::spin::{self, Spin};
use std::fmt;
use std::time::Duration;

const BROKEN: u64 = 1;
/// Somebody sleeps in a round of an even number; `ASLEEP << 1` is for odd ones.
const ASLEEP: u64 = 2;
const ARRIVAL: u64 = 8;

/// A barrier, and who has not come to it: for those who watch. The threads that meet hold a [`Party`] each.
///
/// ```
/// use selvedge_sync::{Barrier, BarrierError, OwnedThread};
///
/// let (_, parties) = Barrier::named(["reader", "writer"]);
/// let threads = parties.into_iter().map(|mut party| {
///     OwnedThread::spawn(party.name().to_owned(), move || {
///         let mut led = 0;
///         for _ in 0..10 {
///             led += usize::from(party.wait()?.is_leader());
///         }
///         Ok::<_, BarrierError>(led)
///     })
/// });
/// let threads: Vec<_> = threads.collect::<Result<_, _>>()?;
/// let led: Result<Vec<_>, _> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
/// assert_eq!(led?.iter().sum::<usize>(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A round is over for all of its parties or for none: once a party is dropped, by unwinding too, or has waited for
/// longer than it was willing to, the barrier is broken for good and every wait is an error that names who is to blame.
/// A round that was complete by then still counts for the slowest to leave it.
///
/// What a party did before a wait is visible to every other after the same wait. Waits look for some 30 µs and then
/// sleep; where there are more parties than cores they offer their core to others for some 100 µs and then sleep.
///
/// Each party needs a thread of its own, as [`OwnedThread`](crate::OwnedThread) is. The tasks of one region of a
/// [`Team`](crate::Team) must not meet at a barrier: the team wakes only as many threads as have a core, so parties that
/// outnumber them would wait for ever.
#[derive(Clone)]
pub struct Barrier(Arc<Shared>);

/// One thread's part in a [`Barrier`]; dropping it breaks the barrier for the others.
#[must_use = "dropping the party breaks the barrier"]
pub struct Party {
    shared: Arc<Shared>,
    index: usize,
    /// Rounds this party has been through.
    rounds: u64,
    /// How long it looks before it sleeps.
    patience: Duration,
    /// What the first failed wait said.
    broken: Option<BarrierError>,
    /// Between two rounds, others may wait for the thread that was here last.
    expected: Option<Held>,
}

/// Every order between parties, and between arrivals and sleepers, comes from one word: it counts the arrivals of all
/// rounds together, so that nothing is reset between two rounds that a slow party might still look at. Round r is
/// complete when the arrivals reach (r + 1) times the number of parties, whatever has happened since.
struct Shared {
    /// `arrivals << 3 | asleep in odd rounds | asleep in even rounds | BROKEN`.
    word: Line<AtomicU64>,
    /// By party: rounds that it has come to; ordered by `word`.
    came: Box<[Line<AtomicU64>]>,
    names: Box<[String]>,
    /// Why the barrier is broken: set under the lock together with `BROKEN`.
    reason: Mutex<Option<BarrierError>>,
    /// For even and odd rounds.
    bells: [Condvar; 2],
    spin: Duration,
    /// More parties than cores.
    crowded: bool,
    /// At its one end: whoever came last to a round.
    probe: Object,
}

/// A wait that everybody came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    leader: bool,
    round: u64,
}

/// Why parties did not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarrierError {
    /// A party was dropped.
    Left {
        /// Its name.
        who: String,
        /// Whether its thread was unwinding from a panic.
        panicked: bool,
    },
    /// A party's time was up.
    Missing {
        /// Those who had not come by then, in the order of the parties.
        who: Vec<String>,
        /// The time that was up.
        waited: Duration,
    },
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left { who, panicked: false } => write!(f, "{who} has left the barrier"),
            Self::Left { who, panicked: true } => write!(f, "{who} has left the barrier by a panic"),
            Self::Missing { who, waited } => {
                write!(f, "not at the barrier after {waited:?}: {}", who.join(", "))
            }
        }
    }
}

impl std::error::Error for BarrierError {}

impl Crossing {
    /// Whether this party is the one of its round that is the leader: the last to come.
    pub fn is_leader(&self) -> bool {
        self.leader
    }

    /// Number of the round, from zero.
    pub fn round(&self) -> u64 {
        self.round
    }
}

impl Barrier {
    /// A barrier for `count` parties, called by their numbers.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[track_caller]
    pub fn new(count: usize) -> (Self, Vec<Party>) {
        Self::named((0..count).map(|index| index.to_string()))
    }

    /// A barrier for a party of each name.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[track_caller]
    pub fn named(names: impl IntoIterator<Item = impl Into<String>>) -> (Self, Vec<Party>) {
        let names: Box<[String]> = names.into_iter().map(Into::into).collect();
        let cores = spin::cores();
        let crowded = names.len() > cores;
        Self::with_spin(names, if crowded { spin::YIELDING } else { spin::budget(cores) }, crowded)
    }

    #[track_caller]
    pub(crate) fn with_spin(names: Box<[String]>, spin: Duration, crowded: bool) -> (Self, Vec<Party>) {
        assert!(!names.is_empty(), "a barrier of no parties");
        let shared = Arc::new(Shared {
            word: Line(AtomicU64::new(0)),
            came: names.iter().map(|_| Line(AtomicU64::new(0))).collect(),
            names,
            reason: Mutex::new(None),
            bells: [Condvar::new(), Condvar::new()],
            spin,
            crowded,
            probe: Object::new(Kind::Barrier),
        });
        let party = |index| Party {
            shared: Arc::clone(&shared),
            index,
            rounds: 0,
            patience: spin,
            broken: None,
            expected: None,
        };
        let parties = (0..shared.names.len()).map(party).collect();
        (Self(shared), parties)
    }

    /// Names of the parties that have not come to the round under way. Takes no lock.
    pub fn missing(&self) -> Vec<String> {
        let round = self.0.look() / ARRIVAL / self.0.parties();
        self.0.missing(round)
    }

    /// Parties that wait, just now, for the others. Takes no lock.
    pub fn waiting(&self) -> usize {
        (self.0.look() / ARRIVAL % self.0.parties()) as usize
    }

    /// Whether a party has left, or has lost patience.
    pub fn is_broken(&self) -> bool {
        self.0.look() & BROKEN != 0
    }
}

impl Party {
    /// This party's name.
    pub fn name(&self) -> &str {
        &self.shared.names[self.index]
    }

    /// Waits until every party has come to this round.
    ///
    /// # Errors
    ///
    /// [`BarrierError`], the same for everybody: when a party has been dropped, or has lost patience.
    pub fn wait(&mut self) -> Result<Crossing, BarrierError> {
        self.cross(None)
    }

    /// As [`Party::wait`], for `timeout` at most: after that the barrier is broken for everybody.
    ///
    /// # Errors
    ///
    /// As [`Party::wait`]. [`BarrierError::Missing`] says who had not come in time.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Crossing, BarrierError> {
        self.cross(Some(timeout))
    }

    fn cross(&mut self, timeout: Option<Duration>) -> Result<Crossing, BarrierError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.expected = None;
        match self.arrive(timeout) {
            Ok(leader) => {
                self.expected = Some(self.shared.probe.expect());
                let round = self.rounds;
                self.rounds += 1;
                Ok(Crossing { leader, round })
            }
            Err(error) => {
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }
    /// Arrives at the next round and waits for the others; returns whether this party was the last to come.
    fn arrive(&mut self, timeout: Option<Duration>) -> Result<bool, BarrierError> {
        let (shared, round) = (&*self.shared, self.rounds);
        let ordering = match () {
            () if planted!("barrier_arrive_no_acquire") => Ordering::Release,
            () if planted!("barrier_arrive_no_release") => Ordering::Acquire,
            () => Ordering::AcqRel,
        };
        let before;
        // Whoever sees the arrival sees who it was.
        in_order!(
            "barrier_came_late",
            shared.came[self.index].store(round + 1, Ordering::Relaxed),
            before = if keep!("barrier_arrive_torn") {
                shared.word.fetch_add(ARRIVAL, ordering)
            } else {
                let before = shared.word.load(ordering);
                shared.word.store(before + ARRIVAL, ordering);
                before
            }
        );
        let complete = (round + 1) * shared.parties();
        let odd = if keep!("barrier_one_bed") { (round & 1) as usize } else { 0 };
        if before / ARRIVAL + 1 == complete {
            shared.probe.here(0);
            shared.wake(before, odd);
            looking_paid(&mut self.patience, shared.spin);
            return Ok(true);
        }
        let crossed = |word: u64| word / ARRIVAL >= complete;
        let _wait = shared.probe.wait(0);
        let mut spin = Spin::new(self.patience);
        if shared.crowded {
            spin = spin.yielding();
        }
        loop {
            let word = shared.look();
            // Complete first: what has happened since is a matter of later rounds.
            if crossed(word) && keep!("barrier_broken_first") {
                looking_paid(&mut self.patience, shared.spin);
                return Ok(false);
            }
            if word & BROKEN != 0 {
                return Err(why(&lock(&shared.reason)));
            }
            if !keep!("barrier_broken_first") && crossed(word) {
                return Ok(false);
            }
            if !spin.again() {
                break;
            }
        }
        self.patience /= 4;
        shared.sleep(round, odd, timeout)
    }
}

/// Where looking on was in vain the others have no core to come on, be it that other programs have them: look for less
/// long, until looking pays again.
fn looking_paid(patience: &mut Duration, most: Duration) {
    *patience = (2 * *patience + Duration::from_micros(1)).min(most);
}

impl Drop for Party {
    fn drop(&mut self) {
        self.shared.leave(self.index);
    }
}

impl Shared {
    fn parties(&self) -> u64 {
        self.names.len() as u64
    }

    /// The word, and with it all that went before the arrivals in it.
    fn look(&self) -> u64 {
        self.word.load(weaken!("barrier_look_relaxed", Acquire))
    }

    /// The names of those who have not come to this round, as far as the last look can tell.
    fn missing(&self, round: u64) -> Vec<String> {
        let came = self.came.iter().map(|came| came.load(Ordering::Relaxed));
        came.zip(&self.names).filter(|(came, _)| *came <= round).map(|(_, name)| name.clone()).collect()
    }

    /// Wakes those who sleep in a round that this arrival completes.
    fn wake(&self, before: u64, odd: usize) {
        if before & ASLEEP << odd == 0 {
            return;
        }
        // Those who are quick to sleep in the next round have the other bit.
        self.word.fetch_and(!(ASLEEP << odd), Ordering::Relaxed);
        // Who has announced a sleep, and does not sleep yet, holds the lock.
        if keep!("barrier_wake_no_lock") {
            drop(lock(&self.reason));
        }
        if keep!("barrier_no_notify") {
            self.ring(odd);
        }
    }

    fn ring(&self, odd: usize) {
        if keep!("barrier_wakes_one") {
            self.bells[odd].notify_all();
        } else {
            self.bells[odd].notify_one();
        }
    }

    fn sleep(&self, round: u64, odd: usize, timeout: Option<Duration>) -> Result<bool, BarrierError> {
        let complete = (round + 1) * self.parties();
        let mut deadline = timeout.and_then(shim::deadline);
        let mut reason = lock(&self.reason);
        if keep!("barrier_sleep_silent") {
            self.word.fetch_or(ASLEEP << odd, Ordering::Relaxed);
        }
        loop {
            let mut word = 0;
            reason = wait_while_until(&self.bells[odd], reason, deadline, |_| {
                word = self.look();
                word / ARRIVAL < complete && word & BROKEN == 0
            });
            if word / ARRIVAL >= complete {
                return Ok(false);
            }
            if word & BROKEN != 0 {
                return Err(why(&reason));
            }
            let who = self.missing(round);
            if who.is_empty() && keep!("barrier_nobody_missing") {
                // All have come, and the last is about to count itself.
                deadline = None;
                continue;
            }
            let waited = timeout.unwrap_or_default();
            if self.break_up(Some(word), &mut reason, BarrierError::Missing { who, waited }) {
                return Err(why(&reason));
            }
        }
    }

    /// Breaks the barrier, unless it is broken already or, where a word is `expected`, has moved on from it; returns
    /// whether it did.
    fn break_up(&self, expected: Option<u64>, reason: &mut Option<BarrierError>, why: BarrierError) -> bool {
        let mut word = expected.unwrap_or_else(|| self.word.load(Ordering::Relaxed));
        while word & BROKEN == 0 {
            // Arrivals at a round that will not be complete count no longer: together with those to come, one a party,
            // they could complete it.
            let void = if keep!("barrier_arrivals_kept") { word / ARRIVAL % self.parties() } else { 0 };
            let broken = BROKEN | ((word / ARRIVAL - void) * ARRIVAL);
            match self.word.compare_exchange(word, broken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    *reason = Some(why);
                    if keep!("barrier_break_silent") {
                        self.ring(0);
                        self.ring(1);
                    }
                    return true;
                }
                Err(_) if expected.is_some() && keep!("barrier_break_blind") => return false,
                Err(now) => word = now,
            }
        }
        false
    }

    fn leave(&self, index: usize) {
        let why = BarrierError::Left { who: self.names[index].clone(), panicked: std::thread::panicking() };
        if keep!("barrier_leave_silent") {
            self.break_up(None, &mut lock(&self.reason), why);
        }
    }
}

/// Why the barrier is broken, for one who has seen that it is.
fn why(reason: &Option<BarrierError>) -> BarrierError {
    reason.clone().expect("the reason is there before the lock is free")
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.0.names.len())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Party")
            .field("name", &self.name())
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_missing_who_only_has_to_count_itself() {
        let (barrier, mut parties) = Barrier::new(2);
        let mut other = parties.pop().unwrap();
        let mut one = parties.pop().unwrap();
        // As if the other were stopped between the two steps of its arrival.
        other.shared.came[1].store(1, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let waits = scope.spawn(move || (one.wait_timeout(Duration::from_millis(5)), one));
            std::thread::sleep(Duration::from_millis(30));
            assert!(!barrier.is_broken() && !waits.is_finished());
            assert_eq!(other.arrive(None), Ok(true));
            assert_eq!(waits.join().unwrap().0, Ok(Crossing { leader: false, round: 0 }));
        });
    }
}

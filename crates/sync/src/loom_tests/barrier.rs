//! Models of the barrier.
#![expect(unsafe_code, reason = "parties write cells that loom watches for races")]

use super::{ALL, explore_loads};
use crate::shim::Arc;
use crate::{Barrier, BarrierError, Crossing, Party};
use loom::cell::UnsafeCell;
use loom::thread;
use std::time::Duration;

/// Nobody looks twice before sleeping.
const SLEEP: Duration = Duration::ZERO;
/// Two looks before sleeping, see `Spin`.
const LOOK_TWICE: Duration = Duration::from_nanos(2);

fn meeting(count: usize, spin: Duration) -> (Barrier, Vec<Party>) {
    Barrier::with_spin((0..count).map(|index| index.to_string()).collect(), spin, false)
}

/// Memory of two parties, written before a round and read after it by both.
struct Cells([UnsafeCell<u64>; 2]);

// SAFETY: none in itself; loom reports every unsynchronized access, and that is what the models check.
unsafe impl Sync for Cells {}
// SAFETY: as above.
unsafe impl Send for Cells {}

impl Cells {
    fn new() -> Arc<Self> {
        Arc::new(Self([UnsafeCell::new(0), UnsafeCell::new(0)]))
    }

    fn set(&self, index: usize, value: u64) {
        // SAFETY: loom checks that nobody else is at it.
        self.0[index].with_mut(|cell| unsafe { *cell = value });
    }

    fn get(&self, index: usize) -> u64 {
        // SAFETY: loom checks that nobody writes it.
        self.0[index].with(|cell| unsafe { *cell })
    }
}

/// Two parties in three rounds: one leader a round, and what each wrote before a round the other reads after it, or
/// writes over after the next, with no order from elsewhere. A fast one that is in the next round, or asleep in it, does
/// not hold up a slow one that has yet to leave this (ggml#1065 and llama.cpp#11736, whose barriers reset state that a
/// slow thread still looks at).
#[expect(clippy::unwrap_used, reason = "the body of two models")]
fn rounds(spin: Duration) {
    let (_, mut parties) = meeting(2, spin);
    let cells = Cells::new();
    let run = |mut party: Party, mine: usize, cells: Arc<Cells>| {
        let mut led = [false; 4];
        cells.set(mine, 1);
        led[0] = party.wait().unwrap().is_leader();
        assert_eq!(cells.get(1 - mine), 1);
        led[1] = party.wait().unwrap().is_leader();
        cells.set(1 - mine, 2);
        led[2] = party.wait().unwrap().is_leader();
        assert_eq!(cells.get(mine), 2);
        (led, party)
    };
    let (second, theirs) = (parties.pop().unwrap(), Arc::clone(&cells));
    let other = thread::spawn(move || run(second, 1, theirs));
    let (mine, party) = run(parties.pop().unwrap(), 0, cells);
    let (theirs, other) = other.join().unwrap();
    drop((party, other));
    assert!((0..3).all(|round| mine[round] != theirs[round]), "{mine:?} {theirs:?}");
}

/// See `rounds`: with sleeping waits.
///
/// 2 threads, at most 5 preemptions: 95,104 schedules, 3.9 s. Kills `barrier_arrive_no_acquire`,
/// `barrier_arrive_no_release`, `barrier_look_relaxed`, `barrier_arrive_torn`, `barrier_sleep_silent`,
/// `barrier_wake_no_lock`, `barrier_no_notify`, `barrier_one_bed`.
#[test]
fn loom_barrier_llama_cpp_11736() {
    explore_loads("loom_barrier_llama_cpp_11736", 5, || rounds(SLEEP));
}

/// See `rounds`: with waits that look before they sleep.
///
/// 2 threads, at most 4 preemptions: 12,543 schedules, 0.5 s. Kills nothing that the others leave.
#[test]
fn loom_barrier_spins() {
    explore_loads("loom_barrier_spins", 4, || rounds(LOOK_TWICE));
}

/// Three parties meet, and the last to come wakes both others.
///
/// 3 threads, at most 3 preemptions: 21,750 schedules, 1.2 s. Kills `barrier_wakes_one`.
#[test]
fn loom_barrier_wakes_all() {
    explore_loads("loom_barrier_wakes_all", 3, || {
        let (_, parties) = meeting(3, SLEEP);
        let cross = |mut party: Party| (party.wait().unwrap(), party);
        let mut parties = parties.into_iter();
        let mine = parties.next().unwrap();
        let others: Vec<_> = parties.map(|party| thread::spawn(move || cross(party))).collect();
        let mut crossed = vec![cross(mine)];
        crossed.extend(others.into_iter().map(|other| other.join().unwrap()));
        assert_eq!(crossed.iter().filter(|(crossing, _)| crossing.is_leader()).count(), 1);
    });
}

/// A party that leaves lets those go that wait, or are about to, with its name. That it leaves right after a round, and
/// before another has left that round, changes nothing about the round.
///
/// 2 threads, no bound on preemptions: 20,018 schedules, 0.8 s. Kills `barrier_leave_silent`, `barrier_break_silent`,
/// `barrier_broken_first`.
#[test]
fn loom_barrier_party_leaves() {
    explore_loads("loom_barrier_party_leaves", ALL, || {
        let (_, mut parties) = meeting(2, SLEEP);
        let mut leaves = parties.pop().unwrap();
        let other = thread::spawn(move || leaves.wait().unwrap());
        let mut stays = parties.pop().unwrap();
        let crossing = stays.wait().unwrap();
        for _ in 0..2 {
            let left = BarrierError::Left { who: "1".to_owned(), panicked: false };
            assert_eq!(stays.wait(), Err(left));
        }
        assert_ne!(crossing.is_leader(), other.join().unwrap().is_leader());
    });
}

/// One of three loses patience while the others come: all cross, or none, and then for the same reason, which names at
/// least one, and not the one who lost patience.
///
/// 3 threads, at most 3 preemptions: 41,903 schedules, 2.3 s. Kills `barrier_arrivals_kept`, `barrier_break_blind`,
/// `barrier_nobody_missing`.
#[test]
fn loom_barrier_all_or_none() {
    explore_loads("loom_barrier_all_or_none", 3, || {
        let (_, parties) = meeting(3, SLEEP);
        let mut parties = parties.into_iter();
        let mut impatient = parties.next().unwrap();
        let others: Vec<_> = parties
            .map(|mut party| thread::spawn(move || (party.wait().map(|crossing| crossing.round()), party)))
            .collect();
        let mine = impatient.wait_timeout(Duration::ZERO).map(|crossing| crossing.round());
        // Joined with their parties: whoever is through must not be taken for one who left.
        let others: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
        assert!(others.iter().all(|(theirs, _)| *theirs == mine), "{mine:?} {others:?}");
        if let Err(error) = mine {
            let BarrierError::Missing { who, .. } = error else { panic!("{error}") };
            assert!(!who.is_empty() && !who.contains(&"0".to_owned()), "{who:?}");
        }
    });
}

/// Who has been counted is not missing, by the count alone.
///
/// 2 threads, no bound on preemptions: 11,463 schedules, 0.5 s. Kills `barrier_came_late`.
#[test]
fn loom_barrier_names_the_missing() {
    explore_loads("loom_barrier_names_the_missing", ALL, || {
        let (barrier, mut parties) = meeting(3, SLEEP);
        let (mut comes, mut impatient) = (parties.pop().unwrap(), parties.pop().unwrap());
        let other = thread::spawn(move || comes.wait());
        let counted = barrier.waiting() == 1;
        assert!(!counted || barrier.missing() == ["0", "1"]);
        let error = impatient.wait_timeout(Duration::ZERO).unwrap_err();
        let BarrierError::Missing { who, .. } = &error else { panic!("{error}") };
        assert!(*who == ["0"] || !counted && *who == ["0", "2"], "{who:?}");
        assert_eq!(other.join().unwrap().map(|crossing: Crossing| crossing.round()), Err(error));
    });
}

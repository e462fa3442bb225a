//! Planted hangs, read back from the report: a wake-up taken away, cycles of locks, an order that could deadlock.

use super::{Cycle, Diagnosis, InstrumentSettings, Instruments};
use crate::kind::Kind;
use crate::probe::{Held, Object};
use crate::shim::{Condvar, Mutex, lock, wait_while};
use crate::spin::Pace;
use crate::{Latch, OwnedThread, Team, phase};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

/// A lock with the hooks of one, and a hatch: once that is open, nobody waits for it any more.
struct Deadly {
    /// Taken, hatch open.
    state: Mutex<(bool, bool)>,
    freed: Condvar,
    probe: Object,
}

struct Guard<'a> {
    lock: &'a Deadly,
    held: Option<Held>,
}

impl Deadly {
    #[track_caller]
    fn new() -> Self {
        Self { state: Mutex::new((false, false)), freed: Condvar::new(), probe: Object::new(Kind::Mutex) }
    }

    fn lock(&self) -> Guard<'_> {
        let mut state = lock(&self.state);
        if state.0 && !state.1 {
            let _wait = self.probe.wait(0);
            state = wait_while(&self.freed, state, |(taken, open)| *taken && !*open);
        }
        state.0 = true;
        drop(state);
        Guard { lock: self, held: Some(self.probe.hold(0)) }
    }

    fn open_hatch(&self) {
        lock(&self.state).1 = true;
        self.freed.notify_all();
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.held.take();
        lock(&self.lock.state).0 = false;
        self.lock.freed.notify_one();
    }
}

/// Instruments under watch, and what the watch says first.
fn watched() -> (Instruments, super::Watch, mpsc::Receiver<Diagnosis>) {
    let instruments = Instruments::new(InstrumentSettings::default());
    let (tell, told) = mpsc::channel();
    let watch = instruments.watch(SOON, move |found| tell.send(found.clone()).unwrap()).unwrap();
    (instruments, watch, told)
}

/// So many threads, of which each holds a lock and asks for the next: dead, until the hatches are opened.
fn circle(threads: usize) -> Diagnosis {
    let (instruments, _watch, told) = watched();
    let main = instruments.enter("main");
    let locks: Arc<Vec<Deadly>> = Arc::new((0..threads).map(|_| Deadly::new()).collect());
    let all_hold = Arc::new(std::sync::Barrier::new(threads));
    let spawn = |index: usize| {
        let (locks, all_hold) = (Arc::clone(&locks), Arc::clone(&all_hold));
        OwnedThread::spawn(format!("philosopher-{index}"), move || {
            let _phase = phase("eat");
            let _left = locks[index].lock();
            all_hold.wait();
            let _right = locks[(index + 1) % locks.len()].lock();
        })
        .unwrap()
    };
    let philosophers: Vec<OwnedThread<()>> = (0..threads).map(spawn).collect();
    // The watch may see some of them before all wait.
    let found = loop {
        let found = told.recv_timeout(LONG).unwrap();
        if !found.cycles.is_empty() {
            break found;
        }
    };
    locks.iter().for_each(Deadly::open_hatch);
    philosophers.into_iter().for_each(|philosopher| philosopher.join().unwrap());
    drop(main);
    instruments.finish().unwrap();
    found
}

/// The threads of a circle in its order, from philosopher 0 on: it may have been found from any of them.
fn from_the_first(cycle: &Cycle) -> Vec<&str> {
    let mut names: Vec<&str> = cycle.links.iter().map(|(name, _)| name.as_str()).collect();
    let first = names.iter().position(|name| *name == "philosopher-0").unwrap();
    names.rotate_left(first);
    names
}

#[test]
fn two_threads_in_a_circle_are_named() {
    let found = circle(2);
    let text = found.to_string();
    let [cycle] = &found.cycles[..] else { panic!("{found}") };
    assert!(cycle.certain, "{found}");
    assert_eq!(from_the_first(cycle), ["philosopher-0", "philosopher-1"]);
    let waits = "philosopher-0 waits for mutex at crates/sync/src/instruments/live/tests.rs:";
    assert!(text.contains("deadlock: ") && text.contains(waits), "{text}");
    // Whoever has waited for long enough by then has a line of its own.
    let missing = |at: usize| {
        text.contains(&format!(
            "missing: philosopher-{at} (spawned at crates/sync/src/instruments/live/tests.rs:"
        ))
    };
    assert!(missing(0) || missing(1), "{text}");
    assert!(text.contains("in phase \"eat\""), "{text}");
}

#[test]
fn three_threads_in_a_circle_are_named() {
    let found = circle(3);
    let [cycle] = &found.cycles[..] else { panic!("{found}") };
    assert_eq!(from_the_first(cycle), ["philosopher-0", "philosopher-1", "philosopher-2"]);
    assert!(cycle.certain);
}

#[test]
fn an_inversion_that_never_deadlocked_is_a_cycle_of_the_order() {
    let instruments = Instruments::new(InstrumentSettings::default());
    let main = instruments.enter("main");
    let first = Deadly::new();
    let second = Deadly::new();
    let third = Deadly::new();
    {
        let _a = first.lock();
        let _b = second.lock();
        let _c = third.lock();
    }
    let order = instruments.report().lock_order;
    assert_eq!((order.edges.len(), order.cycles.len()), (3, 0), "{order}");
    {
        let _c = third.lock();
        let _a = first.lock();
    }
    let order = instruments.report().lock_order;
    let lines = |sites: &[super::Site]| sites.iter().map(|site| site.place.unwrap().line).collect::<Vec<_>>();
    let [longer, cycle] = &order.cycles[..] else { panic!("{order}") };
    let built = lines(longer);
    assert_eq!((lines(cycle), built[1] - built[0], built[2] - built[1]), (vec![built[0], built[2]], 1, 1));
    assert!(order.to_string().contains("can deadlock: mutex at "), "{order}");
    drop(main);
}

/// Locks taken in an order, by many threads, under a watch without any patience: waits, but no cycle.
#[test]
fn correct_code_is_never_called_a_circle() {
    let instruments = Instruments::new(InstrumentSettings::default());
    let main = instruments.enter("main");
    let locks: Arc<Vec<Deadly>> = Arc::new((0..3).map(|_| Deadly::new()).collect());
    let spawn = |index: usize| {
        let locks = Arc::clone(&locks);
        OwnedThread::spawn(format!("worker-{index}"), move || {
            for round in 0..300 {
                let _low = locks[(index + round) % 2].lock();
                std::thread::yield_now();
                let _high = locks[2].lock();
            }
        })
        .unwrap()
    };
    let workers: Vec<OwnedThread<()>> = (0..4).map(spawn).collect();
    let mut seen = 0;
    while workers.iter().any(|worker| !worker.is_finished()) {
        if let Some(found) = instruments.diagnose(Duration::ZERO) {
            assert!(found.cycles.is_empty(), "{found}");
            seen += 1;
        }
    }
    drop(workers);
    drop(main);
    assert!(seen > 0, "nothing ever waited, so nothing was tested");
}

const CHILD: &str = "SELVEDGE_MUTANT";

/// Runs this test again in a process of its own, in which the mutant is planted; returns what it printed.
fn hang(test: &str, mutant: &str) -> String {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, mutant)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(7), "{said}");
    said
}

/// In the child: prints the first report there is and ends the process, which cannot end by itself.
#[expect(clippy::exit, clippy::print_stderr, reason = "a process that hangs on purpose")]
fn report_and_end(told: mpsc::Receiver<Diagnosis>) {
    // Not registered: it is no part of what is looked at.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            eprintln!("{}", told.recv_timeout(LONG).unwrap());
            std::process::exit(7);
        });
    });
}

#[test]
fn a_lost_wake_up_at_the_end_of_a_region_is_told_from_the_report() {
    let test = "instruments::live::tests::a_lost_wake_up_at_the_end_of_a_region_is_told_from_the_report";
    if std::env::var(CHILD).is_err() {
        let said = hang(test, "gate_leave_no_notify");
        assert!(said.contains("main has waited "), "{said}");
        assert!(said.contains("for region at crates/sync/src/instruments/live/tests.rs:"), "{said}");
        assert!(said.contains("nobody known owes it: a wake-up was lost"), "{said}");
        assert!(said.contains("last there: selvedge-1 (spawned at crates/sync/src/"), "{said}");
        assert!(said.contains("idle: next region of team at"), "{said}");
        return;
    }
    let (instruments, _watch, told) = watched();
    let hangs = OwnedThread::spawn("outer", move || {
        let _main = instruments.enter("main");
        // Nobody looks before it sleeps, so that the caller needs the notification.
        let team = Team::with_pace(2, Pace::parking(1)).unwrap();
        let both = std::sync::Barrier::new(2);
        team.parallel(2, |index| {
            both.wait();
            assert!(index < 2);
            if std::thread::current().name() == Some("selvedge-1") {
                std::thread::sleep(SOON / 5);
            }
        });
    });
    report_and_end(told);
    drop(hangs);
}

#[test]
fn a_lost_wake_up_at_a_latch_is_told_from_the_report() {
    let test = "instruments::live::tests::a_lost_wake_up_at_a_latch_is_told_from_the_report";
    if std::env::var(CHILD).is_err() {
        let said = hang(test, "latch_no_notify");
        assert!(said.contains("main has waited "), "{said}");
        assert!(said.contains("for latch at crates/sync/src/instruments/live/tests.rs:"), "{said}");
        assert!(said.contains("nobody known owes it"), "{said}");
        assert!(said.contains("last there: opener (spawned at crates/sync/src/instruments/live/tests.rs:"));
        return;
    }
    let (instruments, _watch, told) = watched();
    let hangs = OwnedThread::spawn("outer", move || {
        let _main = instruments.enter("main");
        let (latch, tickets) = Latch::new(1);
        let opener = OwnedThread::spawn("opener", move || {
            std::thread::sleep(SOON / 5);
            drop(tickets);
            std::thread::sleep(LONG);
        });
        latch.wait();
        drop(opener);
    });
    report_and_end(told);
    drop(hangs);
}

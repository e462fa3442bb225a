//! A team whose tasks panic and are cancelled: the worker protocol of a training step.

use super::{choose, explore, tear};
use crate::shim::{Arc, AtomicUsize, Ordering};
use crate::spin::Pace;
use crate::{CancelToken, OwnedThread, RegionError, Team};
use std::time::Duration;

/// Threads of the team, the caller's included.
const THREADS: usize = 4;
const TASKS: usize = 6;
const LONG: Duration = Duration::MAX;

fn team() -> Arc<Team> {
    // Two looks before parking, or none: both ways of waiting. Cores for all workers, for one, or for none.
    let spin = Duration::from_nanos([0, 2][choose(2)]);
    let awake = [THREADS - 1, 1, 0][choose(3)];
    Arc::new(Team::with_pace(THREADS, Pace { spin, ..Pace::parking(awake) }).expect("a team of few"))
}

/// Every task once, whoever runs it.
fn whole_region(team: &Team) {
    let ran: Vec<AtomicUsize> = (0..TASKS).map(|_| AtomicUsize::new(0)).collect();
    let count = |task: usize| {
        ran[task].fetch_add(1, Ordering::Relaxed);
    };
    assert_eq!(team.try_parallel(TASKS, count), Ok(()));
    let ran: Vec<usize> = ran.iter().map(|ran| ran.load(Ordering::Relaxed)).collect();
    assert_eq!(ran, [1; TASKS]);
}

/// One task waits for a cancellation, as a stalled worker does, another panics, and the cancellation comes from a third
/// side at any moment: the region ends with the panic as its error, the next one is whole, and the team can be
/// dismissed.
#[test]
fn shuttle_team_panic_and_cancel() {
    explore("shuttle_team_panic_and_cancel", || {
        let team = team();
        for _ in 0..2 {
            let run = CancelToken::new();
            let step = run.child();
            let torn = 1 + choose(TASKS - 1);
            let canceller = OwnedThread::spawn("canceller", move || run.cancel()).unwrap();
            let outcome = team.try_parallel(TASKS, |task| match task {
                0 => assert!(step.wait_timeout(LONG)),
                _ if task == torn => tear("torn"),
                // As workers look before each microbatch.
                _ => {
                    step.is_cancelled();
                }
            });
            let message = "torn".to_owned();
            assert_eq!(outcome, Err(RegionError::TaskPanicked { task: torn, message }));
            assert_eq!(canceller.join(), Ok(()));
            assert!(step.is_cancelled());
            whole_region(&team);
        }
        assert_eq!(Arc::into_inner(team).unwrap().shutdown(LONG), Ok(()));
    });
}

/// Two threads use one team at once, and one of them panics in a task: the other's regions are whole, inline or not.
#[test]
fn shuttle_team_shared_with_a_panic() {
    explore("shuttle_team_shared_with_a_panic", || {
        let team = team();
        let theirs = Arc::clone(&team);
        let other = OwnedThread::spawn("other", move || (0..2).for_each(|_| whole_region(&theirs))).unwrap();
        for _ in 0..2 {
            let outcome = team.try_parallel(TASKS, |task| {
                if task == 2 {
                    tear("torn")
                }
            });
            assert!(matches!(outcome, Err(RegionError::TaskPanicked { task: 2, .. })), "{outcome:?}");
        }
        whole_region(&team);
        assert_eq!(other.join(), Ok(()));
        drop(Arc::into_inner(team).unwrap());
    });
}

/// A region gives each of its tasks a thread, with a core or without, whoever sleeps or is about to: the tasks wait for
/// each other, so one that is not woken hangs it.
#[test]
fn shuttle_team_gives_every_task_a_thread() {
    explore("shuttle_team_gives_every_task_a_thread", || {
        let team = team();
        for _ in 0..2 {
            let (met, parties) = crate::Barrier::new(THREADS);
            let seats: Vec<_> =
                parties.into_iter().map(|party| crate::shim::Mutex::new(Some(party))).collect();
            team.parallel(THREADS, |task| {
                let mut party = crate::shim::lock(&seats[task]).take().unwrap();
                assert!(party.wait().is_ok());
            });
            assert_eq!(met.waiting(), 0);
        }
        drop(Arc::into_inner(team).unwrap());
    });
}

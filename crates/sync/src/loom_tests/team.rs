//! Models of the team: its regions, its sleepers, its end.
#![expect(unsafe_code, reason = "tasks write cells that loom watches for races")]

use super::{ALL, explore, explore_loads};
use crate::probe::{Place, region};
use crate::spin::Pace;
use crate::team::crew::Crew;
use crate::team::gate::{Gate, Seen};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::time::Duration;

/// Nobody looks twice before parking, and everybody has a core.
const PARK: Pace = Pace::parking(2);
/// Two looks before parking, see `Spin`.
const LOOK_TWICE: Pace = Pace { spin: Duration::from_nanos(2), ..PARK };

/// Memory that tasks write without synchronization of their own, so that loom sees what the team owes them.
struct Cells(Vec<UnsafeCell<usize>>);

// SAFETY: none in itself; loom reports every unsynchronized access, and that is what the models check.
unsafe impl Sync for Cells {}
// SAFETY: as above.
unsafe impl Send for Cells {}

impl Cells {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn bump(&self, index: usize) {
        // SAFETY: loom checks that nobody else is at it.
        self.0[index].with_mut(|cell| unsafe { *cell += 1 });
    }

    fn get(&self, index: usize) -> usize {
        // SAFETY: loom checks that nobody writes it.
        self.0[index].with(|cell| unsafe { *cell })
    }

    fn all(&self) -> Vec<usize> {
        (0..self.0.len()).map(|index| self.get(index)).collect()
    }
}

/// A crew with its workers on loom's threads.
struct Model {
    crew: Arc<Crew>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Model {
    fn new(workers: usize, pace: Pace) -> Self {
        let crew = Arc::new(Crew::new(workers, pace));
        let workers = (1..=workers)
            .map(|participant| {
                let crew = Arc::clone(&crew);
                thread::spawn(move || crew.serve(participant))
            })
            .collect();
        Self { crew, workers }
    }

    fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) -> bool {
        match self.crew.run(region(Place::here()), tasks, &|_, index| task(index)) {
            None => false,
            Some(Ok(())) => true,
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.payload),
        }
    }

    fn end(self) {
        self.crew.dismiss();
        for worker in self.workers {
            worker.join().expect("a worker catches what tasks throw");
        }
    }
}

/// Each task of two regions of different sizes runs once, and the caller sees what it wrote, before any join.
///
/// 3 threads, 3 preemptions: 254,127 schedules, 14 s. Kills `gate_leave_torn`.
#[test]
fn loom_team_two_regions() {
    explore("loom_team_two_regions", 3, || {
        let model = Model::new(2, PARK);
        let cells = Cells::new(3);
        assert!(model.run(3, |index| cells.bump(index)));
        assert_eq!(cells.all(), [1, 1, 1]);
        assert!(model.run(2, |index| cells.bump(index)));
        assert_eq!(cells.all(), [2, 2, 1]);
        model.end();
    });
}

/// Two threads with a lane of two tasks each, twice: whoever is done first takes the other's last.
///
/// 2 threads, 4 preemptions: 203,345 schedules, 8.6 s. Kills `crew_lanes_kept`, `crew_steal_front`.
#[test]
fn loom_team_lanes() {
    explore("loom_team_lanes", 4, || {
        let model = Model::new(1, Pace { lanes: 2, ..PARK });
        let cells = Cells::new(4);
        for round in 1..=2 {
            assert!(model.run(4, |index| cells.bump(index)));
            assert_eq!(cells.all(), [round; 4]);
        }
        model.end();
    });
}

/// As `loom_team_two_regions`, with one worker and waits that look before they park.
///
/// 2 threads, no bound on preemptions: 68,248 schedules, 2.6 s. Kills `gate_drain_relaxed`.
#[test]
fn loom_team_spins() {
    explore("loom_team_spins", ALL, || {
        let model = Model::new(1, LOOK_TWICE);
        let cells = Cells::new(2);
        assert!(model.run(2, |index| cells.bump(index)));
        assert_eq!(cells.all(), [1, 1]);
        assert!(model.run(2, |index| cells.bump(index)));
        assert_eq!(cells.all(), [2, 2]);
        model.end();
    });
}

/// The caller waits for both workers, and what each wrote at the very end is visible to it, whoever left last. The gate
/// alone, so that three preemptions are soon explored.
///
/// 3 threads, 3 preemptions: 60,928 schedules, 3.3 s. Kills `gate_drained_relaxed`.
#[test]
fn loom_gate_drains() {
    explore("loom_gate_drains", 3, || {
        let gate = Arc::new(Gate::new(2, PARK));
        let cells = Arc::new(Cells::new(2));
        let inside = Arc::new((Mutex::new(0), Condvar::new()));
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let (gate, cells, inside) = (Arc::clone(&gate), Arc::clone(&cells), Arc::clone(&inside));
                thread::spawn(move || {
                    let mut seen = Seen::default();
                    assert!(gate.enter(&mut seen));
                    gate.call(&seen, 1);
                    *inside.0.lock().unwrap() += 1;
                    inside.1.notify_one();
                    cells.bump(index);
                    gate.leave();
                })
            })
            .collect();
        gate.open(2);
        let mut count = inside.0.lock().unwrap();
        while *count < 2 {
            count = inside.1.wait(count).unwrap();
        }
        drop(count);
        assert!(!gate.close());
        assert_eq!(cells.all(), [1, 1]);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// One worker, two regions, and nobody looks twice before parking: what a worker reads, writes and leaves behind.
///
/// 2 threads, 5 preemptions: 22,058 schedules, 0.9 s. Kills `gate_open_relaxed`, `gate_enter_relaxed`,
/// `gate_leave_relaxed`, `gate_close_relaxed`, `gate_drain_lost_relaxed`, `gate_leave_no_notify`, `gate_leave_swapped`,
/// `gate_enter_blind`, `gate_drain_blind`, `gate_drained_kept`, `gate_close_left_open`, `gate_close_no_wait`,
/// `crew_leave_early`.
#[test]
fn loom_team_one_worker() {
    explore("loom_team_one_worker", 5, || {
        let model = Model::new(1, PARK);
        let cells = Cells::new(2);
        for round in 1..=2 {
            assert!(model.run(2, |index| cells.bump(index)));
            assert_eq!(cells.all(), [round, round]);
        }
        model.end();
    });
}

/// A region gets the help it asks for, whoever sleeps: the model's tasks wait for each other, so a worker that is not
/// woken hangs it. Twice, so that a worker must come back.
///
/// 2 threads, 4 preemptions: 9,965 schedules, 0.4 s. Kills `gate_open_no_wake`, `gate_wake_swapped`,
/// `gate_wake_up_kept`, `gate_generation_kept`.
#[test]
fn loom_team_wakes_sleepers() {
    explore("loom_team_wakes_sleepers", 4, || {
        let model = Model::new(1, PARK);
        for _ in 0..2 {
            let (here, met) = (Mutex::new(0), Condvar::new());
            assert!(model.run(2, |_| {
                let mut here = here.lock().unwrap();
                *here += 1;
                met.notify_one();
                while *here < 2 {
                    here = met.wait(here).unwrap();
                }
            }));
        }
        model.end();
    });
}

/// Two sleepers are woken when two are needed.
///
/// 3 threads, 2 preemptions: 48,764 schedules, 2.7 s. Kills `gate_call_silent`.
#[test]
fn loom_team_wakes_both() {
    explore("loom_team_wakes_both", 2, || {
        let model = Model::new(2, PARK);
        let (here, met) = (Mutex::new(0), Condvar::new());
        assert!(model.run(3, |_| {
            let mut here = here.lock().unwrap();
            *here += 1;
            met.notify_all();
            while *here < 3 {
                here = met.wait(here).unwrap();
            }
        }));
        model.end();
    });
}

/// A region whose tasks wait for all of them to begin gets every thread, with a core or without: the model's crew has no core beside
/// the caller's, so the lookout must call the other worker and then come itself.
///
/// 3 threads, 1 preemptions: 9,463 schedules, 0.6 s. Kills `gate_relieve_silent`, `gate_relieve_aloof`.
#[test]
fn loom_team_relieves() {
    explore("loom_team_relieves", 1, || {
        let model = Model::new(2, Pace::parking(0));
        let (begun, all) = (Mutex::new(0), Condvar::new());
        assert!(model.run(3, |_| {
            let mut begun = begun.lock().unwrap();
            *begun += 1;
            if *begun == 3 {
                all.notify_all();
            }
            while *begun < 3 {
                begun = all.wait(begun).unwrap();
            }
        }));
        model.end();
    });
}

/// The lookout alone: it goes to sleep when nothing happens, is called by the next region, looks in while that opens, runs
/// and closes, and sees its job or nothing.
///
/// 2 threads, 4 preemptions: 74,896 schedules, 3.4 s. Kills `gate_watch_blind`, `gate_watch_swapped`,
/// `gate_watch_silent`, `gate_watch_kept`, `gate_shut_unwatched`.
#[test]
fn loom_team_lookout() {
    explore("loom_team_lookout", 4, || {
        let model = Model::new(1, Pace::parking(0));
        for _ in 0..2 {
            let (here, met) = (Mutex::new(0), Condvar::new());
            assert!(model.run(2, |_| {
                let mut here = here.lock().unwrap();
                *here += 1;
                met.notify_all();
                while *here < 2 {
                    here = met.wait(here).unwrap();
                }
            }));
        }
        model.end();
    });
}

/// No two participants of a region have the same number, so that what a number owns needs no lock.
///
/// 3 threads, 3 preemptions: 74,174 schedules, 4.0 s. Kills `crew_participant_shared`.
#[test]
fn loom_team_participants() {
    explore("loom_team_participants", 3, || {
        let model = Model::new(2, PARK);
        let cells = Cells::new(3);
        assert!(
            model
                .crew
                .run(region(Place::here()), 3, &|participant, _| cells.bump(participant))
                .is_some_and(|ran| ran.is_ok())
        );
        assert_eq!(cells.all().iter().sum::<usize>(), 3);
        model.end();
    });
}

/// Dismissing workers that have just started, are about to sleep, or sleep ends them all.
///
/// 3 threads, 5 preemptions: 16,401 schedules, 0.8 s. Kills `gate_shut_no_wake`, `gate_sleep_blind`, `gate_wake_once`.
#[test]
fn loom_team_dismiss() {
    explore("loom_team_dismiss", 5, || Model::new(2, PARK).end());
}

/// Two threads share a crew of one worker: each gets its region in turn, or one is told to run inline meanwhile.
///
/// 3 threads, 3 preemptions: 32,301 schedules, 1.7 s. Kills `crew_hold_relaxed`, `crew_release_relaxed`,
/// `crew_hold_torn`.
#[test]
fn loom_team_shared() {
    explore("loom_team_shared", 3, || {
        let model = Model::new(1, PARK);
        let crew = Arc::clone(&model.crew);
        let other = thread::spawn(move || use_once(&crew));
        use_once(&model.crew);
        other.join().unwrap();
        model.end();
    });

    fn use_once(crew: &Crew) {
        let cells = Cells::new(2);
        if crew.run(region(Place::here()), 2, &|_, index| cells.bump(index)).is_none() {
            (0..2).for_each(|index| cells.bump(index));
        }
        assert_eq!(cells.all(), [1, 1]);
    }
}

/// A region inside a region is told to run inline, on whichever thread its task runs.
///
/// 2 threads, no bound on preemptions: 17,453 schedules, 0.8 s. Kills `crew_hold_unchecked`.
#[test]
fn loom_team_nested() {
    explore("loom_team_nested", ALL, || {
        let model = Model::new(1, PARK);
        let cells = Cells::new(4);
        assert!(model.run(2, |outer| {
            let inner = |index| cells.bump(2 * outer + index);
            assert!(model.crew.run(region(Place::here()), 2, &|_, index| inner(index)).is_none());
            (0..2).for_each(inner);
        }));
        assert_eq!(cells.all(), [1, 1, 1, 1]);
        model.end();
    });
}

/// A task's panic reaches the caller, with its payload, after everybody left; the next region is whole.
///
/// 2 threads, 4 preemptions: 9,721 schedules, 0.4 s. Kills `crew_panic_unmarked`, `crew_panic_late`.
#[test]
fn loom_team_panic() {
    explore("loom_team_panic", 4, || {
        let model = Model::new(1, PARK);
        let cells = Cells::new(2);
        let panicked = model.crew.run(region(Place::here()), 2, &|_, index| {
            if index == 1 {
                std::panic::resume_unwind(Box::new("torn"));
            }
            cells.bump(index);
        });
        let panicked =
            panicked.expect("nobody else holds the crew").expect_err("task 1 panics whoever runs it");
        assert_eq!((panicked.task, panicked.payload.downcast_ref::<&str>()), (1, Some(&"torn")));
        assert_eq!(cells.all(), [1, 0]);
        assert!(model.run(2, |index| cells.bump(index)));
        assert_eq!(cells.all(), [2, 1]);
        model.end();
    });
}

/// Regions of one task and of three by turns, while workers come late, sleep, or still look for the last region: each
/// worker sees the task, the number of tasks and the next task of one region, or of none. In llama.cpp#17515 they were
/// two atomics, which a thread could read from either side of a change from 1 thread to N.
///
/// 3 threads, 2 preemptions: 66,740 schedules, 3.8 s. Kills `crew_publish_late`.
#[test]
fn loom_team_llama_cpp_17515() {
    explore_loads("loom_team_llama_cpp_17515", 2, || {
        let model = Model::new(2, PARK);
        let cells = Cells::new(3);
        for tasks in [1, 3, 1] {
            assert!(model.run(tasks, |index| {
                assert!(index < tasks, "task {index} of a region of {tasks}");
                cells.bump(index);
            }));
        }
        assert_eq!(cells.all(), [3, 1, 1]);
        model.end();
    });
}

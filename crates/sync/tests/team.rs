//! Teams on real threads: each task once, whatever the team, the panic, or who else uses it.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{RegionError, Team, TeamError, Watchdog, chunks, items};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

fn counts(team: &Team, tasks: usize) -> Vec<usize> {
    let ran: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    team.parallel(tasks, |index| {
        ran[index].fetch_add(1, Ordering::Relaxed);
    });
    ran.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn each_task_runs_once_on_every_size_of_team() {
    for threads in [1, 2, 3, 4, 8, 16] {
        let team = Team::new(threads).unwrap();
        assert_eq!(team.threads(), threads);
        for tasks in [0, 1, 2, 3, 7, 64, 1000] {
            assert_eq!(counts(&team, tasks), vec![1; tasks], "{tasks} tasks on {threads} threads");
        }
    }
}

/// The class of failure where a count changes between two regions and a worker sees half of the change.
#[test]
fn regions_of_changing_size_follow_each_other_at_speed() {
    for threads in [2, 3, 8] {
        let team = Team::new(threads).unwrap();
        let mut sums = [0usize; 8];
        for round in 0..10_000 {
            let tasks = [1, threads, 2, 2 * threads, 1, 8][round % 6].min(sums.len());
            team.parallel_parts(items(&mut sums[..tasks]), |index, sum| *sum += index + round);
        }
        let mut expected = [0usize; 8];
        for round in 0..10_000 {
            let tasks = [1, threads, 2, 2 * threads, 1, 8][round % 6].min(expected.len());
            expected[..tasks].iter_mut().enumerate().for_each(|(index, sum)| *sum += index + round);
        }
        assert_eq!(sums, expected, "{threads} threads");
    }
}

/// A hundred thousand changes between one task and many, with workers that are late, look on or sleep at each: where the
/// number and the region are two words, one change in a few thousand hangs (llama.cpp#17515).
#[test]
#[expect(clippy::print_stderr, reason = "the last words of a test that hangs")]
fn llama_cpp_17515_regions_flip_between_one_task_and_many() {
    const REGIONS: usize = 100_000;
    let (_watchdog, pulses) = Watchdog::start(Duration::from_secs(20), &["flips"], |stall| {
        eprintln!("{} has hung in a team of {}", stall.who, stall.phase);
        std::process::abort();
    })
    .unwrap();
    // With fewer threads than cores, as many, and more; most regions where they are the fastest.
    for (threads, phase, regions) in [(2, "2", REGIONS), (3, "3", REGIONS / 20), (8, "8", REGIONS / 100)] {
        let team = Team::new(threads).unwrap();
        let ran: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        for region in 0..regions {
            let tasks = if region % 2 == 0 { 1 } else { threads };
            team.parallel(tasks, |index| {
                assert!(index < tasks);
                ran[index].fetch_add(1, Ordering::Relaxed);
                // Now and then the caller cannot finish alone, so that workers come, go on looking, and sleep again.
                while index == 0 && region % 256 == 1 && ran[1].load(Ordering::Relaxed) <= region / 2 {
                    thread::yield_now();
                }
            });
            pulses[0].busy(phase);
        }
        let ran: Vec<usize> = ran.into_iter().map(AtomicUsize::into_inner).collect();
        assert_eq!((ran[0], &ran[1..]), (regions, &*vec![regions / 2; threads - 1]));
    }
    pulses[0].idle();
}

#[test]
fn teams_of_changing_size_come_and_go() {
    for round in 0..200 {
        let team = Team::new(1 + round % 5).unwrap();
        if round % 3 != 0 {
            assert_eq!(counts(&team, 5), [1; 5]);
        }
    }
}

/// After a pause the workers are parked, and a region must bring back as many as its tasks need that wait for each other:
/// with fewer threads than cores, as many, and four times as many.
#[test]
fn tasks_that_wait_for_each_other_all_get_a_thread() {
    let cores = thread::available_parallelism().unwrap().get().clamp(2, 8);
    for threads in [2, cores, cores + 1, 4 * cores] {
        let team = Team::new(threads).unwrap();
        for pause in [0, 1, 5, 12, 0, 0] {
            thread::sleep(Duration::from_millis(pause));
            let inside = AtomicUsize::new(0);
            team.parallel(threads, |_| {
                inside.fetch_add(1, Ordering::Relaxed);
                let began = Instant::now();
                while inside.load(Ordering::Relaxed) < threads {
                    assert!(began.elapsed() < Duration::from_secs(20), "only {inside:?} of {threads} came");
                    thread::yield_now();
                }
            });
        }
    }
}

/// On any number of cores: while tasks sleep a region gets more and more threads, in the end all.
#[test]
fn long_tasks_get_more_threads_than_there_are_cores() {
    const THREADS: usize = 12;
    let team = Team::new(THREADS).unwrap();
    let seen = Mutex::new(HashSet::<ThreadId>::new());
    let until = Instant::now() + Duration::from_secs(20);
    while seen.lock().unwrap().len() < THREADS {
        assert!(Instant::now() < until, "{} of {THREADS} threads came", seen.lock().unwrap().len());
        // One more every five milliseconds: the region must last longer than it takes until all are there.
        team.parallel(16 * THREADS, |_| {
            // As long as a task that waited for a disk.
            thread::sleep(Duration::from_millis(8));
            seen.lock().unwrap().insert(thread::current().id());
        });
    }
}

#[test]
fn one_task_and_a_team_of_one_stay_on_the_caller_in_order() {
    let here = thread::current().id();
    let order = Mutex::new(Vec::new());
    Team::solo().parallel(4, |index| {
        assert_eq!(thread::current().id(), here);
        order.lock().unwrap().push(index);
    });
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    Team::new(3).unwrap().parallel(1, |_| assert_eq!(thread::current().id(), here));
}

#[test]
fn a_panic_reaches_the_caller_with_its_own_payload_and_the_team_lives_on() {
    #[derive(Debug, PartialEq)]
    struct Torn(u32);

    for threads in [1, 2, 4] {
        let team = Team::new(threads).unwrap();
        for round in 0..50 {
            let payload = catch_unwind(AssertUnwindSafe(|| {
                team.parallel(8, |index| {
                    if index == 5 {
                        std::panic::panic_any(Torn(round));
                    }
                });
            }))
            .unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&Torn(round)));
            assert_eq!(counts(&team, 8), [1; 8]);
        }
    }
}

#[test]
fn a_panic_is_an_error_that_names_the_task() {
    for threads in [1, 2, 4] {
        let team = Team::new(threads).unwrap();
        let error = team.try_parallel(9, |index| assert!(index != 6, "task {index} tore")).unwrap_err();
        assert_eq!(error, RegionError::TaskPanicked { task: 6, message: "task 6 tore".into() });
        assert!(error.to_string().contains("task 6 panicked: task 6 tore"), "{error}");
        // All panic: the lowest of those that ran, and task 0 always runs.
        let error = team.try_parallel(9, |index| panic!("{index}")).unwrap_err();
        assert_eq!(error, RegionError::TaskPanicked { task: 0, message: "0".into() });
        assert_eq!(team.try_parallel(9, |_| {}), Ok(()));
    }
}

#[test]
fn tasks_not_begun_when_one_panics_are_skipped() {
    let team = Team::new(3).unwrap();
    let ran = AtomicUsize::new(0);
    let outcome = team.try_parallel(10_000, |index| {
        if index == 0 {
            panic!("first");
        }
        ran.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    });
    assert!(outcome.is_err());
    assert!(ran.into_inner() < 5_000);
}

#[test]
fn a_payload_that_panics_when_dropped_does_no_harm() {
    struct Mine;
    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let team = Team::new(2).unwrap();
    for _ in 0..100 {
        let error = team.try_parallel(2, |_| std::panic::panic_any(Mine)).unwrap_err();
        assert!(matches!(error, RegionError::TaskPanicked { task: 0, .. }), "{error}");
    }
    assert_eq!(counts(&team, 4), [1; 4]);
}

/// The class of failure where a thread that waits for its own tasks runs a foreign one that wants a lock it holds
/// (rayon#592).
#[test]
fn rayon_592_regions_nest_four_deep_with_a_lock_held_around_each() {
    fn nest(team: &Team, locks: &[Mutex<usize>], depth: usize) {
        if depth == locks.len() {
            return;
        }
        team.parallel(2, |_| {
            let mut runs = locks[depth].lock().unwrap();
            *runs += 1;
            nest(team, locks, depth + 1);
        });
    }

    for threads in [1, 2, 3] {
        let team = Team::new(threads).unwrap();
        for _ in 0..100 {
            let locks: [Mutex<usize>; 4] = Default::default();
            nest(&team, &locks, 0);
            assert_eq!(locks.map(|lock| lock.into_inner().unwrap()), [2, 4, 8, 16]);
        }
    }
}

#[test]
fn threads_may_share_a_team() {
    let team = Team::new(3).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for tasks in (0..2_000).map(|round| round % 7) {
                    assert_eq!(counts(&team, tasks), vec![1; tasks]);
                }
            });
        }
    });
}

#[test]
fn each_thread_has_its_own_scratch() {
    for threads in [1, 2, 4] {
        let team = Team::new(threads).unwrap();
        let mut out = vec![0usize; 20];
        let mut scratch: Vec<(usize, HashSet<ThreadId>)> = vec![Default::default(); threads + 1];
        for _ in 0..3 {
            team.parallel_parts_with(items(&mut out), &mut scratch, |index, out, (runs, threads)| {
                *out += index;
                *runs += 1;
                threads.insert(thread::current().id());
                // Long enough for everybody to be called, with a core or without.
                thread::sleep(Duration::from_millis(8));
            });
        }
        assert_eq!(out, (0..20).map(|index| 3 * index).collect::<Vec<_>>());
        assert_eq!(scratch.iter().map(|(runs, _)| runs).sum::<usize>(), 20 * 3);
        let used: Vec<usize> = scratch.iter().map(|(_, threads)| threads.len()).collect();
        assert_eq!(used.iter().sum::<usize>(), threads, "{used:?}");
        assert!(used.iter().all(|&threads| threads <= 1), "{used:?}");
    }
}

#[test]
#[should_panic(expected = "1 scratches for 2 threads")]
fn too_little_scratch_is_refused() {
    Team::new(2).unwrap().parallel_parts_with(items(&mut [0; 4]), &mut [0], |_, _, _| {});
}

#[test]
fn impossible_teams_are_refused() {
    assert!(matches!(Team::new(0), Err(TeamError::NoThreads)));
    let error = Team::new(70_000).unwrap_err();
    assert!(matches!(error, TeamError::TooManyThreads { asked: 70_000, most: 65_536 }), "{error:?}");
}

#[test]
fn shutdown_ends_within_its_deadline() {
    let team = Team::new(4).unwrap();
    assert_eq!(counts(&team, 4), [1; 4]);
    assert_eq!(team.shutdown(Duration::from_secs(20)), Ok(()));
    assert_eq!(Team::solo().shutdown(Duration::ZERO), Ok(()));
}

proptest! {
    #[test]
    fn chunks_cover_a_slice_in_order(len in 0usize..300, size in 1usize..70, threads in 1usize..4) {
        let team = Team::new(threads).unwrap();
        let mut slice = vec![usize::MAX; len];
        team.parallel_parts(chunks(&mut slice, size), |index, part| part.fill(index));
        let expected: Vec<usize> = (0..len).map(|at| at / size).collect();
        prop_assert_eq!(slice, expected);
    }
}

#[test]
fn tuples_hand_out_matching_parts() {
    let team = Team::new(2).unwrap();
    let (mut a, mut b, mut c) = (vec![0usize; 10], vec![0usize; 5], vec![0usize; 9]);
    let parts = (chunks(&mut a, 2), items(&mut b), chunks(&mut c, 2));
    team.parallel_parts(parts, |index, (a, b, c)| {
        a.fill(index);
        *b = 10 * index;
        c.fill(100 * index);
    });
    assert_eq!(a, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!(b, [0, 10, 20, 30, 40]);
    assert_eq!(c, [0, 0, 100, 100, 200, 200, 300, 300, 400]);
}

#[test]
fn tuples_of_unequal_numbers_are_refused_with_both() {
    let refusal = catch_unwind(|| {
        Team::solo().parallel_parts((items(&mut [0; 3]), items(&mut [0; 4])), |_, _| {});
    });
    let message = refusal.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("left: 3") && message.contains("right: 4"), "{message}");
}

/// The same on one core, where a wait that spins without end would take for ever.
#[test]
#[cfg(target_os = "linux")]
fn all_of_it_on_one_core() {
    if std::env::var_os("SELVEDGE_ONE_CORE").is_some() {
        return;
    }
    let child = std::process::Command::new("taskset")
        .args(["--cpu-list", "0"])
        .arg(std::env::current_exe().unwrap())
        .env("SELVEDGE_ONE_CORE", "1")
        .output();
    // Without the tool, or without core 0 among ours, there is nothing to pin with.
    let Ok(child) = child else { return };
    let said = String::from_utf8_lossy(&child.stdout);
    if String::from_utf8_lossy(&child.stderr).contains("failed to set") {
        return;
    }
    assert!(child.status.success(), "{said}");
    assert!(said.contains("rayon_592_regions_nest_four_deep_with_a_lock_held_around_each ... ok"), "{said}");
}

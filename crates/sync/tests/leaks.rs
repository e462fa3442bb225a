//! No thread outlives its owner, as the system counts threads. One test a process: the count is the whole process's.
#![cfg(all(target_os = "linux", not(any(loom, shuttle))))]
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use selvedge_sync::{CancelToken, Joined, OwnedThread, SpawnError, Team, TeamError, Watchdog};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux lists a process's threads").count()
}

/// Bytes of a stack, four of which do not fit into the child's address space: a team of eight fails half way.
const STACK: &str = "1000000000";

#[test]
fn threads_are_gone_when_their_owner_is() {
    if std::env::var("RUST_MIN_STACK").is_ok_and(|stack| stack == STACK) {
        return a_team_that_cannot_be_built_leaves_none();
    }
    every_owner();
    if cfg!(any(sanitizer = "thread", sanitizer = "address", sanitizer = "leak")) {
        // Their shadow of the memory takes more address space than the limit below leaves.
        return;
    }
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 4000000 && exec \"$0\" --test-threads 1"])
        .arg(std::env::current_exe().unwrap())
        .env("RUST_MIN_STACK", STACK)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

fn a_team_that_cannot_be_built_leaves_none() {
    let base = threads();
    let error = Team::new(8).unwrap_err();
    let TeamError::Spawn(SpawnError { name, .. }) = &error else { panic!("{error}") };
    assert_ne!(name, "selvedge-1", "the first still had room");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(threads(), base);
}

fn every_owner() {
    let base = threads();
    for round in 0..100 {
        let team = Team::new(4).unwrap();
        assert_eq!(threads(), base + 3);
        match round % 4 {
            0 => {}
            1 => team.parallel(8, |_| {}),
            2 => assert!(team.try_parallel(8, |_| panic!("torn")).is_err()),
            _ => {
                let torn = catch_unwind(AssertUnwindSafe(|| {
                    let _moved = &team;
                    team.parallel(8, |_| panic!("torn"));
                }));
                assert!(torn.is_err());
            }
        }
        if round % 2 == 0 {
            drop(team);
        } else {
            team.shutdown(Duration::from_secs(20)).unwrap();
        }
        assert_eq!(threads(), base, "after the team of round {round}");
    }

    for round in 0..100 {
        let thread = OwnedThread::spawn("short", move || assert!(round % 2 == 0, "odd")).unwrap();
        match round % 3 {
            0 => drop(thread),
            1 => assert_eq!(thread.join().is_ok(), round % 2 == 0),
            _ => assert!(!matches!(thread.join_deadline(Duration::from_secs(20)), Joined::StillRunning(_))),
        }
        assert_eq!(threads(), base, "after the thread of round {round}");
    }

    let token = CancelToken::new();
    let theirs = token.child();
    let thread = OwnedThread::spawn("waits", move || theirs.wait_timeout(Duration::MAX)).unwrap();
    let Joined::StillRunning(thread) = thread.join_deadline(Duration::from_millis(20)) else {
        panic!("cancelled?")
    };
    token.cancel();
    assert_eq!(thread.join(), Ok(true));
    assert_eq!(threads(), base);

    let (watchdog, pulses) = Watchdog::start(Duration::from_secs(3600), &["a", "b"], |_| {}).unwrap();
    assert_eq!((threads(), pulses.len()), (base + 1, 2));
    drop(watchdog);
    assert_eq!(threads(), base);
}

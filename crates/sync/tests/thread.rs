//! Owned threads: results, panics, deadlines.
#![cfg(not(any(loom, shuttle)))]

use selvedge_sync::{Joined, OwnedThread, ThreadPanicked};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn a_panic_comes_back_with_name_and_message() {
    let thread = OwnedThread::spawn("loader", || -> u32 { panic!("shard {} is short", 3) }).unwrap();
    let lost = thread.join().unwrap_err();
    assert_eq!(lost, ThreadPanicked { name: "loader".into(), message: "shard 3 is short".into() });
    let thread = OwnedThread::spawn("loader", || std::panic::panic_any(7)).unwrap();
    let Joined::Panicked(lost) = thread.join_deadline(Duration::from_secs(20)) else { panic!("no panic") };
    assert_eq!(lost.message, "a panic payload that is not text");
}

#[test]
fn a_deadline_gives_the_thread_back() {
    let (go, wait) = mpsc::channel();
    let thread = OwnedThread::spawn("waits", move || wait.recv().unwrap()).unwrap();
    assert_eq!(thread.name(), "waits");
    let began = Instant::now();
    let Joined::StillRunning(thread) = thread.join_deadline(Duration::from_millis(30)) else {
        panic!("ended?")
    };
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert!(!thread.is_finished());
    go.send("done").unwrap();
    let Joined::Finished(word) = thread.join_deadline(Duration::MAX) else { panic!("did not end") };
    assert_eq!(word, "done");
}

#[test]
fn a_finished_thread_says_so_before_it_is_joined() {
    let thread = OwnedThread::spawn("quick", || 5).unwrap();
    let began = Instant::now();
    while !thread.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    assert_eq!(thread.join(), Ok(5));
}

#[test]
fn dropping_waits_for_the_end() {
    let (done, ended) = mpsc::channel();
    drop(OwnedThread::spawn("slow", move || {
        std::thread::sleep(Duration::from_millis(30));
        done.send(()).unwrap();
    }));
    assert_eq!(ended.try_recv(), Ok(()));
}

#[test]
fn the_system_knows_the_name() {
    let thread = OwnedThread::spawn("named", || std::thread::current().name().map(str::to_owned)).unwrap();
    assert_eq!(thread.join(), Ok(Some("named".to_owned())));
    let error = OwnedThread::spawn("nul\0", || ()).unwrap_err();
    assert_eq!(error.name, "nul\0");
}

#[test]
fn a_thread_that_owns_itself_is_not_waited_for() {
    let (give, own) = mpsc::channel::<OwnedThread<()>>();
    let (tell, told) = mpsc::channel();
    let thread = OwnedThread::spawn("self", move || tell.send(own.recv().unwrap().join()).unwrap()).unwrap();
    give.send(thread).unwrap();
    let lost = told.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
    assert!(lost.message.contains("itself"), "{lost}");
}

#[test]
fn an_abandoned_thread_is_not_waited_for_and_ends_by_itself() {
    let (go, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let thread = OwnedThread::spawn("deaf", move || {
        let asked = wait.recv();
        tell.send(asked).unwrap();
    })
    .unwrap();
    let Joined::StillRunning(thread) = thread.join_deadline(Duration::from_millis(20)) else {
        panic!("ended?")
    };
    // Were it waited for, this would never return.
    assert_eq!(thread.abandon(), "deaf");
    go.send(()).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(Ok(())));
}

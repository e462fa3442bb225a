//! Cancel tokens: the tree, the sleepers, the flag of a signal handler.
#![cfg(not(any(loom, shuttle)))]

use selvedge_sync::{CancelToken, OwnedThread};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn cancelling_goes_down_the_tree_only() {
    let root = CancelToken::new();
    let (left, right) = (root.child(), root.child());
    let leaf = left.child();
    left.clone().cancel();
    assert_eq!([&root, &left, &right, &leaf].map(CancelToken::is_cancelled), [false, true, false, true]);
    root.cancel();
    assert!(right.is_cancelled() && root.child().is_cancelled());
}

#[test]
fn a_child_outlives_its_parents_handle() {
    let leaf = CancelToken::new().child().child();
    assert!(!leaf.is_cancelled());
}

#[test]
fn a_wait_ends_with_its_time_or_with_the_cancellation() {
    let root = CancelToken::new();
    let began = Instant::now();
    assert!(!root.wait_timeout(Duration::from_millis(40)));
    assert!(began.elapsed() >= Duration::from_millis(40));
    assert!(!root.wait_timeout(Duration::ZERO));

    let leaf = root.child().child();
    let sleeper = OwnedThread::spawn("sleeper", move || {
        let cancelled = leaf.wait_timeout(Duration::MAX);
        (cancelled, Instant::now())
    });
    std::thread::sleep(Duration::from_millis(30));
    let cancelled_at = Instant::now();
    root.cancel();
    let (cancelled, woke) = sleeper.unwrap().join().unwrap();
    assert!(cancelled);
    assert!(woke.duration_since(cancelled_at) < Duration::from_secs(1));
    assert!(root.wait_timeout(Duration::MAX));
}

#[test]
fn a_signal_handlers_flag_cancels_and_wakes_sleepers() {
    let root = CancelToken::new();
    let leaf = root.child();
    let sleeper = OwnedThread::spawn("sleeper", move || leaf.wait_timeout(Duration::from_secs(60))).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    let began = Instant::now();
    root.flag().store(true, Ordering::Relaxed);
    assert!(root.is_cancelled());
    assert_eq!(sleeper.join(), Ok(true));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_flag_that_was_taken_back_can_be_set_again() {
    let (root, other) = (CancelToken::new(), CancelToken::new());
    assert!(!root.take_flag());
    for _ in 0..2 {
        root.flag().store(true, Ordering::Relaxed);
        assert!(root.child().is_cancelled() && !other.is_cancelled());
        assert!(root.take_flag() && !root.take_flag());
        assert!(!root.child().is_cancelled());
    }
}

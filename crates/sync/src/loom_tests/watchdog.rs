//! Models of the watchdog: its end, and the names it reads.

use super::explore;
use crate::watchdog::{Heart, Leash};
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// The end of the watch reaches a watchdog that sleeps, or is about to.
#[test]
fn loom_watchdog_stops() {
    explore("loom_watchdog_stops", 4, || {
        let leash = Arc::new(Leash::default());
        let theirs = Arc::clone(&leash);
        let watch = thread::spawn(move || while !theirs.pause(Duration::MAX) {});
        leash.stop();
        watch.join().unwrap();
    });
}

/// Whoever sees a pulse busy sees the name of its phase.
#[test]
fn loom_watchdog_names() {
    explore("loom_watchdog_names", 4, || {
        let heart = Arc::new(Heart::new());
        let theirs = Arc::clone(&heart);
        let worker = thread::spawn(move || {
            theirs.busy("load");
            theirs.busy("step");
        });
        if let Some(phase) = heart.seen().1 {
            assert!(phase == "load" || phase == "step", "{phase}");
        }
        worker.join().unwrap();
        assert_eq!(heart.seen().1, Some("step"));
    });
}

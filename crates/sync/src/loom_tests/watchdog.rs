//! Models of the watchdog: its end, and the names it reads.

use super::{ALL, explore};
use crate::watchdog::{Heart, Leash};
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// The end of the watch reaches a watchdog that sleeps, or is about to.
///
/// 2 threads, no bound on preemptions: 3 schedules, under 0.1 s. Kills `watchdog_stop_no_notify`,
/// `watchdog_stop_swapped`.
#[test]
fn loom_watchdog_stops() {
    explore("loom_watchdog_stops", ALL, || {
        let leash = Arc::new(Leash::default());
        let theirs = Arc::clone(&leash);
        let watch = thread::spawn(move || while !theirs.pause(Duration::MAX) {});
        leash.stop();
        watch.join().unwrap();
    });
}

/// Whoever sees a pulse busy sees the name of its phase, new names too.
///
/// 2 threads, no bound on preemptions: 29 schedules, under 0.1 s. Kills `watchdog_beat_relaxed`,
/// `watchdog_look_relaxed`.
#[test]
fn loom_watchdog_names() {
    explore("loom_watchdog_names", ALL, || {
        let heart = Arc::new(Heart::new());
        let theirs = Arc::clone(&heart);
        // The reader is the spawned thread: loom loses the order of a read and a later write to the same atomic when
        // the writer reads it first, as a beat does, and the writer is the one that runs second.
        let watch = thread::spawn(move || theirs.seen().1);
        heart.busy("load");
        heart.busy("step");
        let seen = watch.join().unwrap();
        assert!(matches!(seen, None | Some("load" | "step")), "{seen:?}");
        heart.idle();
        assert_eq!(heart.seen().1, None);
    });
}

//! Model of the watchdog: the names it reads.

use super::{ALL, explore};
use crate::watchdog::Heart;
use loom::sync::Arc;
use loom::thread;

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

//! Models of the owned thread.

use super::{ALL, explore};
use crate::{Joined, OwnedThread};
use std::time::Duration;

/// A join with a deadline sees the end of the thread, whether it came before or during the wait.
///
/// 2 threads, no bound on preemptions: 55 schedules, under 0.1 s. Kills `thread_unannounced`.
#[test]
fn loom_thread_join() {
    explore("loom_thread_join", ALL, || {
        let thread = OwnedThread::spawn("worker", || 7).unwrap();
        match thread.join_deadline(Duration::MAX) {
            Joined::Finished(value) => assert_eq!(value, 7),
            other => panic!("{other:?}"),
        }
    });
}

//! Models of the cancel token.
#![expect(unsafe_code, reason = "a cell that loom watches for races")]

use super::{ALL, explore};
use crate::CancelToken;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

struct Note(UnsafeCell<u32>);

// SAFETY: loom reports every unsynchronized access, and that is what the model checks.
unsafe impl Sync for Note {}
// SAFETY: as above.
unsafe impl Send for Note {}

/// Cancelling wakes whoever sleeps on a token below, however the two race, and what was written before is visible.
///
/// 3 threads, no bound on preemptions: 373,957 schedules, 19 s. Kills `cancel_store_relaxed`, `cancel_load_relaxed`,
/// `cancel_no_lock`, `cancel_no_notify`.
#[test]
fn loom_cancel_wakes() {
    explore("loom_cancel_wakes", ALL, || {
        let token = CancelToken::new();
        let note = Arc::new(Note(UnsafeCell::new(0)));
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let (child, note) = (token.child(), Arc::clone(&note));
                thread::spawn(move || {
                    assert!(child.wait_timeout(Duration::MAX));
                    // SAFETY: loom checks that nobody writes it.
                    assert_eq!(note.0.with(|note| unsafe { *note }), 7);
                })
            })
            .collect();
        // SAFETY: loom checks that nobody else is at it.
        note.0.with_mut(|note| unsafe { *note = 7 });
        token.cancel();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}

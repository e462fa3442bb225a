//! Models of the latch.
#![expect(unsafe_code, reason = "cells that loom watches for races")]

use super::explore;
use crate::Latch;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Notes([UnsafeCell<u32>; 2]);

// SAFETY: loom reports every unsynchronized access, and that is what the model checks.
unsafe impl Sync for Notes {}
// SAFETY: as above.
unsafe impl Send for Notes {}

/// Whoever waits gets through, and sees what each holder of a ticket did, whichever dropped its ticket last; so does
/// who only looks. Nothing is joined before.
///
/// 3 threads, at most 4 preemptions: 6,974 schedules, 0.4 s. Kills `latch_count_relaxed`, `latch_count_torn`,
/// `latch_no_notify`, `latch_no_lock`, `latch_sleep_silent`, `latch_notify_swapped`, `latch_announce_relaxed`,
/// `latch_look_relaxed`.
#[test]
fn loom_latch_opens() {
    explore("loom_latch_opens", 4, || {
        let (latch, tickets) = Latch::new(2);
        let notes = Arc::new(Notes([UnsafeCell::new(0), UnsafeCell::new(0)]));
        let holders: Vec<_> = tickets
            .into_iter()
            .enumerate()
            .map(|(at, ticket)| {
                let notes = Arc::clone(&notes);
                thread::spawn(move || {
                    // SAFETY: loom checks that nobody else is at it.
                    notes.0[at].with_mut(|note| unsafe { *note = 7 });
                    drop(ticket);
                })
            })
            .collect();
        latch.wait();
        for note in &notes.0 {
            // SAFETY: loom checks that nobody writes it.
            assert_eq!(note.with(|note| unsafe { *note }), 7);
        }
        holders.into_iter().for_each(|holder| holder.join().unwrap());
    });
}

/// One ticket lets two waiters go.
///
/// 3 threads, at most 4 preemptions: 17,412 schedules, 0.9 s. Kills `latch_wakes_one`.
#[test]
fn loom_latch_wakes_all() {
    explore("loom_latch_wakes_all", 4, || {
        let (latch, mut tickets) = Latch::new(1);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let latch = latch.clone();
                thread::spawn(move || latch.wait())
            })
            .collect();
        drop(tickets.pop());
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

//! Models of the bounded channel.
#![expect(unsafe_code, reason = "a cell that loom watches for races")]

use super::{ALL, explore};
use crate::{RecvError, bounded};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Everything sent is received once, in order, by way of one place, with either end asleep or about to be; then the
/// channel is closed.
///
/// 2 threads, at most 3 preemptions: 23,796 schedules, 1.0 s. Kills `pipeline_send_relaxed`, `pipeline_recv_relaxed`,
/// `pipeline_send_torn`, `pipeline_recv_torn`, `pipeline_sleep_silent`, `pipeline_announce_torn`,
/// `pipeline_wake_no_lock`, `pipeline_wake_swapped`, `pipeline_send_no_wake`, `pipeline_recv_no_wake`.
#[test]
fn loom_pipeline_in_order() {
    explore("loom_pipeline_in_order", 3, || {
        let (mut sender, mut receiver) = bounded(1);
        let producer = thread::spawn(move || (0..3).for_each(|item| sender.send(Box::new(item)).unwrap()));
        for item in 0..3 {
            assert!(receiver.waiting() <= 1);
            assert_eq!(receiver.recv(), Ok(Box::new(item)));
        }
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
        producer.join().unwrap();
    });
}

/// The same over two places, where an end goes on for a while without a look at the other.
///
/// 2 threads, at most 2 preemptions: 3,416 schedules, 0.1 s. Kills none that the model above does not.
#[test]
fn loom_pipeline_two_places() {
    explore("loom_pipeline_two_places", 2, || {
        let (mut sender, mut receiver) = bounded(2);
        let producer = thread::spawn(move || (0..4).for_each(|item| sender.send(Box::new(item)).unwrap()));
        (0..4).for_each(|item| assert_eq!(receiver.recv(), Ok(Box::new(item))));
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
        producer.join().unwrap();
    });
}

struct Note(UnsafeCell<u32>);

// SAFETY: loom reports every unsynchronized access, and that is what the model checks.
unsafe impl Sync for Note {}
// SAFETY: as above.
unsafe impl Send for Note {}

/// A sender that leaves lets a receiver go that waits, or is about to, and what it did before is visible.
///
/// 2 threads, no bound on preemptions: 55 schedules, under 0.1 s. Kills `pipeline_hang_up_no_wake`,
/// `pipeline_hang_up_swapped`, `pipeline_hang_up_relaxed`.
#[test]
fn loom_pipeline_closes() {
    explore("loom_pipeline_closes", ALL, || {
        let (sender, mut receiver) = bounded::<u8>(1);
        let note = Arc::new(Note(UnsafeCell::new(0)));
        let theirs = Arc::clone(&note);
        let producer = thread::spawn(move || {
            // SAFETY: loom checks that nobody else is at it.
            theirs.0.with_mut(|note| unsafe { *note = 7 });
            drop(sender);
        });
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
        // SAFETY: loom checks that nobody writes it.
        assert_eq!(note.0.with(|note| unsafe { *note }), 7);
        producer.join().unwrap();
    });
}

/// A receiver that leaves lets a sender go that waits, or is about to wait, for room.
///
/// 2 threads, at most 3 preemptions: 1,691 schedules, under 0.1 s. Kills `pipeline_leave_no_wake`.
#[test]
fn loom_pipeline_receiver_leaves() {
    explore("loom_pipeline_receiver_leaves", 3, || {
        let (mut sender, mut receiver) = bounded(1);
        let producer = thread::spawn(move || (0..).find(|&item| sender.send(item).is_err()));
        assert_eq!(receiver.recv(), Ok(0));
        drop(receiver);
        assert!(producer.join().unwrap().is_some());
    });
}

/// An item that counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// However a receiver's leaving races with sends, each item is dropped once, and one that counts as sent is dropped
/// when the receiver is gone, not later. crossbeam's channel dropped items twice there, in the third version of that
/// code (crossbeam#1187).
///
/// 2 threads, no bound on preemptions: 1,611 schedules, under 0.1 s. Kills `pipeline_leave_relaxed`,
/// `pipeline_drain_relaxed`, `pipeline_drain_kept`, `pipeline_send_into_void`.
#[test]
fn loom_pipeline_crossbeam_1187() {
    explore("loom_pipeline_crossbeam_1187", ALL, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut sender, mut receiver) = bounded(1);
        let items: Vec<_> = (0..2).map(|_| Counted(Arc::clone(&dropped))).collect();
        let producer = thread::spawn(move || {
            let back = items.into_iter().filter_map(|item| sender.send(item).err()).collect::<Vec<_>>();
            (sender, back)
        });
        let first = receiver.try_recv();
        drop(receiver);
        let (sender, back) = producer.join().unwrap();
        // The sender's end still keeps the ring.
        assert_eq!(dropped.load(Ordering::Relaxed) + back.len() + usize::from(first.is_ok()), 2);
        drop((sender, back, first));
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

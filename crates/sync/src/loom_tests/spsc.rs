//! Models of the ring between two threads.

use super::{ALL, explore};
use crate::spsc::ring;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pushes and pops a few times through a ring of `capacity` places: what was taken in comes out, in order.
fn passes(capacity: usize, pushes: usize, pops: usize) {
    let (mut producer, mut consumer) = ring(capacity);
    let thread = thread::spawn(move || {
        // Boxed, so that an item read too early or twice is no number that happens to be right.
        let mut taken_in = 0;
        for _ in 0..pushes {
            taken_in += usize::from(producer.try_push(Box::new(taken_in)).is_ok());
        }
        assert!(taken_in >= capacity, "a ring with room takes an item");
        taken_in
    });
    let mut popped = 0;
    for _ in 0..pops {
        if let Some(item) = consumer.try_pop() {
            assert_eq!(*item, popped);
            popped += 1;
        }
    }
    let taken_in = thread.join().expect("the producer ends");
    assert!(taken_in <= popped + capacity, "no more than there are places");
    (popped..taken_in).for_each(|item| assert_eq!(consumer.try_pop().as_deref(), Some(&item)));
    assert!(consumer.try_pop().is_none());
}

/// What goes in comes out once, in order and whole, over and over the same place; the ring alone orders the two threads.
///
/// 2 threads, no bound on preemptions: 353 schedules, under 0.1 s. Kills `spsc_push_relaxed`, `spsc_room_relaxed`,
/// `spsc_pop_relaxed`, `spsc_ready_relaxed`, `spsc_push_early`, `spsc_pop_early`, `spsc_positions_once`.
#[test]
fn loom_spsc_one_place() {
    explore("loom_spsc_one_place", ALL, || passes(1, 3, 3));
}

/// The same over two places, where an end uses what it has seen before it looks again.
///
/// 2 threads, no bound on preemptions: 3,124 schedules, 0.1 s. Kills `spsc_overfull`, `spsc_underfull`.
#[test]
fn loom_spsc_two_places() {
    explore("loom_spsc_two_places", ALL, || passes(2, 4, 3));
}

/// An item that counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Each item is dropped once, whichever end goes first and whatever the other is doing then.
///
/// 2 threads, no bound on preemptions: 31 schedules, under 0.1 s. Kills `spsc_leftovers_leak`.
#[test]
fn loom_spsc_leftovers() {
    explore("loom_spsc_leftovers", ALL, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = ring(2);
        let item = || Counted(Arc::clone(&dropped));
        let (first, second) = (item(), item());
        let thread = thread::spawn(move || {
            assert!(producer.try_push(first).is_ok());
            assert!(producer.try_push(second).is_ok());
        });
        drop(consumer.try_pop());
        drop(consumer);
        thread.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

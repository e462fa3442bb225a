//! Models of the queue between any number of threads.

use super::explore_loads;
use crate::mpmc::Queue;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What goes in comes out once, in order and whole, lap after lap over one place; the queue alone orders the threads.
///
/// 2 threads, at most 3 preemptions, order of loads: 9,405 schedules, 0.4 s. Kills `mpmc_push_relaxed`,
/// `mpmc_full_relaxed`, `mpmc_pop_relaxed`, `mpmc_free_relaxed`, `mpmc_push_early`, `mpmc_pop_early`,
/// `mpmc_full_as_next_lap`.
#[test]
fn loom_mpmc_one_place() {
    explore_loads("loom_mpmc_one_place", 3, || {
        let queue = Arc::new(Queue::new(1));
        let theirs = Arc::clone(&queue);
        let producer = thread::spawn(move || {
            // Boxed, so that an item read too early or twice is no number that happens to be right.
            let mut taken_in = 0;
            for _ in 0..3 {
                taken_in += usize::from(theirs.try_push(Box::new(taken_in)).is_ok());
            }
            assert!(taken_in > 0, "a queue with room takes an item");
            taken_in
        });
        let mut popped = 0;
        for _ in 0..3 {
            if let Some(item) = queue.try_pop() {
                assert_eq!(*item, popped);
                popped += 1;
            }
        }
        let taken_in = producer.join().unwrap();
        assert!(taken_in <= popped + 1, "no more than there are places");
        (popped..taken_in).for_each(|item| assert_eq!(queue.try_pop().as_deref(), Some(&item)));
        assert!(queue.try_pop().is_none());
    });
}

/// Two producers that meet at one position both get their items in, each once.
///
/// 3 threads, at most 4 preemptions, order of loads: 22,531 schedules, 1.2 s. Kills `mpmc_push_torn`.
#[test]
fn loom_mpmc_two_producers() {
    explore_loads("loom_mpmc_two_producers", 4, || {
        let queue = Arc::new(Queue::new(2));
        let producers: Vec<_> = (0..2)
            .map(|item| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || assert_eq!(queue.try_push(Box::new(item)), Ok(())))
            })
            .collect();
        let early = queue.try_pop();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        let mut items: Vec<i32> =
            early.into_iter().chain(queue.try_pop()).chain(queue.try_pop()).map(|item| *item).collect();
        items.sort_unstable();
        assert_eq!(items, [0, 1]);
    });
}

/// No item is popped twice and none is lost, as happened to crossbeam's deque (crossbeam#726), while the queue goes on
/// into its next lap.
///
/// 3 threads, at most 3 preemptions, order of loads: 4,114 schedules, 0.2 s. Kills `mpmc_pop_torn`.
#[test]
fn loom_mpmc_crossbeam_726() {
    explore_loads("loom_mpmc_crossbeam_726", 3, || {
        let queue = Arc::new(Queue::new(2));
        (0..2).for_each(|item| assert_eq!(queue.try_push(item), Ok(())));
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.try_pop())
            })
            .collect();
        let third = queue.try_push(2);
        let mut items: Vec<i32> = third.err().into_iter().collect();
        for consumer in consumers {
            items.extend(consumer.join().unwrap());
        }
        items.extend(queue.try_pop());
        items.sort_unstable();
        assert_eq!(items, [0, 1, 2]);
        assert!(queue.try_pop().is_none());
    });
}

/// A queue with room takes an item, and one with items gives one, also while another thread is in the middle of its own
/// push or pop.
///
/// 2 threads, at most 3 preemptions, order of loads: 20,759 schedules, 0.8 s. Kills `mpmc_full_guess`,
/// `mpmc_empty_guess`, `mpmc_push_claim_relaxed`, `mpmc_pop_claim_relaxed`, `mpmc_tail_relaxed`, `mpmc_head_relaxed`.
#[test]
fn loom_mpmc_says_what_is() {
    explore_loads("loom_mpmc_says_what_is", 3, || {
        let queue = Arc::new(Queue::new(2));
        let theirs = Arc::clone(&queue);
        let other = thread::spawn(move || {
            assert_eq!(theirs.try_push(Box::new(1)), Ok(()));
            assert!(theirs.try_pop().is_some());
        });
        assert_eq!(queue.try_push(Box::new(2)), Ok(()));
        assert!(queue.try_pop().is_some());
        // Both of this thread's items are in, or one with one of the other's: it has popped as many as it pushed.
        assert_eq!(queue.try_push(Box::new(3)), Ok(()));
        other.join().unwrap();
        assert!(queue.try_pop().is_some() && queue.is_empty());
    });
}

/// An item that counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Each item is dropped once, by whoever popped it or with the queue.
///
/// 2 threads, at most 4 preemptions, order of loads: 278 schedules, under 0.1 s. Kills `mpmc_leftovers_leak`.
#[test]
fn loom_mpmc_leftovers() {
    explore_loads("loom_mpmc_leftovers", 4, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let queue = Arc::new(Queue::new(2));
        let (theirs, first, second) =
            (Arc::clone(&queue), Counted(Arc::clone(&dropped)), Counted(Arc::clone(&dropped)));
        let other = thread::spawn(move || {
            assert!(theirs.try_push(first).is_ok());
            assert!(theirs.try_push(second).is_ok());
        });
        drop(queue.try_pop());
        drop(queue);
        other.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

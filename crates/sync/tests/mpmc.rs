//! The queue between any number of threads.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::OwnedThread;
use selvedge_sync::mpmc::Queue;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;

const fn is_safe<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
const _: () = is_safe::<Queue<u8>>();
const _: () = is_safe::<Queue<std::cell::Cell<u8>>>();

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Any sequence of operations does what it does to a queue of bounded length.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1_usize..9, operations in prop::collection::vec(any::<bool>(), 0..200)) {
        let shared = Queue::new(capacity);
        let mut queue = VecDeque::new();
        prop_assert_eq!(shared.capacity(), capacity);
        for (number, push) in operations.into_iter().enumerate() {
            if push {
                let expected = if queue.len() < capacity { Ok(()) } else { Err(Box::new(number)) };
                if expected.is_ok() {
                    queue.push_back(Box::new(number));
                }
                prop_assert_eq!(shared.try_push(Box::new(number)), expected);
            } else {
                prop_assert_eq!(shared.try_pop(), queue.pop_front());
            }
            prop_assert_eq!((shared.len(), shared.is_empty()), (queue.len(), queue.is_empty()));
            let shown = format!("Queue {{ len: {}, capacity: {capacity} }}", queue.len());
            prop_assert_eq!(format!("{shared:?}"), shown);
        }
    }
}

/// Runs `items` items of each of `producers` through a queue; each consumer sees each producer's in order, and together
/// they see all, once.
fn stress(capacity: usize, producers: u64, consumers: u64, items: u64) {
    let queue = Arc::new(Queue::new(capacity));
    let pushing: Vec<_> = (0..producers)
        .map(|who| {
            let queue = Arc::clone(&queue);
            let work = move || {
                for number in 0..items {
                    let mut item = Box::new((who, number));
                    while let Err(back) = queue.try_push(item) {
                        item = back;
                        std::thread::yield_now();
                    }
                }
            };
            OwnedThread::spawn(format!("producer-{who}"), work).expect("a thread")
        })
        .collect();
    let popping: Vec<_> = (0..consumers)
        .map(|who| {
            let queue = Arc::clone(&queue);
            let mine = producers * items / consumers;
            let work = move || {
                let mut next = vec![0; producers as usize];
                let mut seen = (0..mine).map(|_| {
                    loop {
                        match queue.try_pop() {
                            Some(item) => break *item,
                            None => std::thread::yield_now(),
                        }
                    }
                });
                seen.try_fold(0_u64, |sum, (from, number)| {
                    let next = &mut next[from as usize];
                    let in_order = number >= *next;
                    *next = number + 1;
                    in_order.then_some(sum + (from * items + number + 1).pow(2))
                })
            };
            OwnedThread::spawn(format!("consumer-{who}"), work).expect("a thread")
        })
        .collect();
    pushing.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let sum: u64 =
        popping.into_iter().map(|thread| thread.join().expect("no panic").expect("in order")).sum();
    assert_eq!(sum, (1..=producers * items).map(|number| number.pow(2)).sum());
    assert!(queue.is_empty());
}

#[test]
fn many_threads_pass_everything_on_once_and_in_order() {
    for (capacity, items) in [(1, 600), (2, 1_200), (3, 1_200), (64, 12_000)] {
        stress(capacity, 2, 2, items);
        stress(capacity, 3, 1, items);
        stress(capacity, 1, 3, items);
    }
}

/// Panics when dropped, if told to.
struct Fragile {
    breaks: bool,
    _alive: Arc<()>,
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.breaks, "planted");
    }
}

#[test]
fn what_is_left_is_dropped_once_even_if_one_of_them_panics() {
    let alive = Arc::new(());
    let fragile = |breaks| Fragile { breaks, _alive: Arc::clone(&alive) };
    for wrapped in 0..4 {
        let queue = Queue::new(3);
        for _ in 0..wrapped {
            assert!(queue.try_push(fragile(false)).is_ok());
            assert!(queue.try_pop().is_some());
        }
        for at in 0..3 {
            assert!(queue.try_push(fragile(at == 0)).is_ok());
        }
        assert_eq!(Arc::strong_count(&alive), 4);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(queue))).is_err());
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn items_without_a_size_are_counted() {
    let queue = Queue::new(2);
    assert_eq!([queue.try_push(()), queue.try_push(()), queue.try_push(())], [Ok(()), Ok(()), Err(())]);
    assert_eq!([queue.try_pop(), queue.try_pop(), queue.try_pop()], [Some(()), Some(()), None]);
}

#[test]
#[should_panic(expected = "a queue of no capacity")]
fn a_queue_holds_something() {
    drop(Queue::<u8>::new(0));
}

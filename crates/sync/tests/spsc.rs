//! The ring between two threads: a queue like any other, only between threads.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::OwnedThread;
use selvedge_sync::spsc::{Consumer, Producer, ring};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;

const fn is_safe<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
const _: () = is_safe::<(Producer<u8>, Consumer<u8>)>();
const _: () = is_safe::<(Producer<std::cell::Cell<u8>>, Consumer<std::cell::Cell<u8>>)>();

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Any sequence of operations does what it does to a queue of bounded length.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1_usize..9, operations in prop::collection::vec(any::<bool>(), 0..200)) {
        let (mut producer, mut consumer) = ring(capacity);
        let mut queue = VecDeque::new();
        for (number, push) in operations.into_iter().enumerate() {
            if push {
                let expected = if queue.len() < capacity { Ok(()) } else { Err(Box::new(number)) };
                if expected.is_ok() {
                    queue.push_back(Box::new(number));
                }
                prop_assert_eq!(producer.try_push(Box::new(number)), expected);
            } else {
                prop_assert_eq!(consumer.try_pop(), queue.pop_front());
            }
            let shown = format!("{{ len: {}, capacity: {capacity} }}", queue.len());
            prop_assert_eq!(format!("{producer:?}"), format!("Producer {}", &shown));
            prop_assert_eq!(format!("{consumer:?}"), format!("Consumer {}", &shown));
        }
    }
}

#[test]
fn a_stream_arrives_whole_and_in_order() {
    for capacity in [1, 2, 3, 64] {
        let items: u64 = if capacity == 1 { 2_000 } else { 50_000 };
        let (mut producer, mut consumer) = ring(capacity);
        let thread = OwnedThread::spawn("producer", move || {
            for number in 0..items {
                let mut item = (number, number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                while let Err(back) = producer.try_push(item) {
                    item = back;
                    std::thread::yield_now();
                }
            }
        })
        .unwrap();
        for number in 0..items {
            let item = loop {
                match consumer.try_pop() {
                    Some(item) => break item,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(item, (number, number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
        assert_eq!(consumer.try_pop(), None);
        thread.join().unwrap();
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
    for wrapped in 0..3 {
        for consumer_first in [false, true] {
            let (mut producer, mut consumer) = ring(3);
            for _ in 0..wrapped {
                assert!(producer.try_push(fragile(false)).is_ok());
                assert!(consumer.try_pop().is_some());
            }
            for at in 0..3 {
                assert!(producer.try_push(fragile(at == 0)).is_ok());
            }
            assert_eq!(Arc::strong_count(&alive), 4);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if consumer_first {
                    drop(consumer);
                    drop(producer);
                } else {
                    drop(producer);
                    drop(consumer);
                }
            }));
            assert!(outcome.is_err());
            assert_eq!(Arc::strong_count(&alive), 1);
        }
    }
}

#[test]
fn items_without_a_size_are_counted() {
    let (mut producer, mut consumer) = ring(2);
    assert_eq!(
        [producer.try_push(()), producer.try_push(()), producer.try_push(())],
        [Ok(()), Ok(()), Err(())]
    );
    assert_eq!([consumer.try_pop(), consumer.try_pop(), consumer.try_pop()], [Some(()), Some(()), None]);
}

#[test]
#[should_panic(expected = "a ring of no capacity")]
fn a_ring_holds_something() {
    drop(ring::<u8>(0));
}

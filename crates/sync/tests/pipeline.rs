//! The channel between two threads: order, waiting, and how it ends.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{OwnedThread, Receiver, RecvError, SendError, Sender, TrySendError, bounded};
use std::collections::VecDeque;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

const fn is_safe<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
const _: () = is_safe::<(Sender<u8>, Receiver<u8>)>();
const _: () = is_safe::<(Sender<std::cell::Cell<u8>>, Receiver<std::cell::Cell<u8>>)>();

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

#[derive(Clone, Copy, Debug)]
enum Operation {
    Send,
    Recv,
    HangUp,
    Leave,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    use Operation::*;
    let each = prop_oneof![20 => Just(Send), 20 => Just(Recv), 1 => Just(HangUp), 1 => Just(Leave)];
    prop::collection::vec(each, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Any sequence of operations does what it does to a queue of bounded length that knows who has left.
    #[test]
    fn it_is_a_bounded_queue_that_closes(capacity in 1_usize..6, operations in operations()) {
        let alive = Arc::new(());
        let (sender, receiver) = bounded(capacity);
        let (mut sender, mut receiver) = (Some(sender), Some(receiver));
        let mut queue = VecDeque::new();
        for (number, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::Send => {
                    let Some(sender) = &mut sender else { continue };
                    let sent = sender.send_timeout((number, Arc::clone(&alive)), Duration::ZERO);
                    match sent {
                        Ok(()) => {
                            prop_assert!(receiver.is_some() && queue.len() < capacity);
                            queue.push_back(number);
                        }
                        Err(TrySendError::Full((back, _))) => {
                            prop_assert!(receiver.is_some() && queue.len() == capacity && back == number);
                        }
                        Err(TrySendError::Closed((back, _))) => {
                            prop_assert!(receiver.is_none() && back == number);
                        }
                    }
                }
                Operation::Recv => {
                    let Some(receiver) = &mut receiver else { continue };
                    let expected = match queue.pop_front() {
                        Some(item) => Ok(item),
                        None if sender.is_some() => Err(RecvError::TimedOut),
                        None => Err(RecvError::Closed),
                    };
                    prop_assert_eq!(receiver.try_recv().map(|(item, _)| item), expected);
                }
                Operation::HangUp => sender = None,
                Operation::Leave => {
                    receiver = None;
                    // Dropped with the receiver, though the sender may still be there.
                    queue.clear();
                }
            }
            prop_assert_eq!(Arc::strong_count(&alive), 1 + queue.len());
        }
        drop((sender, receiver));
        prop_assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn a_stream_arrives_whole_and_in_order() {
    for (capacity, items) in [(1, 3_000_u64), (2, 6_000), (3, 6_000), (64, 60_000)] {
        let (mut sender, mut receiver) = bounded(capacity);
        let hash = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let producer = OwnedThread::spawn("producer", move || {
            (0..items).try_for_each(|number| sender.send((number, hash(number))))
        })
        .unwrap();
        for number in 0..items {
            assert_eq!(receiver.recv(), Ok((number, hash(number))));
        }
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
        assert_eq!(producer.join(), Ok(Ok(())));
    }
}

#[test]
fn ends_that_sleep_are_woken() {
    let (mut sender, mut receiver) = bounded(1);
    let producer = OwnedThread::spawn("producer", move || {
        std::thread::sleep(SHORT);
        sender.send(1).unwrap();
        // Full until the other end wakes up.
        sender.send(2).unwrap();
        std::thread::sleep(SHORT);
    })
    .unwrap();
    let began = Instant::now();
    assert_eq!(receiver.recv_timeout(LONG), Ok(1));
    std::thread::sleep(SHORT);
    assert_eq!(receiver.recv_timeout(LONG), Ok(2));
    assert_eq!(receiver.recv_timeout(LONG), Err(RecvError::Closed));
    assert!(began.elapsed() < LONG / 2);
    producer.join().unwrap();
}

#[test]
fn a_wait_for_room_ends_in_time_and_the_item_comes_back() {
    let (mut sender, mut receiver) = bounded(1);
    sender.send(1).unwrap();
    let began = Instant::now();
    assert_eq!(sender.send_timeout(2, SHORT), Err(TrySendError::Full(2)));
    assert!(began.elapsed() >= SHORT && began.elapsed() < LONG);
    // Nothing of the wait is left behind.
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(sender.send_timeout(3, SHORT), Ok(()));
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(3), Err(RecvError::TimedOut)));
}

#[test]
fn a_wait_for_an_item_ends_in_time() {
    let (mut sender, mut receiver) = bounded(1);
    let began = Instant::now();
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvError::TimedOut));
    assert!(began.elapsed() >= SHORT && began.elapsed() < LONG);
    sender.send(1).unwrap();
    assert_eq!(receiver.recv_timeout(SHORT), Ok(1));
}

#[test]
fn a_receiver_that_leaves_lets_a_waiting_sender_go() {
    let (mut sender, receiver) = bounded(1);
    sender.send(1).unwrap();
    let producer = OwnedThread::spawn("producer", move || sender.send(2)).unwrap();
    std::thread::sleep(SHORT);
    drop(receiver);
    assert_eq!(producer.join(), Ok(Err(SendError(2))));
}

/// Two channels that keep each other: each holds the other's sender until its receiver lets go.
#[test]
fn what_is_dropped_with_the_receiver_may_close_other_channels() {
    let (mut outer, inbox) = bounded(1);
    let (inner, mut replies) = bounded::<u8>(1);
    outer.send(inner).unwrap();
    drop(inbox);
    assert_eq!(replies.recv_timeout(LONG), Err(RecvError::Closed));
    drop(outer);
}

#[test]
fn errors_say_what_they_are_whatever_the_item() {
    struct Opaque;
    let error: Box<dyn std::error::Error> = Box::new(TrySendError::Full(Opaque));
    assert_eq!((format!("{error}"), format!("{error:?}")), ("the channel is full".into(), "Full(..)".into()));
    let error: Box<dyn std::error::Error> = Box::new(SendError(Opaque));
    assert_eq!(format!("{error}"), "the receiving end of the channel is gone");
}

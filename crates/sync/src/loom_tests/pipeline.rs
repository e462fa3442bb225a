//! Models of the bounded channel.

use super::{ALL, explore};
use crate::{RecvError, bounded};
use loom::thread;
use std::time::Duration;

/// Everything sent is received once, in order, by way of one place; then the channel is closed.
///
/// 2 threads, no bound on preemptions: 78,546 schedules, 2.9 s. Kills `pipeline_overfull`, `pipeline_send_no_notify`,
/// `pipeline_recv_no_notify`, `pipeline_hang_up_silent`, `pipeline_hang_up_swapped`.
#[test]
fn loom_pipeline_in_order() {
    explore("loom_pipeline_in_order", ALL, || {
        let (sender, mut receiver) = bounded(1);
        let producer = thread::spawn(move || (0..3).for_each(|item| sender.send(item).unwrap()));
        for item in 0..3 {
            assert!(receiver.waiting() <= 1);
            assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(item));
        }
        assert_eq!(receiver.recv_timeout(Duration::MAX), Err(RecvError::Closed));
        producer.join().unwrap();
    });
}

/// A receiver that leaves lets a sender go that waits, or is about to wait, for room.
///
/// 2 threads, no bound on preemptions: 304 schedules, under 0.1 s. Kills `pipeline_leave_no_notify`.
#[test]
fn loom_pipeline_receiver_leaves() {
    explore("loom_pipeline_receiver_leaves", ALL, || {
        let (sender, mut receiver) = bounded(1);
        let producer = thread::spawn(move || (0..).find(|&item| sender.send(item).is_err()));
        assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(0));
        drop(receiver);
        assert!(producer.join().unwrap().is_some());
    });
}

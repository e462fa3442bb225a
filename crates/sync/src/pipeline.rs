//! A bounded channel between two threads: the joint of a pipeline.
//!
//! One sender, one receiver, a capacity. A full channel holds the sender back, an empty one the receiver, for as long as
//! the receiver says. Dropping either end closes the channel, on unwinding too, so that no end waits for one that is gone.

use crate::probe::{Kind, Object};
use crate::shim::{self, Arc, Condvar, Mutex, in_order, keep, lock, wait_while, wait_while_until};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// A channel for at most `capacity` items.
///
/// ```
/// use std::time::Duration;
/// use selvedge_sync::{OwnedThread, RecvError, bounded};
///
/// let (sender, mut receiver) = bounded(2);
/// let producer = OwnedThread::spawn("producer", move || (0..5).try_for_each(|item| sender.send(item)))?;
/// let mut got = Vec::new();
/// while let Ok(item) = receiver.recv_timeout(Duration::from_secs(10)) {
///     got.push(item);
/// }
/// assert_eq!(got, [0, 1, 2, 3, 4]);
/// assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvError::Closed));
/// assert!(producer.join()?.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// When `capacity` is zero.
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel of no capacity");
    let joint = Arc::new(Joint {
        state: Mutex::new(State { items: VecDeque::with_capacity(capacity), closed: false }),
        sent: Condvar::new(),
        taken: Condvar::new(),
        capacity,
        probe: Object::new(Kind::Channel),
    });
    (Sender { joint: Arc::clone(&joint) }, Receiver { joint })
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// One end is gone.
    closed: bool,
}

#[derive(Debug)]
struct Joint<T> {
    state: Mutex<State<T>>,
    /// An item was sent, or the sender left.
    sent: Condvar,
    /// An item was taken, or the receiver left.
    taken: Condvar,
    capacity: usize,
    probe: Object<2>,
}

/// Ends for the instruments.
const SENDER: usize = 0;
const RECEIVER: usize = 1;

/// The receiver is gone; here is the item back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiving end of the channel is gone")
    }
}

impl<T> std::error::Error for SendError<T> {}

/// Why there is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// None came in time.
    TimedOut,
    /// The sender is gone, and all it sent has been taken.
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecvError::TimedOut => "nothing was sent in time",
            RecvError::Closed => "the sending end of the channel is gone",
        })
    }
}

impl std::error::Error for RecvError {}

/// The end that sends.
#[derive(Debug)]
pub struct Sender<T> {
    joint: Arc<Joint<T>>,
}

impl<T> Sender<T> {
    /// Sends `item`, waiting while the channel is full.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the item when the receiver is gone, also when it leaves during the wait.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        let joint = &*self.joint;
        let full = |state: &mut State<T>| keep!("pipeline_overfull") && state.items.len() >= joint.capacity;
        let waits = |state: &mut State<T>| !state.closed && full(state);
        joint.probe.here(SENDER);
        let mut state = lock(&joint.state);
        if waits(&mut state) {
            let _wait = joint.probe.wait(RECEIVER);
            state = wait_while(&joint.taken, state, waits);
        }
        if state.closed {
            return Err(SendError(item));
        }
        state.items.push_back(item);
        drop(state);
        if keep!("pipeline_send_no_notify") {
            joint.sent.notify_one();
        }
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let close = || {
            if keep!("pipeline_hang_up_silent") {
                lock(&self.joint.state).closed = true;
            }
        };
        in_order!("pipeline_hang_up_swapped", close(), self.joint.sent.notify_one());
    }
}

/// The end that receives.
#[derive(Debug)]
pub struct Receiver<T> {
    joint: Arc<Joint<T>>,
}

impl<T> Receiver<T> {
    /// Takes the next item, waiting for one for `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`RecvError::TimedOut`], or [`RecvError::Closed`] once the sender is gone and nothing is left.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        let joint = &*self.joint;
        let nothing = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        joint.probe.here(RECEIVER);
        let mut state = lock(&joint.state);
        if nothing(&mut state) {
            let _wait = joint.probe.wait(SENDER);
            state = wait_while_until(&joint.sent, state, shim::deadline(timeout), nothing);
        }
        let Some(item) = state.items.pop_front() else {
            return Err(if state.closed { RecvError::Closed } else { RecvError::TimedOut });
        };
        drop(state);
        if keep!("pipeline_recv_no_notify") {
            joint.taken.notify_one();
        }
        Ok(item)
    }

    /// Items that wait to be taken.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.joint.state).items.len()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.joint.state);
        state.closed = true;
        // Dropped after the lock: what they do then is theirs.
        let left = std::mem::take(&mut state.items);
        drop(state);
        if keep!("pipeline_leave_no_notify") {
            self.joint.taken.notify_one();
        }
        drop(left);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::OwnedThread;
    use std::time::Instant;

    #[test]
    fn a_full_channel_holds_the_sender_back() {
        let (sender, mut receiver) = bounded(3);
        let producer = OwnedThread::spawn("producer", move || {
            for item in 0..100 {
                sender.send(item).unwrap();
            }
        })
        .unwrap();
        for item in 0..100 {
            assert!(receiver.waiting() <= 3);
            assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(item));
        }
        producer.join().unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Err(RecvError::Closed));
    }

    #[test]
    fn silence_is_reported_in_time() {
        let (sender, mut receiver) = bounded::<u8>(1);
        let start = Instant::now();
        assert_eq!(receiver.recv_timeout(Duration::from_millis(30)), Err(RecvError::TimedOut));
        assert!(start.elapsed() >= Duration::from_millis(30));
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(
            receiver.recv_timeout(Duration::ZERO),
            Ok(1),
            "what was sent before it left is still there"
        );
    }

    #[test]
    fn a_sender_that_panics_closes_the_channel() {
        let (sender, mut receiver) = bounded::<u8>(1);
        let producer = OwnedThread::spawn("producer", move || {
            let _sender = sender;
            panic!("planted");
        })
        .unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Err(RecvError::Closed));
        assert!(producer.join().is_err());
    }
}

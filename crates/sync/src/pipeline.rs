//! A bounded channel between two threads: the joint of a pipeline.
//!
//! One sender, one receiver, a capacity. A full channel holds the sender back, an empty one the receiver, for as long as
//! the receiver says. Dropping either end closes the channel, on unwinding too, so that no end waits for one that is gone.
//!
//! The items go through a [ring](crate::spsc). An end that finds nothing to do announces its sleep *in the word in which
//! the other end says how far it is*, and that other end goes on by swapping the word: so either the announcement fails,
//! or the swap finds it. The same swap finds out whether the receiver has left; the sender then takes its item back.
#![expect(unsafe_code, reason = "an item is taken back from a ring whose other end is gone")]

mod error;
mod joint;

pub use error::{RecvError, SendError, TrySendError};

use crate::shim::{self, Arc, AtomicUsize, Ordering, in_order, keep, weaken};
use crate::spsc::{self, ASLEEP, Consumer, GONE, Producer};
use joint::{Joint, RECEIVER, SENDER};
use std::time::{Duration, Instant};

/// A channel for at most `capacity` items.
///
/// ```
/// use std::time::Duration;
/// use selvedge_sync::{OwnedThread, RecvError, bounded};
///
/// let (mut sender, mut receiver) = bounded(2);
/// let producer = OwnedThread::spawn("producer", move || (0..5).try_for_each(|item| sender.send(item)))?;
/// let mut got = Vec::new();
/// while let Ok(item) = receiver.recv_timeout(Duration::from_secs(10)) {
///     got.push(item);
/// }
/// assert_eq!(got, [0, 1, 2, 3, 4]);
/// assert_eq!(receiver.try_recv(), Err(RecvError::Closed));
/// assert!(producer.join()?.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What was sent before the sender left can still be received. What is in the channel when the receiver leaves is dropped
/// with it, at once; what the sender sends from then on comes back to it. An end that waits looks for some microseconds
/// before it sleeps, and offers its core to others meanwhile.
///
/// # Panics
///
/// When `capacity` is zero, or more than an eighth of the address space.
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel of no capacity");
    let (producer, consumer) = spsc::ring(capacity);
    let joint = Arc::new(Joint::new());
    (Sender { producer, joint: Arc::clone(&joint) }, Receiver { consumer, joint })
}

/// The end that sends.
#[derive(Debug)]
pub struct Sender<T> {
    producer: Producer<T>,
    joint: Arc<Joint>,
}

impl<T> Sender<T> {
    /// Sends `item`, waiting while the channel is full.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the item when the receiver is gone, also when it leaves during the wait.
    pub fn send(&mut self, item: T) -> Result<(), SendError<T>> {
        self.send_within(item, None).map_err(|error| SendError(error.into_inner()))
    }

    /// Sends `item`, waiting for `timeout` at most while the channel is full.
    ///
    /// # Errors
    ///
    /// With the item: [`TrySendError::Full`] when there is still no room then, [`TrySendError::Closed`] when the receiver
    /// is gone.
    pub fn send_timeout(&mut self, item: T, timeout: Duration) -> Result<(), TrySendError<T>> {
        self.send_within(item, Some(timeout))
    }

    fn send_within(&mut self, item: T, limit: Option<Duration>) -> Result<(), TrySendError<T>> {
        self.joint.probe.here(SENDER);
        if let Err(head) = self.producer.room() {
            match self.await_room(head, limit) {
                Ok(()) => {}
                Err(Missed::Gone) => return Err(TrySendError::Closed(item)),
                Err(Missed::Late) => return Err(TrySendError::Full(item)),
            }
        }
        let before = self.producer.push_by(item, |tail, word| {
            let ordering = weaken!("pipeline_send_relaxed", Release);
            exchange(tail, word, ordering, keep!("pipeline_send_torn"))
        });
        if before & (ASLEEP | GONE) == 0 { Ok(()) } else { self.settle(before) }
    }

    /// Waits while the channel is full, as `head` says it is. Out of line, so that a send that need not wait stays as short
    /// as it would be without.
    #[cold]
    #[inline(never)]
    fn await_room(&mut self, mut head: usize, limit: Option<Duration>) -> Result<(), Missed> {
        let mut patience = Patience { limit, until: None };
        loop {
            patience.check(head)?;
            let _wait = self.joint.probe.wait(RECEIVER);
            self.joint.wait(&self.joint.sender, self.producer.words().1, head, patience.until);
            match self.producer.room() {
                Ok(()) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Deals with what the other end has put beside the position.
    #[cold]
    fn settle(&mut self, before: usize) -> Result<(), TrySendError<T>> {
        if before & GONE != 0 && keep!("pipeline_send_into_void") {
            // SAFETY: the receiver has left, and will look only at what was there when it did: its leaving and this
            // push are ordered by the word that both changed, and it came first.
            return Err(TrySendError::Closed(unsafe { self.producer.take_back(GONE) }));
        }
        if keep!("pipeline_send_no_wake") {
            self.joint.receiver.wake();
        }
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let tail = self.producer.words().0;
        let mut before = ASLEEP;
        in_order!(
            "pipeline_hang_up_swapped",
            before = tail.fetch_or(GONE, weaken!("pipeline_hang_up_relaxed", Release)),
            if before & ASLEEP != 0 && keep!("pipeline_hang_up_no_wake") {
                self.joint.receiver.wake();
            }
        );
    }
}

/// The end that receives.
#[derive(Debug)]
pub struct Receiver<T> {
    consumer: Consumer<T>,
    joint: Arc<Joint>,
}

impl<T> Receiver<T> {
    /// Takes the next item, waiting for one.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the sender is gone and nothing is left; what it did before is visible then.
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_within(None)
    }

    /// Takes the next item if there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError::TimedOut`] when there is none, or [`RecvError::Closed`] as of [`Receiver::recv`].
    pub fn try_recv(&mut self) -> Result<T, RecvError> {
        self.recv_within(Some(Duration::ZERO))
    }

    /// Takes the next item, waiting for one for `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`RecvError::TimedOut`] when none came in time, or [`RecvError::Closed`] as of [`Receiver::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_within(Some(timeout))
    }

    fn recv_within(&mut self, limit: Option<Duration>) -> Result<T, RecvError> {
        self.joint.probe.here(RECEIVER);
        if let Err(tail) = self.consumer.ready() {
            match self.await_item(tail, limit) {
                Ok(()) => {}
                Err(Missed::Gone) => return Err(RecvError::Closed),
                Err(Missed::Late) => return Err(RecvError::TimedOut),
            }
        }
        let (item, before) = self.consumer.pop_by(|head, word| {
            let ordering = weaken!("pipeline_recv_relaxed", Release);
            exchange(head, word, ordering, keep!("pipeline_recv_torn"))
        });
        if before & ASLEEP != 0 && keep!("pipeline_recv_no_wake") {
            self.joint.sender.wake();
        }
        Ok(item)
    }

    /// Waits while the channel is empty, as `tail` says it is; see `Sender::await_room`.
    #[cold]
    #[inline(never)]
    fn await_item(&mut self, mut tail: usize, limit: Option<Duration>) -> Result<(), Missed> {
        let mut patience = Patience { limit, until: None };
        loop {
            patience.check(tail)?;
            let _wait = self.joint.probe.wait(SENDER);
            self.joint.wait(&self.joint.receiver, self.consumer.words().1, tail, patience.until);
            match self.consumer.ready() {
                Ok(()) => return Ok(()),
                Err(now) => tail = now,
            }
        }
    }

    /// Items that wait to be taken.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn waiting(&self) -> usize {
        self.consumer.len()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (head, tail) = self.consumer.words();
        // What is in the channel by now is this end's to drop; what comes later, the sender takes back.
        let last = tail.fetch_or(GONE, weaken!("pipeline_leave_relaxed", Acquire));
        if head.fetch_or(GONE, Ordering::Relaxed) & ASLEEP != 0 && keep!("pipeline_leave_no_wake") {
            self.joint.sender.wake();
        }
        while self.consumer.ready_in(last) {
            // Dropped when it is out of the ring: what it does then is its own.
            drop(self.consumer.pop_by(|head, word| {
                if keep!("pipeline_drain_kept") {
                    head.store(word | GONE, weaken!("pipeline_drain_relaxed", Release));
                }
            }));
        }
    }
}

/// Puts a new word in place; returns the one before.
fn exchange(word: &AtomicUsize, new: usize, ordering: Ordering, whole: bool) -> usize {
    if whole {
        return word.swap(new, ordering);
    }
    let before = word.load(Ordering::Relaxed);
    word.store(new, ordering);
    before
}

/// How long an end will wait; the clock is read when it has to, not before.
struct Patience {
    limit: Option<Duration>,
    until: Option<Instant>,
}

impl Patience {
    /// Before a wait for a change of the other end's `word`.
    fn check(&mut self, word: usize) -> Result<(), Missed> {
        if word & GONE != 0 {
            return Err(Missed::Gone);
        }
        let over = match (self.limit, self.until) {
            (None, _) => false,
            (Some(limit), None) => {
                self.until = shim::deadline(limit);
                limit.is_zero()
            }
            (_, until) => shim::remaining(until).is_none(),
        };
        if over { Err(Missed::Late) } else { Ok(()) }
    }
}

/// Why an end waits no longer, though nothing has come.
enum Missed {
    /// The other end is gone.
    Gone,
    /// The time is up.
    Late,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::OwnedThread;
    use std::time::Instant;

    #[test]
    fn a_full_channel_holds_the_sender_back() {
        let (mut sender, mut receiver) = bounded(3);
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
        let (mut sender, mut receiver) = bounded::<u8>(1);
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

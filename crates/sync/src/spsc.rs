//! A bounded ring between two threads, without a lock.
#![expect(unsafe_code, reason = "slots that one thread fills and another empties")]

use crate::shim::{Arc, AtomicUsize, Line, Ordering, UnsafeCell, in_order, keep, weaken};
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Two bits of a word beside its position, for those who build on the ring; the ring itself leaves them alone.
pub(crate) const GONE: usize = 1 << (usize::BITS - 1);
pub(crate) const ASLEEP: usize = 1 << (usize::BITS - 2);
const POSITION: usize = ASLEEP - 1;

/// A ring of `capacity` places: one end pushes, the other pops, and neither ever waits.
///
/// ```
/// let (mut producer, mut consumer) = selvedge_sync::spsc::ring(2);
/// let thread = selvedge_sync::OwnedThread::spawn("producer", move || {
///     for item in 0..1000 {
///         while producer.try_push(item).is_err() {
///             std::hint::spin_loop();
///         }
///     }
/// })?;
/// let mut sum = 0;
/// for _ in 0..1000 {
///     sum += loop {
///         match consumer.try_pop() {
///             Some(item) => break item,
///             None => std::hint::spin_loop(),
///         }
///     };
/// }
/// assert_eq!(sum, 499_500);
/// # thread.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Lamport's queue (1977): each end publishes its own position and reads the other's. As in FastForward and MCRingBuffer
/// an end keeps what it has seen, here as a count of places: it looks at the other's position only when that count is
/// used up, so that ends which run in bursts seldom touch each other's cache lines. Positions count to twice the
/// capacity, so that a full ring differs from an empty one without a place left free.
///
/// What is left in the ring when both ends are gone is dropped, in order.
///
/// # Panics
///
/// When `capacity` is zero, or more than an eighth of the address space.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring of no capacity");
    assert!(capacity <= POSITION / 2, "a ring of {capacity} places");
    let ring = Arc::new(Ring {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        tail: Line(AtomicUsize::new(0)),
        head: Line(AtomicUsize::new(0)),
    });
    let producer = Producer { ring: Arc::clone(&ring), tail: 0, room: capacity };
    (producer, Consumer { ring, head: 0, ready: 0 })
}

struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Where the next item goes. The producer's.
    tail: Line<AtomicUsize>,
    /// Where the next item comes from. The consumer's.
    head: Line<AtomicUsize>,
}

// SAFETY: items go through by value, so they must be `Send`. A slot between `head` and `tail` is the consumer's, any
// other the producer's, and both positions are published after the slot they hand over.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: it owns its items.
unsafe impl<T: Send> Send for Ring<T> {}

// No code of a user runs while a position and its slot disagree.
impl<T> UnwindSafe for Ring<T> {}
impl<T> RefUnwindSafe for Ring<T> {}

impl<T> Ring<T> {
    fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        let capacity = self.capacity();
        &self.slots[if position >= capacity { position - capacity } else { position }]
    }

    fn next(&self, position: usize) -> usize {
        let positions = if keep!("spsc_positions_once") { 2 * self.capacity() } else { self.capacity() };
        if position + 1 == positions { 0 } else { position + 1 }
    }

    fn before(&self, position: usize) -> usize {
        if position == 0 { 2 * self.capacity() - 1 } else { position - 1 }
    }

    /// Items between two positions.
    fn items(&self, head: usize, tail: usize) -> usize {
        if tail >= head { tail - head } else { tail + 2 * self.capacity() - head }
    }

    /// Items in the ring, of two looks at a ring in motion.
    fn len(&self) -> usize {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        self.items(head & POSITION, tail & POSITION).min(self.capacity())
    }
}

/// Drops what is left, the rest too when one of them panics.
struct Leftovers<'a, T> {
    ring: &'a Ring<T>,
    head: usize,
    tail: usize,
}

impl<T> Leftovers<'_, T> {
    fn take(&mut self) -> Option<T> {
        let at = self.head;
        if at == self.tail {
            return None;
        }
        self.head = self.ring.next(at);
        // SAFETY: the ring is going and nobody else is at it; a slot between its positions is full, and each is
        // passed once.
        Some(self.ring.slot(at).with(|slot| unsafe { slot.cast::<T>().read() }))
    }
}

impl<T> Drop for Leftovers<'_, T> {
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if !keep!("spsc_leftovers_leak") {
            return;
        }
        // The last owner of an `Arc` sees all that the others did.
        let head = self.head.load(Ordering::Relaxed) & POSITION;
        let tail = self.tail.load(Ordering::Relaxed) & POSITION;
        let mut leftovers = Leftovers { ring: self, head, tail };
        while leftovers.take().is_some() {}
    }
}

/// The end that pushes.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    /// Places known to be free.
    room: usize,
}

impl<T> Producer<T> {
    /// Appends `item`, or gives it back when the ring is full.
    pub fn try_push(&mut self, item: T) -> Result<(), T> {
        if self.room().is_err() {
            return Err(item);
        }
        self.push_by(item, |tail, word| tail.store(word, weaken!("spsc_push_relaxed", Release)));
        Ok(())
    }

    /// Whether there is room; when there is not, the word in which the consumer says how far it is.
    pub(crate) fn room(&mut self) -> Result<(), usize> {
        if self.room == 0 {
            let head = self.ring.head.load(weaken!("spsc_room_relaxed", Acquire));
            let places = self.ring.capacity() + usize::from(!keep!("spsc_overfull"));
            self.room = places - self.ring.items(head & POSITION, self.tail);
            if self.room == 0 {
                return Err(head);
            }
        }
        Ok(())
    }

    /// Fills the next place, which [`Producer::room`] has said is free; `publish` then puts the new word in its place.
    pub(crate) fn push_by<R>(&mut self, item: T, publish: impl FnOnce(&AtomicUsize, usize) -> R) -> R {
        assert!(self.room > 0, "`room` is asked first");
        let tail = self.ring.next(self.tail);
        // SAFETY: the consumer is done with a free slot, which `room` has acquired, and this end fills it alone.
        let fill = |item| self.ring.slot(self.tail).with_mut(|slot| unsafe { slot.cast::<T>().write(item) });
        let published;
        in_order!("spsc_push_early", fill(item), published = publish(&self.ring.tail, tail));
        self.tail = tail;
        self.room -= 1;
        published
    }

    /// Takes the item pushed last back out, and its position back.
    ///
    /// # Safety
    ///
    /// The consumer is gone and will not look at that item.
    pub(crate) unsafe fn take_back(&mut self, flags: usize) -> T {
        self.tail = self.ring.before(self.tail);
        self.room += 1;
        self.ring.tail.store(self.tail | flags, Ordering::Relaxed);
        // SAFETY: this end has filled the slot, and by the caller nobody else empties it: its position is taken back.
        self.ring.slot(self.tail).with(|slot| unsafe { slot.cast::<T>().read() })
    }

    /// The words of this end and of the other.
    pub(crate) fn words(&self) -> (&AtomicUsize, &AtomicUsize) {
        (&self.ring.tail, &self.ring.head)
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, capacity) = (self.ring.len(), self.ring.capacity());
        f.debug_struct("Producer").field("len", &len).field("capacity", &capacity).finish()
    }
}

/// The end that pops.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    /// Items known to be there.
    ready: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest item, or `None` when the ring is empty.
    pub fn try_pop(&mut self) -> Option<T> {
        self.ready().ok()?;
        let publish = |head: &AtomicUsize, word| head.store(word, weaken!("spsc_pop_relaxed", Release));
        Some(self.pop_by(publish).0)
    }

    /// Whether there is an item; when there is none, the word in which the producer says how far it is.
    pub(crate) fn ready(&mut self) -> Result<(), usize> {
        if self.ready == 0 {
            let tail = self.ring.tail.load(weaken!("spsc_ready_relaxed", Acquire));
            let items = self.ring.items(self.head, tail & POSITION);
            self.ready = items.max(usize::from(!keep!("spsc_underfull")));
            if self.ready == 0 {
                return Err(tail);
            }
        }
        Ok(())
    }

    /// Empties the next place, which [`Consumer::ready`] has said is full; `publish` then puts the new word in its
    /// place.
    pub(crate) fn pop_by<R>(&mut self, publish: impl FnOnce(&AtomicUsize, usize) -> R) -> (T, R) {
        assert!(self.ready > 0, "`ready` is asked first");
        let head = self.ring.next(self.head);
        // SAFETY: the producer has filled a slot that is ready, which `ready` has acquired, and this end empties it
        // alone and once, for its position goes on.
        let empty = || self.ring.slot(self.head).with(|slot| unsafe { slot.cast::<T>().read() });
        let (item, published);
        in_order!("spsc_pop_early", item = empty(), published = publish(&self.ring.head, head));
        self.head = head;
        self.ready -= 1;
        (item, published)
    }

    /// Whether there is an item before the position in a word of the producer's, which the caller has acquired.
    pub(crate) fn ready_in(&mut self, tail: usize) -> bool {
        self.ready = self.ring.items(self.head, tail & POSITION);
        self.ready > 0
    }

    /// The words of this end and of the other.
    pub(crate) fn words(&self) -> (&AtomicUsize, &AtomicUsize) {
        (&self.ring.head, &self.ring.tail)
    }

    /// Items in the ring.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, capacity) = (self.ring.len(), self.ring.capacity());
        f.debug_struct("Consumer").field("len", &len).field("capacity", &capacity).finish()
    }
}

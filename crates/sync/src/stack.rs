//! A stack of fixed capacity that takes no lock and, once built, allocates nothing.
#![expect(
    unsafe_code,
    reason = "a slot of the slab is written and read by whoever took its place off a list"
)]

mod list;

use crate::shim::{AtomicU32, UnsafeCell};
use list::List;
use std::fmt;
use std::mem::MaybeUninit;

/// A lock-free stack of at most `capacity` values.
///
/// ```
/// let stack = selvedge_sync::Stack::new(2);
/// assert_eq!((stack.push('a'), stack.push('b')), (Ok(()), Ok(())));
/// assert_eq!(stack.push('c'), Err('c'));
/// assert_eq!((stack.pop(), stack.pop(), stack.pop()), (Some('b'), Some('a'), None));
/// ```
///
/// Values lie in a slab of fixed size. Two of Treiber's lists run through it, of places with a value and of places
/// without. The top of each is one word: a place and a generation that every change counts up, so that a thread which
/// looked at the top before others took it off and put it back cannot take it for unchanged (the ABA problem). It would
/// have to sleep between two instructions through exactly 2³² changes to be deceived.
///
/// What a thread did before it pushed a value is visible to the thread that pops it.
pub struct Stack<T> {
    slots: Box<[Slot<T>]>,
    filled: List,
    vacant: List,
}

struct Slot<T> {
    /// The place below this one on whichever list it is.
    below: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A place of a slab, off both lists, in the hands of one owner.
#[derive(Debug)]
pub(crate) struct Place(u32);

// SAFETY: a slot's value is touched only by the one thread that has its place off both lists; taking a place off a list
// and putting it on orders one such thread after another. Values move between threads, and are never shared.
unsafe impl<T: Send> Sync for Stack<T> {}
// SAFETY: a stack owns its values.
unsafe impl<T: Send> Send for Stack<T> {}

impl<T> Stack<T> {
    /// An empty stack for `capacity` values.
    ///
    /// # Panics
    ///
    /// When `capacity` is more than 2³² − 2.
    pub fn new(capacity: usize) -> Self {
        let places = u32::try_from(capacity).ok().filter(|&places| places < List::NONE);
        let places = places.expect("a stack counts its places in 32 bits");
        let slot = |_| Slot { below: AtomicU32::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
        let stack = Self { slots: (0..places).map(slot).collect(), filled: List::new(), vacant: List::new() };
        // The first on top, for the first pages to be used first.
        (0..places).rev().for_each(|place| stack.vacant.push(&stack.slots, place));
        stack
    }

    /// The most values it holds.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Puts `value` on top.
    ///
    /// # Errors
    ///
    /// The value again, when the stack is full. A place counts as taken until the `pop` that empties it has returned.
    pub fn push(&self, value: T) -> Result<(), T> {
        match self.take_vacant() {
            // SAFETY: taken just now, from this stack.
            Some(place) => unsafe { self.fill(place, value) },
            None => return Err(value),
        }
        Ok(())
    }

    /// Takes the value on top.
    pub fn pop(&self) -> Option<T> {
        let (place, value) = self.take_filled()?;
        // SAFETY: taken just now, from this stack.
        unsafe { self.vacate(place) };
        Some(value)
    }

    /// Takes the value on top, and its place with it, for [`Stack::fill`] or [`Stack::vacate`].
    pub(crate) fn take_filled(&self) -> Option<(Place, T)> {
        let place = self.filled.pop(&self.slots)?;
        // SAFETY: a place on this list has a value, and off the list it is this thread's alone. The value is moved out.
        let value = self.slots[place as usize].value.with_mut(|value| unsafe { value.cast::<T>().read() });
        Some((Place(place), value))
    }

    /// Takes a place without a value, for [`Stack::fill`] or [`Stack::vacate`].
    pub(crate) fn take_vacant(&self) -> Option<Place> {
        self.vacant.pop(&self.slots).map(Place)
    }

    /// Puts `value` on top, at `place`.
    ///
    /// # Safety
    ///
    /// `place` is of this stack.
    pub(crate) unsafe fn fill(&self, place: Place, value: T) {
        // SAFETY: the place is off both lists, and there is one `Place` for it.
        self.slots[place.0 as usize].value.with_mut(|slot| unsafe { (*slot).write(value) });
        self.filled.push(&self.slots, place.0);
    }

    /// Gives `place` back without a value.
    ///
    /// # Safety
    ///
    /// `place` is of this stack.
    pub(crate) unsafe fn vacate(&self, place: Place) {
        self.vacant.push(&self.slots, place.0);
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        while let Some(value) = self.pop() {
            drop(value);
        }
    }
}

impl<T> fmt::Debug for Stack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

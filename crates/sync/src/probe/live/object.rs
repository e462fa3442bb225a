//! What a primitive carries for its hooks, and the waits and holds on it.

use super::{Place, me, on};
use crate::instruments::me::Me;
use crate::instruments::site::Label;
use crate::instruments::status::{Id, Status};
use crate::kind::Kind;
use crate::shim::{AtomicU64, Ordering};
use std::rc::Rc;

/// A primitive as the instruments see it: what it is, where it was built, and which threads were last at its ends.
///
/// An end is a part that one thread plays for others to wait for: the holder of a lock, the sender of a channel. Who it
/// is, is a hint: it orders nothing and decides nothing.
#[derive(Debug)]
pub(crate) struct Object<const ENDS: usize = 1> {
    kind: Kind,
    place: Place,
    ends: [AtomicU64; ENDS],
}

impl<const ENDS: usize> Object<ENDS> {
    #[track_caller]
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { kind, place: Place::here(), ends: [const { AtomicU64::new(0) }; ENDS] }
    }

    /// Says that the calling thread is at this end now.
    #[inline]
    pub(crate) fn here(&self, end: usize) {
        if on() {
            self.is_here(end);
        }
    }

    #[cold]
    #[inline(never)]
    fn is_here(&self, end: usize) {
        if let Some(me) = me() {
            self.left_by(&me, end);
            me.touch(self.id(&me));
        }
    }

    pub(super) fn left_by(&self, me: &Me, end: usize) {
        let mark = me.mark();
        // Read first: the line stays shared while the same thread comes again and again.
        if self.ends[end].load(Ordering::Relaxed) != mark {
            self.ends[end].store(mark, Ordering::Relaxed);
        }
    }

    /// The seat, and one, of the thread at this end, or 0.
    pub(super) fn at(&self, me: &Me, end: usize) -> u16 {
        me.seat_of(self.ends[end].load(Ordering::Relaxed))
    }

    pub(super) fn id(&self, me: &Me) -> Id {
        self.id_at(me.site(Label { kind: self.kind, name: None, location: self.place.0 }))
    }

    /// The id of this object in its part at another site.
    pub(super) fn id_at(&self, site: u16) -> Id {
        Id::new(std::ptr::from_ref(self).addr(), site)
    }

    /// Begins a wait for the thread at `end`, which ends when the result is dropped.
    #[inline]
    #[must_use]
    pub(crate) fn wait(&self, end: usize) -> Wait<'_, ENDS> {
        Wait(if on() { Waiting::begin(self, end) } else { None })
    }

    /// Says that the calling thread holds this, and is at `end` of it, until the result is dropped.
    #[inline]
    #[must_use]
    pub(crate) fn hold(&self, end: usize) -> Held {
        Held(if on() { self.debt(Some(end), true) } else { NOTHING })
    }

    /// Says that the calling thread has something of this, which others may wait for, until the result is dropped.
    #[inline]
    #[must_use]
    pub(crate) fn lend(&self) -> Held {
        Held(if on() { self.debt(None, true) } else { NOTHING })
    }

    /// Says that others may wait for the calling thread to come here, until the result is dropped.
    #[inline]
    #[must_use]
    pub(crate) fn expect(&self) -> Held {
        Held(if on() { self.debt(None, false) } else { NOTHING })
    }

    #[cold]
    #[inline(never)]
    fn debt(&self, end: Option<usize>, timed: bool) -> u64 {
        let Some(me) = me() else { return NOTHING };
        if let Some(end) = end {
            self.left_by(&me, end);
        }
        let id = self.id(&me);
        let entry = if timed { me.hold(self.kind, id) } else { me.owe(id) };
        entry.map_or(NOTHING, |entry| me.debt(entry, timed))
    }
}

/// A wait under way.
#[derive(Debug)]
pub(crate) struct Wait<'a, const ENDS: usize = 1>(Option<Waiting<'a, ENDS>>);

#[derive(Debug)]
struct Waiting<'a, const ENDS: usize> {
    me: Rc<Me>,
    object: &'a Object<ENDS>,
    end: usize,
    awaited: u16,
    before: Status,
}

impl<'a, const ENDS: usize> Waiting<'a, ENDS> {
    #[cold]
    #[inline(never)]
    fn begin(object: &'a Object<ENDS>, end: usize) -> Option<Self> {
        let me = me()?;
        let awaited = object.at(&me, end);
        let before = me.begin_wait(object.kind, object.id(&me), awaited, me.now());
        Some(Self { me, object, end, awaited, before })
    }
}

impl<const ENDS: usize> Drop for Wait<'_, ENDS> {
    #[inline]
    fn drop(&mut self) {
        if let Some(waiting) = &self.0 {
            waiting.end();
        }
    }
}

impl<const ENDS: usize> Waiting<'_, ENDS> {
    #[cold]
    #[inline(never)]
    fn end(&self) {
        let Self { me, object, end, awaited, before } = self;
        // A lock was waited for because of its holder then; other waits because of who ended them.
        let now_there = object.at(me, *end);
        let ended_by = if object.kind.is_lock() || now_there == 0 { *awaited } else { now_there };
        me.end_wait(object.kind, ended_by, *before, me.now());
    }
}

/// Something that the calling thread owes others. One word, so that guards which carry it stay as cheap to move and to
/// drop as they are without.
#[derive(Debug)]
pub(crate) struct Held(u64);

const NOTHING: u64 = 0;

impl Held {
    /// Says that it is about to be released; else dropping it does.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.0 != NOTHING {
            pay(std::mem::replace(&mut self.0, NOTHING));
        }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if self.0 != NOTHING {
            pay(self.0);
        }
    }
}

#[cold]
#[inline(never)]
fn pay(debt: u64) {
    if let Some(me) = me() {
        me.pay_debt(debt);
    }
}

//! A registered thread's own side: it writes its book, and remembers what only it needs to know.

use super::book::MOST_OWED;
use super::event::{Activity, Raw};
use super::histogram::add;
use super::shared::Shared;
use super::site::Label;
use crate::instruments::status::{Doing, Id, NOWHERE, Status};
use crate::kind::Kind;
use crate::shim::{Arc, Ordering};
use std::cell::{Cell, RefCell};

/// What a thread was doing before a region, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    status: Status,
    phase: Option<(u16, u64)>,
    around: u16,
}

thread_local! {
    /// How often this thread has been registered.
    static REGISTRATIONS: Cell<u64> = const { Cell::new(0) };
}

/// A registered thread.
#[derive(Debug)]
pub(crate) struct Me {
    /// Tells this registration from others of the same thread.
    pub(crate) number: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) seat: usize,
    status: Cell<Status>,
    /// The phase it has gone into, unless that was outside of the region or of the phase it is in now: number and
    /// beginning.
    phase: Cell<Option<(u16, u64)>>,
    /// The phase around that, to which it returns: of a scope, or of what is around the region.
    around: Cell<u16>,
    /// When it came to hold what is in its book.
    held_since: [Cell<u64>; MOST_OWED],
    /// Bit n: entry n is a lock.
    locks: Cell<u32>,
    pushed: Cell<u64>,
    /// The regions it is in, the innermost last, and what it goes back to after each.
    regions: RefCell<Vec<(u16, Outer)>>,
}

impl Me {
    /// The calling thread, in a seat that it has just taken.
    pub(crate) fn new(shared: Arc<Shared>, seat: usize) -> Self {
        let now = shared.now();
        let pushed = shared.book(seat).recorder.written();
        shared.book(seat).came.store(now, Ordering::Relaxed);
        let number = REGISTRATIONS.replace(REGISTRATIONS.get() + 1);
        let me = Self {
            number,
            shared,
            seat,
            status: Cell::new(Status::running(now)),
            phase: Cell::new(None),
            around: Cell::new(NOWHERE),
            held_since: std::array::from_fn(|_| Cell::new(0)),
            locks: Cell::new(0),
            pushed: Cell::new(pushed),
            regions: RefCell::new(Vec::with_capacity(8)),
        };
        me.say(Status::running(now));
        me
    }

    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    pub(crate) fn site(&self, label: Label) -> u16 {
        self.shared.sites.number(label) as u16
    }

    fn say(&self, status: Status) {
        self.status.set(status);
        self.shared.book(self.seat).board.say(status);
    }

    fn push(&self, activity: Activity, site: u16, ended_by: u16, start: u64, now: u64) {
        let length = now.saturating_sub(start);
        if length >= self.shared.shortest {
            let number = self.pushed.get();
            self.pushed.set(number + 1);
            let event = Raw { activity, site, ended_by, start, length };
            self.shared.book(self.seat).recorder.push(number, event.pack());
        }
    }

    /// Begins to run tasks of a region.
    pub(crate) fn enter_region(&self, site: u16) {
        self.enter_region_at(site, self.now());
    }

    pub(crate) fn enter_region_at(&self, site: u16, now: u64) {
        let outer = self.outer();
        self.around.set(outer.status.phase);
        self.regions.borrow_mut().push((site, outer));
        self.say(Status { region: site, ..Status::running(now) }.within(outer.status));
    }

    /// Ends what [`Me::enter_region`] began last; returns its site.
    pub(crate) fn leave_region(&self, now: u64) -> Option<u16> {
        let (site, outer) = self.regions.borrow_mut().pop()?;
        // A phase entered inside and left open, by a panic, ends here.
        self.close_phase(now);
        let start = self.status.get().since;
        self.push(Activity::Compute, site, 0, start, now);
        self.shared.book(self.seat).sites[usize::from(site)].held.record(now.saturating_sub(start));
        self.back_to(outer);
        Some(site)
    }

    /// What it is doing, set aside for a region or a phase.
    fn outer(&self) -> Outer {
        Outer { status: self.status.get(), phase: self.phase.take(), around: self.around.get() }
    }

    fn back_to(&self, Outer { status, phase, around }: Outer) {
        self.phase.set(phase);
        self.around.set(around);
        self.say(status);
    }

    /// Begins a phase around others.
    pub(crate) fn begin_phase(&self, phase: u16) -> Outer {
        let outer = self.outer();
        self.around.set(phase);
        self.say(Status { phase, ..outer.status });
        outer
    }

    /// Ends what [`Me::begin_phase`] began at `start`.
    pub(crate) fn end_phase(&self, phase: u16, start: u64, outer: Outer) {
        let now = self.now();
        self.close_phase(now);
        self.was_in_phase(phase, start, now);
        self.back_to(outer);
    }

    /// Goes into a phase, out of the one it had gone into before.
    pub(crate) fn enter_phase(&self, label: Label) {
        let (now, phase) = (self.now(), self.site(label));
        self.close_phase(now);
        self.phase.set(Some((phase, now)));
        self.say(Status { phase, ..self.status.get() });
    }

    /// Goes out of the phase it had gone into, if any.
    pub(crate) fn leave_phase(&self) {
        if self.phase.get().is_some() {
            self.close_phase(self.now());
            self.say(Status { phase: self.around.get(), ..self.status.get() });
        }
    }

    fn close_phase(&self, now: u64) {
        if let Some((site, start)) = self.phase.take() {
            self.was_in_phase(site, start, now);
        }
    }

    fn was_in_phase(&self, site: u16, start: u64, now: u64) {
        self.push(Activity::Phase, site, 0, start, now);
        self.shared.book(self.seat).sites[usize::from(site)].held.record(now.saturating_sub(start));
    }

    /// Begins to wait or to rest; returns what it was doing.
    pub(crate) fn begin_wait(&self, kind: Kind, object: Id, awaited: u16, now: u64) -> Status {
        let before = self.status.get();
        if kind.is_lock() {
            self.asks_for(object.site());
        }
        // Who rests, waits for nobody, whatever it does that by.
        let rests = kind.is_rest() || before.doing == Doing::Resting;
        let doing = if rests { Doing::Resting } else { Doing::Waiting };
        self.say(Status { doing, awaited, object, since: now, ..before });
        before
    }

    /// Ends the wait or the rest, which somebody has ended.
    pub(crate) fn end_wait(&self, kind: Kind, ended_by: u16, before: Status, now: u64) {
        let Status { object, since, .. } = self.status.get();
        let (book, nanos) = (self.shared.book(self.seat), now.saturating_sub(since));
        let activity = if kind.is_rest() { Activity::Rest } else { Activity::Wait };
        // Within a rest it is part of that.
        let counts = before.doing != Doing::Resting;
        if counts {
            add(if kind.is_rest() { &book.rested } else { &book.waited }, nanos);
        }
        if counts && kind.is_owed() {
            let unknown = book.waited_for.len() - 1;
            let seat = usize::from(ended_by).checked_sub(1).filter(|&seat| seat < unknown);
            add(&book.waited_for[seat.unwrap_or(unknown)], nanos);
        }
        book.sites[usize::from(object.site())].waited.record(nanos);
        self.push(activity, object.site(), ended_by, since, now);
        self.say(before);
    }

    /// Notes the order in which locks are asked for.
    fn asks_for(&self, site: u16) {
        let (mut locks, book) = (self.locks.get(), self.shared.book(self.seat));
        while locks != 0 {
            let held = Id(book.owed[locks.trailing_zeros() as usize].load(Ordering::Relaxed));
            if held.0 != 0 {
                book.ordered(self.shared.sites.count(), held.site(), site);
            }
            locks &= locks - 1;
        }
    }

    /// Comes to owe something; returns the entry, if there was room for it.
    pub(crate) fn owe(&self, object: Id) -> Option<usize> {
        let book = self.shared.book(self.seat);
        let entry = book.owed.iter().position(|entry| entry.load(Ordering::Relaxed) == 0);
        match entry {
            Some(entry) => {
                book.owed[entry].store(object.0, Ordering::Relaxed);
                // What was there before may have been released by another thread.
                self.locks.set(self.locks.get() & !(1 << entry));
            }
            None => add(&book.owed_unknown, 1),
        }
        entry
    }

    /// Has done what it owed.
    pub(crate) fn pay(&self, entry: Option<usize>) {
        if let Some(entry) = entry {
            let entry = &self.shared.book(self.seat).owed[entry];
            self.touch(Id(entry.load(Ordering::Relaxed)));
            entry.store(0, Ordering::Relaxed);
        }
    }

    /// Notes what it was last at.
    pub(crate) fn touch(&self, object: Id) {
        self.shared.book(self.seat).last.store(object.0, Ordering::Relaxed);
    }

    /// Comes to hold something, of which the time counts and, if it is a lock, the order.
    pub(crate) fn hold(&self, kind: Kind, object: Id) -> Option<usize> {
        if kind.is_lock() {
            self.asks_for(object.site());
        }
        let entry = self.owe(object)?;
        if kind.is_lock() {
            self.locks.set(self.locks.get() | 1 << entry);
        }
        self.held_since[entry].set(self.now());
        Some(entry)
    }

    /// Releases what it held.
    pub(crate) fn release(&self, entry: usize) {
        let book = self.shared.book(self.seat);
        let (start, now) = (self.held_since[entry].get(), self.now());
        let site = Id(book.owed[entry].load(Ordering::Relaxed)).site();
        self.pay(Some(entry));
        self.locks.set(self.locks.get() & !(1 << entry));
        book.sites[usize::from(site)].held.record(now.saturating_sub(start));
        self.push(Activity::Hold, site, 0, start, now);
    }

    /// A word for entry `entry` of what this thread owes, by which whoever has the word can say that it is paid.
    pub(crate) fn debt(&self, entry: usize, timed: bool) -> u64 {
        self.shared.short_tag() << 32
            | (self.seat as u64) << 16
            | (entry as u64) << 8
            | u64::from(timed) << 1
            | 1
    }

    /// Says that a debt is paid: of this thread, or of another that has handed on what it stands for.
    pub(crate) fn pay_debt(&self, debt: u64) {
        let (seat, entry) = (usize::from((debt >> 16) as u16), usize::from((debt >> 8) as u8));
        if debt >> 32 != self.shared.short_tag() {
            // Of other instruments, which this thread knows nothing of.
            return;
        }
        match debt & 2 != 0 {
            _ if seat != self.seat => self.shared.book(seat).owed[entry].store(0, Ordering::Relaxed),
            true => self.release(entry),
            false => self.pay(Some(entry)),
        }
    }

    /// What a primitive remembers this thread by.
    pub(crate) fn mark(&self) -> u64 {
        self.shared.tag() | (self.seat as u64 + 1)
    }

    /// The seat, and one, of the thread that left this mark, or 0 if it is not of these instruments.
    pub(crate) fn seat_of(&self, mark: u64) -> u16 {
        if mark & !0xFFFF == self.shared.tag() { (mark & 0xFFFF) as u16 } else { 0 }
    }
}

impl Status {
    /// In the phase of what is around it.
    fn within(self, outer: Status) -> Self {
        Self { phase: outer.phase, ..self }
    }
}

impl Drop for Me {
    fn drop(&mut self) {
        let now = self.now();
        self.close_phase(now);
        let book = self.shared.book(self.seat);
        // What it still owes are leases that others have by now.
        add(&book.lived, now.saturating_sub(book.came.load(Ordering::Relaxed)));
        self.say(Status { doing: Doing::Ended, ..Status::running(now) });
        self.shared.seats.leave(self.seat);
    }
}

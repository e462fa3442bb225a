//! A team's regions: who computes, who waits for whom, who idles.

use super::{Object, Place, me, on};
use crate::instruments::me::Me;
use crate::instruments::site::Label;
use crate::instruments::status::Status;
use crate::kind::Kind;
use std::rc::Rc;

/// End of a team's object: the thread that opens regions.
const OPENER: usize = 0;
/// End of a team's object: the last thread that left one.
const LEAVER: usize = 1;

fn site(me: &Me, place: Place) -> u16 {
    me.site(Label { kind: Kind::Region, name: None, location: place.0 })
}

/// A region on its caller's thread. Two words that go about in registers, with nothing to drop, so that whoever is not
/// registered hardly notices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    place: Place,
    /// The calling thread is registered.
    seen: bool,
}

/// Begins a region on the calling thread; it ends with [`Region::close`] or [`Region::inline`].
#[inline]
#[must_use]
pub(crate) fn region(place: Place) -> Region {
    Region { place, seen: on() && begin(place) }
}

#[cold]
#[inline(never)]
fn begin(place: Place) -> bool {
    let Some(me) = me() else { return false };
    me.enter_region(site(&me, place));
    true
}

#[cold]
#[inline(never)]
fn open(team: &Object<2>) {
    if let Some(me) = me() {
        team.left_by(&me, OPENER);
    }
}

impl Region {
    /// Where it was opened.
    pub(crate) fn place(self) -> Place {
        self.place
    }

    /// Before the team's workers can see the region.
    #[inline]
    pub(crate) fn open(self, team: &Object<2>) {
        if self.seen {
            open(team);
        }
    }

    /// Runs `close`, in which the caller, done with its own tasks, waits for the workers.
    #[inline]
    pub(crate) fn close<T>(self, team: &Object<2>, close: impl FnOnce() -> T) -> T {
        if self.seen { close_seen(team, close) } else { close() }
    }

    /// The caller runs the tasks itself; the region ends when this is dropped.
    #[inline]
    #[must_use]
    pub(crate) fn inline(self) -> Inline {
        Inline { seen: self.seen }
    }
}

#[cold]
#[inline(never)]
fn close_seen<T>(team: &Object<2>, close: impl FnOnce() -> T) -> T {
    let waiting = wait(team);
    let closed = close();
    if let Some(Closing { me, before }) = waiting {
        me.end_wait(Kind::Region, team.at(&me, LEAVER), before, me.now());
    }
    closed
}

fn wait(team: &Object<2>) -> Option<Closing> {
    let me = me()?;
    let now = me.now();
    let site = me.leave_region(now)?;
    let before = me.begin_wait(Kind::Region, team.id_at(site), team.at(&me, LEAVER), now);
    Some(Closing { me, before })
}

/// A region without the workers.
#[derive(Debug)]
pub(crate) struct Inline {
    seen: bool,
}

impl Drop for Inline {
    #[inline]
    fn drop(&mut self) {
        if self.seen {
            end();
        }
    }
}

#[cold]
#[inline(never)]
fn end() {
    if let Some(me) = me() {
        me.leave_region(me.now());
    }
}

/// A caller that waits for the workers.
#[derive(Debug)]
struct Closing {
    me: Rc<Me>,
    before: Status,
}

/// A worker of a team, for as long as it serves.
#[derive(Debug)]
pub(crate) struct Server<'a>(Option<Serving<'a>>);

#[derive(Debug)]
struct Serving<'a> {
    me: Rc<Me>,
    team: &'a Object<2>,
    /// What it was doing before it became idle, while it is idle.
    idle: Option<Status>,
    /// What it owes while it serves a region.
    region: Option<Option<usize>>,
}

impl<'a> Server<'a> {
    /// The calling thread begins to serve; it is idle.
    pub(crate) fn new(team: &'a Object<2>) -> Self {
        Self(me().map(|me| {
            let now = me.now();
            let mut serving = Serving { me, team, idle: None, region: None };
            serving.idle_from(now);
            serving
        }))
    }

    /// It has entered a region.
    #[inline]
    pub(crate) fn enter(&mut self, place: Place) {
        if let Some(serving) = &mut self.0 {
            serving.enter(place);
        }
    }

    /// It is about to leave the region.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if let Some(serving) = &mut self.0 {
            serving.leave();
        }
    }
}

impl Serving<'_> {
    fn idle_from(&mut self, now: u64) {
        let opener = self.team.at(&self.me, OPENER);
        self.idle = Some(self.me.begin_wait(Kind::Team, self.team.id(&self.me), opener, now));
    }

    fn idle_until(&mut self, now: u64) {
        if let Some(before) = self.idle.take() {
            self.me.end_wait(Kind::Team, self.team.at(&self.me, OPENER), before, now);
        }
    }

    #[cold]
    fn enter(&mut self, place: Place) {
        let now = self.me.now();
        self.idle_until(now);
        let site = site(&self.me, place);
        self.me.enter_region_at(site, now);
        self.region = Some(self.me.owe(self.team.id_at(site)));
    }

    #[cold]
    fn leave(&mut self) {
        let now = self.me.now();
        if let Some(entry) = self.region.take() {
            self.me.pay(entry);
            self.me.leave_region(now);
            self.team.left_by(&self.me, LEAVER);
        }
        self.idle_from(now);
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.idle_until(self.me.now());
    }
}

//! A team's regions: who computes, who waits for whom, who idles.

use super::{Object, Place, me};
use crate::instruments::me::{Me, Outer};
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

/// A region on its caller's thread, from its opening to its end.
#[derive(Debug)]
pub(crate) struct Region {
    place: Place,
    caller: Option<Caller>,
}

#[derive(Debug)]
struct Caller {
    me: Rc<Me>,
    site: u16,
    /// `None` once the caller's own tasks are done.
    outer: Option<Outer>,
}

/// Begins a region on the calling thread.
#[inline]
#[must_use]
pub(crate) fn region(place: Place) -> Region {
    Region { place, caller: me().map(|me| Caller::begin(me, place)) }
}

impl Region {
    /// Where it was opened.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Before the team's workers can see the region.
    #[inline]
    pub(crate) fn open(&self, team: &Object<2>) {
        if let Some(caller) = &self.caller {
            team.left_by(&caller.me, OPENER);
        }
    }

    /// Runs `close`, in which the caller, done with its own tasks, waits for the workers.
    #[inline]
    pub(crate) fn close<T>(&mut self, team: &Object<2>, close: impl FnOnce() -> T) -> T {
        match &mut self.caller {
            None => close(),
            Some(caller) => caller.close(team, close),
        }
    }
}

impl Caller {
    #[cold]
    fn begin(me: Rc<Me>, place: Place) -> Self {
        let site = site(&me, place);
        let outer = Some(me.begin_region(site, me.now()));
        Self { me, site, outer }
    }

    #[cold]
    fn close<T>(&mut self, team: &Object<2>, close: impl FnOnce() -> T) -> T {
        let Self { me, site, outer } = self;
        let now = me.now();
        if let Some(outer) = outer.take() {
            me.end_region(*site, outer, now);
        }
        let before = me.begin_wait(Kind::Region, team.id_at(*site), team.at(me, LEAVER), now);
        let closed = close();
        me.end_wait(Kind::Region, team.at(me, LEAVER), before, me.now());
        closed
    }
}

impl Drop for Caller {
    #[cold]
    fn drop(&mut self) {
        // Inline, or unwinding: nobody was waited for.
        if let Some(outer) = self.outer.take() {
            self.me.end_region(self.site, outer, self.me.now());
        }
    }
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
    region: Option<(u16, Outer, Option<usize>)>,
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
        let outer = self.me.begin_region(site, now);
        self.region = Some((site, outer, self.me.owe(self.team.id_at(site))));
    }

    #[cold]
    fn leave(&mut self) {
        let now = self.me.now();
        if let Some((site, outer, entry)) = self.region.take() {
            self.me.pay(entry);
            self.me.end_region(site, outer, now);
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

//! The hooks of a build without instruments: nothing.
#![allow(dead_code, reason = "as many as there are hooks")]

use super::Kind;
use std::panic::Location;

/// A place in the source: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place;

impl Place {
    pub(crate) const fn here() -> Self {
        Self
    }
}

/// What a primitive carries for its hooks: nothing.
#[derive(Debug)]
pub(crate) struct Object<const ENDS: usize = 1>;

impl<const ENDS: usize> Object<ENDS> {
    pub(crate) const fn new(_: Kind) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn here(&self, _: usize) {}

    #[inline]
    #[must_use]
    pub(crate) fn wait(&self, _: usize) -> Wait {
        Wait
    }

    #[inline]
    #[must_use]
    pub(crate) fn hold(&self, _: usize) -> Held {
        Held
    }

    #[inline]
    #[must_use]
    pub(crate) fn lend(&self) -> Held {
        Held
    }

    #[inline]
    #[must_use]
    pub(crate) fn expect(&self) -> Held {
        Held
    }
}

/// A wait: nothing.
#[derive(Debug)]
pub(crate) struct Wait;

/// Something held: nothing.
#[derive(Debug)]
pub(crate) struct Held;

impl Held {
    #[inline]
    pub(crate) fn release(&mut self) {}
}

/// A region: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region;

/// A region without the workers: nothing.
#[derive(Debug)]
pub(crate) struct Inline;

#[inline]
#[must_use]
pub(crate) fn region(_: Place) -> Region {
    Region
}

impl Region {
    pub(crate) fn place(self) -> Place {
        Place
    }

    #[inline]
    pub(crate) fn open(self, _: &Object<2>) {}

    #[inline]
    pub(crate) fn close<T>(self, _: &Object<2>, close: impl FnOnce() -> T) -> T {
        close()
    }

    #[inline]
    #[must_use]
    pub(crate) fn inline(self) -> Inline {
        Inline
    }
}

/// A worker of a team: nothing.
#[derive(Debug)]
pub(crate) struct Server;

impl Server {
    pub(crate) fn new(_: &Object<2>) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn enter(&mut self, _: Place) {}

    #[inline]
    pub(crate) fn leave(&mut self) {}
}

/// What a thread to be started will be registered as: nothing.
#[derive(Debug)]
pub(crate) struct Heir;

/// A registered thread: nothing.
#[derive(Debug)]
pub(crate) struct Registered;

impl Heir {
    pub(crate) fn new(_: &str) -> Self {
        Self
    }

    pub(crate) fn enter(&self, _: &Object) -> Option<Registered> {
        None
    }
}

/// A phase of the calling thread: nothing.
#[derive(Debug)]
pub(crate) struct Phase;

#[inline]
pub(crate) fn phase(_: &'static str, _: &'static Location<'static>) -> Phase {
    Phase
}

#[inline]
pub(crate) fn enter_phase(_: &'static str, _: &'static Location<'static>) {}

#[inline]
pub(crate) fn leave_phase() {}

/// A wait for something outside: nothing.
#[derive(Debug)]
pub(crate) struct Rest;

#[inline]
pub(crate) fn rest(_: &'static str, _: &'static Location<'static>) -> Rest {
    Rest
}

//! The hooks of a build with instruments.

mod object;
mod region;
mod thread;

pub(crate) use object::{Held, Object};
pub(crate) use region::{Region, Server, region};
pub(crate) use thread::{Heir, Phase, Registered, Rest, enter, enter_phase, leave_phase, phase, rest};

use crate::instruments::me::Me;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;

thread_local! {
    /// Whether this thread is registered: all that others pay for.
    static ON: Cell<bool> = const { Cell::new(false) };
    static ME: RefCell<Option<Rc<Me>>> = const { RefCell::new(None) };
}

/// Whether the calling thread is registered: what every hook asks first, and where it ends for most. All that follows is
/// kept out of line, so that the code around a hook stays as it would be without.
#[inline]
fn on() -> bool {
    ON.get()
}

/// The calling thread, if it is registered.
#[cold]
fn me() -> Option<Rc<Me>> {
    if !on() {
        return None;
    }
    // Not there any more while the thread's own variables are dropped.
    ME.try_with(|me| me.borrow().clone()).ok().flatten()
}

/// Makes the calling thread another; returns what it was.
fn become_thread(me: Option<Rc<Me>>) -> Option<Rc<Me>> {
    ME.try_with(|slot| {
        ON.set(me.is_some());
        slot.replace(me)
    })
    .ok()
    .flatten()
}

/// A place in the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(&'static Location<'static>);

impl Place {
    #[track_caller]
    pub(crate) const fn here() -> Self {
        Self(Location::caller())
    }
}

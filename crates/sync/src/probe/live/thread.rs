//! Registering threads, by hand and by inheritance from the thread that starts them, and what they say of themselves.

use super::{Object, become_thread, me, on};
use crate::instruments::me::{Me, Outer};
use crate::instruments::place::Place;
use crate::instruments::seats::Role;
use crate::instruments::shared::Shared;
use crate::instruments::site::Label;
use crate::instruments::status::{Id, Status};
use crate::kind::Kind;
use crate::shim::Arc;
use std::panic::Location;
use std::rc::Rc;

/// Registers the calling thread until the result is dropped, on the same thread.
#[derive(Debug)]
pub(crate) struct Registered {
    me: Option<Rc<Me>>,
    before: Option<Rc<Me>>,
    /// Its end, which the thread owes those who wait for it.
    end: Option<usize>,
}

/// Takes a seat for the calling thread; without effect when there is none left.
pub(crate) fn enter(shared: &Arc<Shared>, role: &Role) -> Registered {
    let me = shared.take(role).map(|seat| Rc::new(Me::new(Arc::clone(shared), seat)));
    let before = me.clone().and_then(|me| become_thread(Some(me)));
    Registered { me, before, end: None }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(mine) = self.me.take() else { return };
        mine.pay(self.end);
        // Guards dropped out of order: the thread is what the last one made it.
        if me().is_some_and(|now| Rc::ptr_eq(&now, &mine)) {
            drop(become_thread(self.before.take()));
        }
    }
}

/// What a thread to be started will be registered as: nothing, when the calling thread is not registered itself.
#[derive(Debug)]
pub(crate) struct Heir(Option<(Arc<Shared>, Role)>);

impl Heir {
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        let at = Location::caller();
        Self(me().map(|me| {
            let spawned = Place { file: at.file(), line: at.line() };
            (Arc::clone(&me.shared), Role { name: name.to_owned(), spawned })
        }))
    }

    /// Registers the calling thread, which owes its end until the result is dropped.
    pub(crate) fn enter(&self, end: &Object) -> Option<Registered> {
        let (shared, role) = self.0.as_ref()?;
        let mut registered = enter(shared, role);
        if let Some(me) = &registered.me {
            end.left_by(me, 0);
            registered.end = me.owe(end.id(me));
        }
        Some(registered)
    }
}

/// A phase of the calling thread, around others, until the result is dropped. It does not own the registration, which
/// ends in its own time, also where this is leaked.
#[derive(Debug)]
pub(crate) struct Phase(Option<Begun>);

#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Number of the thread's registration.
    registration: u64,
    site: u16,
    start: u64,
    outer: Outer,
}

pub(crate) fn phase(name: &'static str, location: &'static Location<'static>) -> Phase {
    Phase(me().map(|me| {
        let site = me.site(Label { kind: Kind::Phase, name: Some(name), location });
        Begun { registration: me.number, site, start: me.now(), outer: me.begin_phase(site) }
    }))
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(Begun { registration, site, start, outer }) = self.0
            && let Some(me) = me().filter(|me| me.number == registration)
        {
            me.end_phase(site, start, outer);
        }
    }
}

/// The calling thread goes into a phase, out of the one it had gone into before.
#[inline]
pub(crate) fn enter_phase(name: &'static str, location: &'static Location<'static>) {
    if on()
        && let Some(me) = me()
    {
        me.enter_phase(Label { kind: Kind::Phase, name: Some(name), location });
    }
}

/// The calling thread goes out of the phase it had gone into.
#[inline]
pub(crate) fn leave_phase() {
    if on()
        && let Some(me) = me()
    {
        me.leave_phase();
    }
}

/// A wait of the calling thread for something outside of this crate, until the result is dropped.
#[derive(Debug)]
pub(crate) struct Rest(Option<(u64, Status)>);

pub(crate) fn rest(name: &'static str, location: &'static Location<'static>) -> Rest {
    Rest(me().map(|me| {
        let site = me.site(Label { kind: Kind::Outside, name: Some(name), location });
        (me.number, me.begin_wait(Kind::Outside, Id::new(0, site), 0, me.now()))
    }))
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some((registration, before)) = self.0
            && let Some(me) = me().filter(|me| me.number == registration)
        {
            me.end_wait(Kind::Outside, 0, before, me.now());
        }
    }
}

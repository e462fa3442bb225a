//! Buffers that are used again instead of allocated again.
#![expect(unsafe_code, reason = "places go back to the stack they came from")]

use crate::EventCount;
use crate::probe::{self, Kind};
use crate::shim::{Arc, in_order, keep};
use crate::stack::{Place, Stack};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// At most `capacity` buffers, lent out as leases that bring them back when dropped.
///
/// ```
/// use selvedge_sync::Pool;
///
/// let pool = Pool::new(1, || Vec::with_capacity(512));
/// let mut batch = pool.acquire();
/// batch.extend([1, 2, 3]);
/// assert!(pool.try_acquire().is_none());
/// drop(batch);
/// // The same buffer, with what was left in it: whoever takes it clears it.
/// assert_eq!(*pool.acquire(), [1, 2, 3]);
/// ```
///
/// A buffer is made when a lease is asked for and none is idle, so that a pool costs as many buffers as were ever needed
/// at once. After that, leases allocate nothing: taking one and dropping it is a compare-and-swap each on an idle pool,
/// and one addition.
///
/// A lease that is dropped by a panic that began after it does not return its buffer, which may be half-written: the
/// buffer is destroyed, and another made when it is needed. A lease that is forgotten keeps its place for ever.
///
/// Clones are the same pool.
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Idle buffers, and the places of those that have not been made.
    idle: Stack<T>,
    make: Box<dyn Fn() -> T + Send + Sync>,
    returned: EventCount,
}

impl<T> Pool<T> {
    /// A pool of at most `capacity` buffers, each made by `make`, on the thread that asks for the lease.
    ///
    /// # Panics
    ///
    /// When `capacity` is zero, or more than 2³² − 2.
    #[track_caller]
    pub fn new(capacity: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        assert!(capacity > 0, "a pool of no buffers");
        // Buffers are out for longer than a look, so that a wait for one sleeps at once.
        let returned = EventCount::of(Kind::Pool, Duration::ZERO);
        Self { shared: Arc::new(Shared { idle: Stack::new(capacity), make: Box::new(make), returned }) }
    }

    /// Most buffers there can be.
    pub fn capacity(&self) -> usize {
        self.shared.idle.capacity()
    }

    /// A lease, waiting for one to be returned while all are out.
    ///
    /// # Panics
    ///
    /// With whatever `make` panics with; the place it was for is not lost.
    pub fn acquire(&self) -> Lease<'_, T> {
        self.lease(self.shared.returned.wait(|| self.shared.hold()))
    }

    /// As [`Pool::acquire`], waiting for `timeout` at most; `None` when that has passed.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Lease<'_, T>> {
        self.shared.returned.wait_timeout(timeout, || self.shared.hold()).map(|held| self.lease(held))
    }

    /// A lease, if one is to be had at once. One that is being returned by another thread may be missed.
    pub fn try_acquire(&self) -> Option<Lease<'_, T>> {
        self.shared.hold().map(|held| self.lease(held))
    }

    fn lease(&self, held: Held<T>) -> Lease<'_, T> {
        Lease { held: Some(held), pool: self }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// A buffer with the place it goes back to.
struct Held<T> {
    value: T,
    place: Place,
    /// The lease was taken by a thread that was panicking already, as some drops do.
    panicking: bool,
    lent: probe::Held,
}

impl<T> Shared<T> {
    fn hold(&self) -> Option<Held<T>> {
        let panicking = std::thread::panicking();
        if let Some((place, value)) = self.idle.take_filled() {
            return Some(Held { value, place, panicking, lent: self.lent() });
        }
        let vacancy = Vacancy { shared: self, place: Some(self.idle.take_vacant()?) };
        let value = (self.make)();
        vacancy.taken().map(|place| Held { value, place, panicking, lent: self.lent() })
    }

    /// The calling thread has a buffer.
    fn lent(&self) -> probe::Held {
        self.returned.probe().lend()
    }

    fn give_back(&self, Held { value, place, panicking, mut lent }: Held<T>) {
        lent.release();
        if std::thread::panicking() && !panicking {
            let _vacancy = Vacancy { shared: self, place: Some(place) };
            drop(value);
            return;
        }
        in_order!(
            "pool_notify_early",
            // SAFETY: a lease is given back to the pool it is of, and the place was taken from that pool's stack.
            unsafe { self.idle.fill(place, value) },
            self.notify()
        );
    }

    fn notify(&self) {
        if keep!("pool_no_notify") {
            self.returned.notify_one();
        }
    }
}

/// A place without a buffer, which it gives back unless it has been taken.
struct Vacancy<'a, T> {
    shared: &'a Shared<T>,
    place: Option<Place>,
}

impl<T> Vacancy<'_, T> {
    fn taken(mut self) -> Option<Place> {
        self.place.take()
    }
}

impl<T> Drop for Vacancy<'_, T> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            // SAFETY: the place was taken from this pool's stack.
            unsafe { self.shared.idle.vacate(place) };
            self.shared.notify();
        }
    }
}

/// A buffer of a [`Pool`] for as long as the lease lives, which cannot leave the pool behind:
///
/// ```compile_fail
/// let escaped = {
///     let pool = selvedge_sync::Pool::new(1, || 0);
///     pool.acquire()
/// };
/// ```
#[must_use = "dropping the lease returns the buffer"]
pub struct Lease<'a, T> {
    held: Option<Held<T>>,
    pool: &'a Pool<T>,
}

/// A [`Lease`] that owns a share of its pool, to be sent to where the pool is not.
#[must_use = "dropping the lease returns the buffer"]
pub struct OwnedLease<T> {
    held: Option<Held<T>>,
    pool: Pool<T>,
}

impl<T> Lease<'_, T> {
    /// The same lease, independent of where the pool is.
    pub fn into_owned(mut self) -> OwnedLease<T> {
        OwnedLease { held: self.held.take(), pool: self.pool.clone() }
    }
}

const HELD: &str = "a lease holds its buffer until it is dropped";

macro_rules! lease {
    ($($lease:tt)*) => {
        impl<T> Deref for $($lease)* {
            type Target = T;

            fn deref(&self) -> &T {
                &self.held.as_ref().expect(HELD).value
            }
        }

        impl<T> DerefMut for $($lease)* {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.held.as_mut().expect(HELD).value
            }
        }

        impl<T> Drop for $($lease)* {
            fn drop(&mut self) {
                if let Some(held) = self.held.take() {
                    self.pool.shared.give_back(held);
                }
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $($lease)* {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

lease!(Lease<'_, T>);
lease!(OwnedLease<T>);

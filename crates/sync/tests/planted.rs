//! Faults on purpose: what a sanitizer must find, or its silence about the other tests says nothing.
//!
//! `cargo xtask race` builds this with `--cfg sanitizer="NAME"`, runs each fault in a process of its own, and expects
//! a report; its list of them is in `xtask/src/race/planted.rs`.
#![cfg(any(sanitizer = "thread", sanitizer = "address", sanitizer = "leak"))]
#![cfg_attr(not(sanitizer = "leak"), expect(unsafe_code, reason = "the faults"))]

#[cfg(sanitizer = "thread")]
mod races {
    use selvedge_sync::Team;
    use std::cell::UnsafeCell;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// A place that nobody guards.
    struct Plain(UnsafeCell<usize>);

    // SAFETY: none; the faults below are what this promise makes possible.
    unsafe impl Sync for Plain {}

    impl Plain {
        const fn new() -> Self {
            Self(UnsafeCell::new(0))
        }

        /// More than once: two accesses at the very same moment may miss each other in the detector's own books.
        fn bump(&self) {
            for _ in 0..1000 {
                // SAFETY: none, and that is the fault: another thread is at it too.
                unsafe { *std::hint::black_box(self.0.get()) += 1 };
            }
        }

        fn get(&self) -> usize {
            // SAFETY: as above.
            unsafe { *self.0.get() }
        }
    }

    /// Waits until so many have come, ordering nothing. Threads of a fault meet before and after it: what one has done
    /// long before the other begins may be ordered by the way threads come and go.
    fn meet(come: &AtomicUsize, count: usize) {
        come.fetch_add(1, Ordering::Relaxed);
        while come.load(Ordering::Relaxed) < count {
            look_again();
        }
    }

    /// By sleeping: a thread that spins fills the detector's memory of it, and a race with what has been forgotten is
    /// not reported.
    fn look_again() {
        thread::sleep(Duration::from_millis(1));
    }

    #[test]
    #[ignore = "a fault on purpose"]
    fn race_on_a_plain_counter() {
        let (plain, come) = (Plain::new(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    meet(&come, 2);
                    plain.bump();
                    meet(&come, 4);
                });
            }
        });
        std::hint::black_box(plain.get());
    }

    /// The flag orders nothing, however surely it is seen: an ordering that is too weak.
    #[test]
    #[ignore = "a fault on purpose"]
    fn race_by_a_relaxed_publication() {
        let (plain, ready, come) = (Plain::new(), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                plain.bump();
                ready.store(true, Ordering::Relaxed);
                meet(&come, 2);
            });
            while !ready.load(Ordering::Relaxed) {
                look_again();
            }
            std::hint::black_box(plain.get());
            meet(&come, 2);
        });
    }

    /// What a team orders, the beginning and the end of a region, does not hide what its tasks do to each other.
    #[test]
    #[ignore = "a fault on purpose"]
    fn race_between_tasks_of_a_region() {
        let (plain, come) = (Plain::new(), AtomicUsize::new(0));
        Team::new(2).unwrap().parallel(2, |_| {
            meet(&come, 2);
            plain.bump();
            meet(&come, 4);
        });
        std::hint::black_box(plain.get());
    }
}

#[cfg(sanitizer = "address")]
mod addresses {
    use std::hint::black_box;

    #[test]
    #[ignore = "a fault on purpose"]
    fn use_after_free() {
        let freed = black_box(Box::into_raw(Box::new([1u8; 64])));
        // SAFETY: it came from a box.
        drop(unsafe { Box::from_raw(freed) });
        // SAFETY: none, and that is the fault: the box is gone.
        black_box(unsafe { freed.cast::<u8>().add(3).read_volatile() });
    }

    #[test]
    #[ignore = "a fault on purpose"]
    fn heap_overflow() {
        let few = black_box(vec![1u8; 33]);
        // SAFETY: none, and that is the fault: one past the end.
        black_box(unsafe { few.as_ptr().add(33).read_volatile() });
    }
}

#[cfg(any(sanitizer = "address", sanitizer = "leak"))]
mod leaks {
    /// The length is part of the report that is looked for.
    #[test]
    #[ignore = "a fault on purpose"]
    fn a_vector() {
        std::mem::forget(std::hint::black_box(vec![1u8; 777]));
    }
}

//! The shim of the models: loom, which explores every schedule.

pub(crate) use super::once::OnceLock;
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::Ordering;
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread::{Builder, JoinHandle, current, yield_now};

/// Whether loads are to be seen by each other in this process: it runs one model.
static LOADS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Has the model of this process explore the order of loads too.
#[cfg(test)]
pub(crate) fn watch_loads() {
    LOADS.store(true, Ordering::Relaxed);
}

/// An atomic of loom's, with loads that see each other if the model asks for that.
///
/// Of the accesses to an atomic loom remembers the last alone, and looks for a race of the next with that. So a store
/// that comes after a load by its own thread never races, in loom's eyes, with the loads that other threads made before,
/// and that those might come after it is not explored: such a model can end after one schedule. Where the model asks
/// for it, each load first touches a word beside, in a way that loom takes for a conflict with the other loads; then
/// all orders are explored, at the price of more schedules.
macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            word: loom::sync::atomic::$name,
            looks: loom::sync::atomic::AtomicBool,
        }

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                let word = loom::sync::atomic::$name::new(value);
                Self { word, looks: loom::sync::atomic::AtomicBool::default() }
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                if LOADS.load(Ordering::Relaxed) {
                    self.looks.store(true, Ordering::Relaxed);
                }
                self.word.load(ordering)
            }
        }

        impl std::ops::Deref for $name {
            type Target = loom::sync::atomic::$name;

            fn deref(&self) -> &Self::Target {
                &self.word
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);

/// loom's, with std's syntax for an initial value that is constant.
macro_rules! of_each_thread {
    (static $name:ident: $of:ty = const { $init:expr };) => {
        loom::thread_local! { static $name: $of = $init; }
    };
}

pub(crate) use of_each_thread as thread_local;

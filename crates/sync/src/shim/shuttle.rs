//! The shim of the protocol tests: shuttle, which runs random schedules.

pub(crate) use super::cell::UnsafeCell;
pub(crate) use super::once::OnceLock;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use shuttle::thread::{Builder, JoinHandle, current, yield_now};
pub(crate) use shuttle::thread_local;

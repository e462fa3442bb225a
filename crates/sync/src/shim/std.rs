//! The shim of a normal build: std itself.

pub(crate) use super::cell::UnsafeCell;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::thread::{Builder, JoinHandle, current, yield_now};
pub(crate) use std::thread_local;

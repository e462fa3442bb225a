//! Locks with ranks: taken in ascending order of rank, or refused at once.
//!
//! Two threads that take two locks in different order wait for each other for ever, but only when they are unlucky, so
//! tests do not find it. Here every lock has a [`Rank`], and a thread that holds a lock may only take locks of higher
//! rank. No cycle of waits can then come about. The order is checked
//!
//! - **when the program runs**, at every lock, before it waits: whoever asks out of order panics on the first try, alone
//!   and under no load, with both places in the message;
//! - **when it is compiled**, for locks that are taken with a [`Key`].
//!
//! ```
//! use selvedge_sync::lock::{Key, Mutex, RwLock};
//!
//! selvedge_sync::lock_ranks! {
//!     /// The parameters.
//!     pub Params,
//!     /// The table of requests.
//!     pub Requests,
//! }
//!
//! let params: RwLock<Vec<f32>, Params> = RwLock::new(vec![0.5; 4]);
//! let requests: Mutex<Vec<usize>, Requests> = Mutex::new(vec![3]);
//!
//! // Checked when it runs.
//! let weights = params.read();
//! requests.lock().push(weights.len());
//! drop(weights);
//!
//! // Checked when it is compiled: `requests` before `params` would not.
//! let mut key = Key::new();
//! let (mut weights, mut key) = key.write(&params);
//! let (requests, _) = key.lock(&requests);
//! weights[requests[0]] = 1.0;
//! ```
//!
//! Two locks of one rank cannot be held at once either, which covers taking the same lock twice: a second read of one
//! [`RwLock`] under the first would wait for ever as soon as a writer queues in between (parking_lot#212, candle#3878).
//!
//! There is no poisoning. A guard that is dropped by a panic releases its lock, and whoever comes next finds the value as
//! it was at that moment: keep it whole between any two steps that may panic.
//!
//! To wait for a change of what a lock guards, use an [`EventCount`](crate::EventCount) whose attempt takes the lock; it
//! sleeps without it.
//!
//! ```
//! use selvedge_sync::{EventCount, OwnedThread, lock::Mutex};
//! use std::sync::Arc;
//!
//! selvedge_sync::lock_ranks! { Inbox }
//!
//! let shared = Arc::new((Mutex::<_, Inbox>::new(Vec::new()), EventCount::new()));
//! let theirs = Arc::clone(&shared);
//! let reader = OwnedThread::spawn("reader", move || theirs.1.wait(|| theirs.0.lock().pop()))?;
//! shared.0.lock().push("hello");
//! shared.1.notify_one();
//! assert_eq!(reader.join(), Ok("hello"));
//! # Ok::<(), selvedge_sync::SpawnError>(())
//! ```

mod held;
mod key;
mod mutex;
mod rank;
mod rwlock;

pub use key::Key;
pub use mutex::{Mutex, MutexGuard};
pub use rank::{Above, Ground, Rank};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

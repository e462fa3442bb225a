//! Cooperative cancellation, as a tree of tokens.

use crate::probe::{Kind, Object};
use crate::shim::{self, Arc, AtomicBool, Condvar, Mutex, keep, lock, wait_while_until, weaken};
use std::fmt;
use std::time::Duration;

/// How often a sleeper looks at the flags, for a signal handler can set one but not wake anybody.
#[cfg(not(any(loom, shuttle)))]
const POLL: Duration = Duration::from_millis(15);
#[cfg(any(loom, shuttle))]
const POLL: Duration = Duration::MAX;

/// A request to stop, shared by those who may make it and those who heed it.
///
/// ```
/// let run = selvedge_sync::CancelToken::new();
/// let step = run.child();
/// step.cancel();
/// assert!(step.is_cancelled() && !run.is_cancelled());
/// let next = run.child();
/// run.cancel();
/// assert!(next.is_cancelled());
/// ```
///
/// Clones are the same token. What a thread wrote before it cancelled is visible to whoever sees the cancellation.
#[derive(Clone)]
pub struct CancelToken {
    node: Arc<Node>,
}

struct Node {
    flag: std::sync::Arc<AtomicBool>,
    parent: Option<Arc<Node>>,
    /// Shared by the whole tree: cancelling is rare, and a token then needs no list of its children.
    bell: Arc<Bell>,
}

struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
    probe: Object,
}

impl CancelToken {
    /// A token without a parent, not cancelled.
    #[track_caller]
    pub fn new() -> Self {
        let (lock, rung, probe) = (Mutex::new(()), Condvar::new(), Object::new(Kind::Sleep));
        Self::over(None, Arc::new(Bell { lock, rung, probe }))
    }

    fn over(parent: Option<Arc<Node>>, bell: Arc<Bell>) -> Self {
        Self { node: Arc::new(Node { flag: std::sync::Arc::new(AtomicBool::new(false)), parent, bell }) }
    }

    /// A token that is cancelled with this one, and can be cancelled without it.
    pub fn child(&self) -> Self {
        Self::over(Some(Arc::clone(&self.node)), Arc::clone(&self.node.bell))
    }

    /// Cancels this token and those under it, for good, and wakes their sleepers.
    pub fn cancel(&self) {
        self.node.flag.store(true, weaken!("cancel_store_relaxed", Release));
        // A sleeper holds the lock from its look at the flags until it sleeps, so that the bell cannot ring between.
        if keep!("cancel_no_lock") {
            drop(lock(&self.node.bell.lock));
        }
        if keep!("cancel_no_notify") {
            self.node.bell.rung.notify_all();
        }
    }

    /// Whether this token, or one above it, has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        let mut node = Some(&self.node);
        while let Some(at) = node {
            if at.flag.load(weaken!("cancel_load_relaxed", Acquire)) {
                return true;
            }
            node = at.parent.as_ref();
        }
        false
    }

    /// Sleeps for `duration`, or until the token is cancelled; returns whether it is.
    ///
    /// [`CancelToken::cancel`] wakes the sleeper at once, a set [`CancelToken::flag`] within 20 ms.
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        let deadline = shim::deadline(duration);
        let bell = &self.node.bell;
        if self.is_cancelled() {
            return true;
        }
        let _wait = bell.probe.wait(0);
        let mut guard = lock(&bell.lock);
        loop {
            if self.is_cancelled() {
                return true;
            }
            let Some(left) = shim::remaining(deadline) else { return false };
            guard = wait_while_until(&bell.rung, guard, shim::deadline(left.min(POLL)), |()| {
                !self.is_cancelled()
            });
        }
    }

    /// The token's own flag, for a signal handler to set: a set flag counts as cancelled.
    #[cfg(not(any(loom, shuttle)))]
    pub fn flag(&self) -> std::sync::Arc<AtomicBool> {
        std::sync::Arc::clone(&self.node.flag)
    }

    /// Takes the token's own flag back, and says whether it was set: for a program that goes on after Ctrl-C has ended one
    /// piece of its work. Nobody else may be waiting for it.
    #[cfg(not(any(loom, shuttle)))]
    pub fn take_flag(&self) -> bool {
        self.node.flag.swap(false, shim::Ordering::AcqRel)
    }
}

impl Default for CancelToken {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

//! A thread that has an owner: joined when the owner goes, and gone from the system then.

use crate::error::{SpawnError, ThreadPanicked, discard, message};
use crate::latch::Latch;
use crate::probe::{Heir, Kind};
use crate::process;
use crate::shim::{self, Arc, Builder, JoinHandle, Mutex, current, keep, lock};
use crate::spin::{Spin, YIELDING};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// Where the thread leaves its result.
struct Desk<T> {
    outcome: Mutex<Option<Outcome<T>>>,
    #[cfg(target_os = "linux")]
    task: std::sync::OnceLock<std::path::PathBuf>,
}

/// A thread with a name, a result, and an owner whose drop joins it.
///
/// ```
/// let thread = selvedge_sync::OwnedThread::spawn("sum", || (1..=10).sum::<u32>())?;
/// assert_eq!(thread.join(), Ok(55));
/// # Ok::<(), selvedge_sync::SpawnError>(())
/// ```
///
/// After a join the thread is gone from the system too: on Linux it is no longer listed in `/proc/self/task`.
///
/// A thread that comes to own itself is not waited for: joining is an error there, and dropping lets it go. Neither
/// does a fork copy threads: in its child, joining reports the thread as lost and dropping waits for nothing.
pub struct OwnedThread<T> {
    name: String,
    /// `None` once joined.
    handle: Option<JoinHandle<()>>,
    desk: Arc<Desk<T>>,
    /// Opens when the outcome is on the desk.
    ended: Latch,
    owner: u32,
}

/// How a join with a deadline came out.
#[derive(Debug)]
#[must_use = "a thread still running is joined, without a deadline, when this is dropped"]
pub enum Joined<T> {
    /// The thread's result.
    Finished(T),
    /// The thread panicked.
    Panicked(ThreadPanicked),
    /// The deadline passed; here is the thread again.
    StillRunning(OwnedThread<T>),
}

impl<T> fmt::Debug for OwnedThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedThread").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> OwnedThread<T> {
    /// Starts a thread that runs `work`.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] when the system refuses, or when the name has a zero byte.
    #[track_caller]
    pub fn spawn(
        name: impl Into<String>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, SpawnError> {
        Self::start(name.into(), None, work)
    }

    /// The same with room for so many bytes of stack: for work that recurses as deep as an input says. Memory is taken as
    /// the stack grows.
    ///
    /// ```
    /// fn depth(of: &[u8]) -> usize {
    ///     if of.is_empty() { 0 } else { 1 + depth(&of[1..]) }
    /// }
    /// let thread = selvedge_sync::OwnedThread::spawn_with_stack("deep", 64 << 20, || depth(&[0; 100_000]))?;
    /// assert_eq!(thread.join(), Ok(100_000));
    /// # Ok::<(), selvedge_sync::SpawnError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SpawnError`] as of [`OwnedThread::spawn`].
    #[track_caller]
    pub fn spawn_with_stack(
        name: impl Into<String>,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, SpawnError> {
        Self::start(name.into(), Some(bytes), work)
    }

    #[track_caller]
    fn start(
        name: String,
        stack: Option<usize>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, SpawnError> {
        if name.contains('\0') {
            let source =
                std::io::Error::new(std::io::ErrorKind::InvalidInput, "a thread name with a zero byte");
            return Err(SpawnError { name, source });
        }
        let desk = Arc::new(Desk {
            outcome: Mutex::new(None),
            #[cfg(target_os = "linux")]
            task: std::sync::OnceLock::new(),
        });
        let theirs = Arc::clone(&desk);
        let (ended, mut tickets) = Latch::of(Kind::Thread, 1);
        let ticket = tickets.pop();
        let (heir, end) = (Heir::new(&name), ended.clone());
        let body = move || {
            #[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
            if let Ok(task) = std::fs::read_link("/proc/thread-self") {
                // Set once, by this thread alone.
                let _ = theirs.task.set(std::path::Path::new("/proc").join(task));
            }
            let outcome = {
                // Until just before its owner can see that it has ended.
                let _registered = heir.enter(end.probe());
                catch_unwind(AssertUnwindSafe(work))
            };
            *lock(&theirs.outcome) = Some(outcome);
            if keep!("thread_unannounced") {
                drop(ticket);
            } else {
                std::mem::forget(ticket);
            }
        };
        match sized(Builder::new().name(name.clone()), stack).spawn(body) {
            Ok(handle) => Ok(Self { name, handle: Some(handle), desk, ended, owner: process::id() }),
            Err(source) => Err(SpawnError { name, source }),
        }
    }
}

/// A builder of threads with so much stack.
#[cfg(not(any(loom, shuttle)))]
fn sized(builder: Builder, stack: Option<usize>) -> Builder {
    match stack {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    }
}

/// Threads of the model checkers have the stacks that those give them.
#[cfg(any(loom, shuttle))]
fn sized(builder: Builder, _: Option<usize>) -> Builder {
    builder
}

impl<T> OwnedThread<T> {
    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the thread has its result, or has panicked: a join would not wait for its work.
    pub fn is_finished(&self) -> bool {
        self.handle.is_none() || !self.is_here() || self.ended.is_open()
    }

    /// Waits for the thread and takes its result.
    ///
    /// # Errors
    ///
    /// [`ThreadPanicked`] with the message of the panic that ended it.
    pub fn join(mut self) -> Result<T, ThreadPanicked> {
        self.reap();
        self.take()
    }

    /// As [`OwnedThread::join`], waiting for `deadline` at most; on Linux for the destructors of its thread-local values
    /// too, elsewhere without a limit for those.
    pub fn join_deadline(self, deadline: Duration) -> Joined<T> {
        self.join_until(shim::deadline(deadline))
    }

    pub(crate) fn join_until(mut self, deadline: Option<Instant>) -> Joined<T> {
        if self.is_here() {
            let ended = self.ended.wait_until(deadline) && self.gone_by(deadline);
            if !ended {
                return Joined::StillRunning(self);
            }
        }
        self.reap();
        match self.take() {
            Ok(value) => Joined::Finished(value),
            Err(panicked) => Joined::Panicked(panicked),
        }
    }

    /// Gives up a thread that missed its deadline, without waiting for it, and returns its name.
    ///
    /// For a thread stuck in a system call that does not return, where waiting would hang whoever reports it. It goes
    /// on, owns what it touches, and frees that when it ends; nobody will know how it ended.
    pub fn abandon(mut self) -> String {
        match self.handle.take() {
            // Even detaching would touch the memory of a thread that is not there.
            Some(handle) if !self.is_here() => std::mem::forget(handle),
            handle => drop(handle),
        }
        std::mem::take(&mut self.name)
    }

    /// Whether the thread is of this process and not of the one it was forked from.
    fn is_here(&self) -> bool {
        self.owner == process::id()
    }

    fn take(&mut self) -> Result<T, ThreadPanicked> {
        // In a fork the lock may be held, for ever, by the thread that is not there.
        let outcome = if self.is_here() { lock(&self.desk.outcome).take() } else { None };
        let message = match outcome {
            Some(Ok(value)) => return Ok(value),
            Some(Err(payload)) => {
                let message = message(&*payload);
                discard(payload);
                message
            }
            None if self.is_here() => "not ended: a thread cannot wait for itself".to_owned(),
            None => format!("lost: it runs in process {}, and a fork copies no threads", self.owner),
        };
        Err(ThreadPanicked { name: self.name.clone(), message })
    }

    /// Whether the system has forgotten the thread, or does by the deadline: after its result there are still destructors
    /// of thread-local values, which may take any time.
    fn gone_by(&self, deadline: Option<Instant>) -> bool {
        #[cfg(target_os = "linux")]
        if deadline.is_some()
            && let Some(task) = self.desk.task.get()
        {
            let mut spin = Spin::new(YIELDING).yielding();
            while task.exists() {
                if shim::remaining(deadline).is_none() {
                    return false;
                }
                if !spin.again() {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        }
        true
    }

    /// Joins, and waits until the system has forgotten the thread.
    fn reap(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        if !self.is_here() {
            // Even detaching would touch the memory of a thread that is not there.
            std::mem::forget(handle);
            return;
        }
        if handle.thread().id() == current().id() {
            return;
        }
        let _wait = (!self.ended.is_open()).then(|| self.ended.probe().wait(0));
        // An error would be a panic outside `work`, and then there is no outcome either.
        let _ = handle.join();
        #[cfg(target_os = "linux")]
        if let Some(task) = self.desk.task.get() {
            wait_gone(task);
        }
    }
}

/// A join returns when the kernel clears the thread's id, just before it takes the thread off the list. The wait is
/// bounded, for the id may already be in use again.
#[cfg(target_os = "linux")]
fn wait_gone(task: &std::path::Path) {
    let until = Instant::now() + Duration::from_millis(200);
    while task.exists() && Instant::now() < until {
        std::thread::yield_now();
    }
}

impl<T> Drop for OwnedThread<T> {
    fn drop(&mut self) {
        self.reap();
    }
}

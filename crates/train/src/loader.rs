//! Batches read ahead by loader threads, in an order that no thread can change.
//!
//! Batch i is made by thread i mod P and travels in that thread's own bounded channel; the consumer takes from channel
//! i mod P. So the order needs no sequence numbers and no reorder buffer, a full channel holds its thread back, and a
//! batch depends on (file, seed, its first row) alone.
//!
//! Batches are filled into buffers of a pool, which the consumer's next call gives back: after the first few a run
//! allocates none.
//!
//! Each loader thread holds the only sender of its channel. When it dies, by panic or otherwise, the channel closes and
//! the consumer has an error at once; when it stalls, the consumer has an error after the deadline. Neither leaves a
//! thread behind.

#[cfg(test)]
mod tests;
mod thread;
mod validation;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_model::Rows;
use selvedge_sync::{CancelToken, Joined, OwnedLease, OwnedThread, Pool, Receiver, RecvError, bounded};

use crate::Error;
use crate::order::Order;
use crate::tokens::TokenFile;
pub use validation::ValidationRows;

/// Rows of token ids and what follows each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Place of the first row in the run's sequence of rows (training), or its window (validation).
    pub start_row: u64,
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub context: usize,
    /// `rows * context` input tokens, row-major.
    pub tokens: Vec<u32>,
    /// For each input token, the token that follows it, or [`IGNORE`](selvedge_model::tensor::cross_entropy::IGNORE).
    pub targets: Vec<u32>,
    /// For each input token the place in its row at which its document begins; empty where every row is one sequence.
    pub starts: Vec<u32>,
}

impl Batch {
    pub(crate) fn new(start_row: u64, rows: usize, context: usize) -> Self {
        let room = rows * context;
        let (tokens, targets) = (Vec::with_capacity(room), Vec::with_capacity(room));
        Self { start_row, rows, context, tokens, targets, starts: Vec::new() }
    }

    /// So many of its rows from row `first` on, as the model takes them.
    pub(crate) fn part(&self, first: usize, count: usize) -> Rows<'_> {
        let at = first * self.context..(first + count) * self.context;
        Rows {
            tokens: &self.tokens[at.clone()],
            targets: &self.targets[at.clone()],
            time: self.context,
            starts: self.starts.get(at).unwrap_or_default(),
            first: self.start_row + first as u64,
        }
    }

    /// Makes it a batch of no rows yet that begins at `start_row`.
    fn restart(&mut self, start_row: u64) {
        self.start_row = start_row;
        self.tokens.clear();
        self.targets.clear();
    }

    /// Appends the row of window `window`; `scratch` holds one token more than a row.
    fn push(&mut self, file: &TokenFile, window: u64, scratch: &mut [u32]) -> Result<(), Error> {
        let context = scratch.len() - 1;
        file.get_window(window * context as u64, scratch)?;
        self.tokens.extend_from_slice(&scratch[..context]);
        self.targets.extend_from_slice(&scratch[1..]);
        Ok(())
    }
}

/// A test's way into the loader threads: called with (thread, batch) before each batch is made. It may panic, sleep, or
/// wait on a cancel token; what it does must be an error or a delay for the consumer, never a wrong batch or a hang.
pub type Fault = Arc<dyn Fn(usize, u64) + Send + Sync>;

/// How to read a token file for training.
#[derive(Clone)]
pub struct LoaderConfig {
    /// Rows per batch, at least 1.
    pub rows: usize,
    /// Tokens per row, at least 1.
    pub context: usize,
    /// Seed of the sample order.
    pub seed: u64,
    /// Loader threads, at least 1. Changes when batches are ready, never which.
    pub threads: usize,
    /// Batches a thread may be ahead, at least 1.
    pub depth: usize,
    /// Row at which to begin, counted over all epochs from the first row of the run: 0, or what a checkpoint says.
    pub start_row: u64,
    /// Longest wait for a batch before a stall is reported, and then once more for the threads to end.
    pub deadline: Duration,
    /// For tests: what goes wrong, and where. `None` outside of them.
    pub fault: Option<Fault>,
}

impl LoaderConfig {
    /// Batches of `rows` rows of `context` tokens from the beginning, by one thread two batches ahead, with a deadline
    /// of a minute.
    #[must_use]
    pub fn new(rows: usize, context: usize, seed: u64) -> Self {
        let deadline = Duration::from_secs(60);
        Self { rows, context, seed, threads: 1, depth: 2, start_row: 0, deadline, fault: None }
    }

    fn check(&self) -> Result<(), Error> {
        // Far above any use, far below what would overflow or exhaust the system before anything is checked.
        const MOST: usize = 1 << 16;
        for (name, value) in [("loader threads", self.threads), ("loader depth", self.depth)] {
            if !(1..=MOST).contains(&value) {
                return Err(Error::setting(name, value, "from 1 to 65536"));
            }
        }
        if self.rows == 0 || self.rows.checked_mul(self.context).is_none_or(|n| n > 1 << 28) {
            return Err(Error::setting("batch", self.rows, "at least 1 row, and at most 2^28 tokens"));
        }
        if self.start_row > 1 << 62 {
            // From a checkpoint, so from outside: no row number may overflow later.
            return Err(Error::setting("data position", self.start_row, "at most 2^62 rows"));
        }
        Ok(())
    }
}

impl fmt::Debug for LoaderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderConfig")
            .field("rows", &self.rows)
            .field("context", &self.context)
            .field("seed", &self.seed)
            .field("threads", &self.threads)
            .field("depth", &self.depth)
            .field("start_row", &self.start_row)
            .field("deadline", &self.deadline)
            .field("fault", &self.fault.is_some())
            .finish()
    }
}

/// An endless sequence of training batches, epoch after epoch, read ahead by threads of its own.
///
/// Dropping it ends and joins its threads. Cancelling the token it was started with ends it too, at whatever batch the
/// threads are: a run that is to finish its step after Ctrl-C gives the loader a token that Ctrl-C does not cancel.
///
/// ```
/// use std::sync::Arc;
/// use selvedge_sync::CancelToken;
/// use selvedge_train::loader::{Loader, LoaderConfig};
/// use selvedge_train::tokens::{TokenFile, TokenWriter};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("train.tokens");
/// # let mut writer = TokenWriter::create(&path, 256, [0; 32])?;
/// # writer.push(&(0..100).collect::<Vec<u32>>(), 100)?;
/// # writer.finish()?;
/// let tokens = Arc::new(TokenFile::open(&path)?);
/// let mut loader = Loader::start(tokens, LoaderConfig::new(4, 8, 1), &CancelToken::new())?;
/// let batch = loader.next()?;
/// assert_eq!(batch.tokens.len(), 4 * 8);
/// assert_eq!(batch.targets[0], batch.tokens[1]);
/// assert_eq!(loader.row(), 4); // where the next batch begins: what a checkpoint keeps
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Loader {
    /// One per thread; emptied when the loader ends, which lets threads blocked on a full channel go.
    channels: Vec<Receiver<Result<OwnedLease<Batch>, Error>>>,
    /// What [`Loader::next`] has lent out.
    current: Option<OwnedLease<Batch>>,
    threads: Vec<Option<OwnedThread<()>>>,
    cancel: CancelToken,
    deadline: Duration,
    rows: u64,
    row: u64,
    /// Number of the next batch, counted from this loader's first.
    batch: u64,
}

impl Loader {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting of 0 or beyond reason, [`Error::ContextTooLong`] if the file holds no window of
    /// this context, [`Error::Spawn`] if the system has no thread left.
    pub fn start(tokens: Arc<TokenFile>, config: LoaderConfig, cancel: &CancelToken) -> Result<Self, Error> {
        config.check()?;
        let order = Order::new(config.seed, tokens.windows(config.context)?);
        let mut loader = Self {
            channels: Vec::with_capacity(config.threads),
            current: None,
            threads: Vec::with_capacity(config.threads),
            cancel: cancel.clone(),
            deadline: config.deadline,
            rows: config.rows as u64,
            row: config.start_row,
            batch: 0,
        };
        // Each thread makes one batch while its channel is full, and the consumer has one: nobody waits for a buffer.
        let buffers = config.threads * (config.depth + 1) + 1;
        let (rows, context) = (config.rows, config.context);
        let buffers = Pool::new(buffers, move || Batch::new(0, rows, context));
        let config = Arc::new(config);
        for index in 0..config.threads {
            let (sender, receiver) = bounded(config.depth);
            let maker = thread::Maker {
                index,
                tokens: Arc::clone(&tokens),
                order,
                buffers: buffers.clone(),
                config: Arc::clone(&config),
                cancel: loader.cancel.clone(),
            };
            // If this one cannot start, dropping `loader` ends those that did.
            let thread = OwnedThread::spawn(format!("loader-{index}"), move || maker.run(sender))?;
            loader.channels.push(receiver);
            loader.threads.push(Some(thread));
        }
        Ok(loader)
    }

    /// The row at which the next batch begins: the data position of a checkpoint taken now.
    #[must_use]
    pub fn row(&self) -> u64 {
        self.row
    }

    /// The next batch, until the one after it is asked for. Waits until it is there.
    ///
    /// # Errors
    /// Any error ends the loader and its threads:
    /// [`Error::LoaderDied`] at once if the thread whose turn it is has panicked, [`Error::LoaderStalled`] if it delivers
    /// nothing within the deadline, [`Error::Cancelled`] after a cancellation, [`Error::TokenId`] for a bad token;
    /// [`Error::LoaderEnded`] from then on.
    #[expect(clippy::should_implement_trait, reason = "an endless iterator of results that ends by an error")]
    pub fn next(&mut self) -> Result<&Batch, Error> {
        self.current = None;
        if self.channels.is_empty() {
            return Err(Error::LoaderEnded);
        }
        let index = (self.batch % self.channels.len() as u64) as usize;
        let outcome = match self.channels[index].recv_timeout(self.deadline) {
            Ok(Ok(batch)) => {
                self.batch += 1;
                self.row += self.rows;
                return Ok(self.current.insert(batch));
            }
            Ok(Err(error)) => error,
            Err(RecvError::TimedOut) => Error::LoaderStalled { thread: index, deadline: self.deadline },
            Err(RecvError::Closed) => self.post_mortem(index),
        };
        self.end();
        Err(outcome)
    }

    /// Why a channel closed.
    fn post_mortem(&mut self, index: usize) -> Error {
        let panicked = match self.threads[index].take().map(|t| t.join_deadline(self.deadline)) {
            Some(Joined::Panicked(panicked)) => Some(panicked.message),
            _ => None,
        };
        match panicked {
            // A panic is a defect and is said first, even when a cancellation comes with it.
            Some(message) => Error::LoaderDied { thread: index, message },
            None if self.cancel.is_cancelled() => Error::Cancelled,
            None => Error::LoaderDied { thread: index, message: String::from("ended early") },
        }
    }

    /// Closes the channels, which ends every thread at its next send, and joins them, all within one deadline.
    fn end(&mut self) {
        self.channels.clear();
        let until = Instant::now() + self.deadline;
        for thread in self.threads.drain(..).flatten() {
            let left = until.saturating_duration_since(Instant::now());
            if let Joined::StillRunning(thread) = thread.join_deadline(left) {
                // It sits in a system call that does not return (a dead network disk). It owns all it touches and ends
                // by itself when the call does; waiting for it would hang the run that is to report it.
                thread.abandon();
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.end();
    }
}

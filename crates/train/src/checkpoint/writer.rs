//! A thread that saves checkpoints while training goes on.

use std::time::Duration;

use selvedge_sync::{Joined, OwnedThread, Receiver, Sender, TrySendError, bounded, phase, resting};

use super::{Checkpoints, SaveRequest, Saved};
use crate::Error;

/// Results the writer may be ahead of its owner: one being saved, one waiting, one being handed over, one to spare. The
/// owner takes all there are at each call, so the writer never waits for room while the owner waits for the writer.
const RESULTS: usize = 4;

/// Saves checkpoints on a thread of its own, one at a time, in order.
///
/// One request may wait while one is being saved; a third waits in [`submit`](Self::submit): saves that take longer than
/// the steps between them slow the run down instead of filling the memory. Failures come back at the next call.
/// Dropping it waits for what was submitted and joins the thread; [`finish`](Self::finish) also says how it went.
#[derive(Debug)]
pub struct CheckpointWriter {
    /// `None` once no more will be submitted.
    requests: Option<Sender<Box<SaveRequest>>>,
    results: Receiver<Result<Saved, Error>>,
    thread: Option<OwnedThread<()>>,
    saved: Vec<Saved>,
    deadline: Duration,
}

impl CheckpointWriter {
    /// Starts the thread. `deadline` is the longest wait for it in any one call.
    ///
    /// # Errors
    /// [`Error::Spawn`].
    pub fn start(checkpoints: Checkpoints, deadline: Duration) -> Result<Self, Error> {
        let (requests, mut inbox) = bounded::<Box<SaveRequest>>(1);
        let (mut outbox, results) = bounded(RESULTS);
        let thread = OwnedThread::spawn("checkpoint", move || {
            let mut next = || {
                let _resting = resting("a checkpoint to save");
                inbox.recv()
            };
            while let Ok(request) = next() {
                let _phase = phase("save");
                if outbox.send(checkpoints.save(&request)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests: Some(requests), results, thread: Some(thread), saved: Vec::new(), deadline })
    }

    /// Hands a checkpoint over to be saved. Returns at once unless one is being saved and another waits.
    ///
    /// # Errors
    /// The error of an earlier save: the request is then not taken, and may be submitted again.
    /// [`Error::CheckpointStalled`] if there is no room within the deadline, [`Error::CheckpointWriterDied`] if the
    /// thread has panicked.
    pub fn submit(&mut self, request: SaveRequest) -> Result<(), Error> {
        self.collect()?;
        let request = Box::new(request);
        let sent = self.requests.as_mut().map(|requests| requests.send_timeout(request, self.deadline));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(Error::CheckpointStalled { deadline: self.deadline }),
            Some(Err(TrySendError::Closed(_))) | None => self.join().and_then(|()| {
                Err(Error::CheckpointWriterDied { message: String::from("it has already ended") })
            }),
        }
    }

    /// The checkpoints that are on the disk since the last call, in order.
    ///
    /// # Errors
    /// The error of a save that failed.
    pub fn saved(&mut self) -> Result<Vec<Saved>, Error> {
        self.collect()?;
        Ok(std::mem::take(&mut self.saved))
    }

    /// Waits until all that was submitted is on the disk, ends the thread, and returns what was saved since the last
    /// call of [`saved`](Self::saved).
    ///
    /// # Errors
    /// The first error of a save, [`Error::CheckpointStalled`] if it takes longer than the deadline, or
    /// [`Error::CheckpointWriterDied`].
    pub fn finish(mut self) -> Result<Vec<Saved>, Error> {
        // The thread first: it ends when it has done all, and all its results are then there.
        let joined = self.join();
        self.collect()?;
        joined?;
        Ok(std::mem::take(&mut self.saved))
    }

    /// Takes what results there are; stops at a failure, the later ones are there at the next call.
    fn collect(&mut self) -> Result<(), Error> {
        while let Ok(result) = self.results.try_recv() {
            self.saved.push(result?);
        }
        Ok(())
    }

    /// Lets the thread do what was submitted, and joins it.
    fn join(&mut self) -> Result<(), Error> {
        self.requests = None;
        match self.thread.take().map(|thread| thread.join_deadline(self.deadline)) {
            Some(Joined::Panicked(panicked)) => {
                Err(Error::CheckpointWriterDied { message: panicked.message })
            }
            Some(Joined::StillRunning(thread)) => {
                // It sits in a system call that does not return. It owns all it touches, and what it leaves is a
                // temporary folder, so it is left to end by itself rather than hang the run that reports it.
                thread.abandon();
                Err(Error::CheckpointStalled { deadline: self.deadline })
            }
            Some(Joined::Finished(())) | None => Ok(()),
        }
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        // Whoever wants to know how it went calls `finish`.
        let _ = self.join();
    }
}

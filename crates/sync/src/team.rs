//! Fork-join over a fixed set of threads, the caller's included.

pub(crate) mod crew;
pub(crate) mod gate;
mod relief;

use crate::error::{RegionError, ShutdownError, TeamError, discard, message};
use crate::parts::Parts;
use crate::probe::{self, Place, Region};
use crate::process;
use crate::shim::{self, Arc};
use crate::spin::{self, Pace};
use crate::thread::{Joined, OwnedThread};
use crew::{Crew, Panicked};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// A fixed set of threads, the caller's among them, that run the tasks of one parallel region at a time.
///
/// ```
/// let team = selvedge_sync::Team::new(2)?;
/// let mut squares = vec![0; 100];
/// team.parallel_parts(selvedge_sync::chunks(&mut squares, 10), |chunk, part| {
///     for (at, square) in part.iter_mut().enumerate() {
///         *square = (chunk * 10 + at).pow(2);
///     }
/// });
/// assert_eq!(squares[37], 37 * 37);
/// # Ok::<(), selvedge_sync::TeamError>(())
/// ```
///
/// Of a team with more threads than there are cores a region gets only as many as have a core, for the others would
/// take it from them. After each task that took five milliseconds or longer, and so may have waited for a disk, it gets
/// one more.
///
/// Tasks of one region must not wait for each other: those that wait may be more than the threads that were woken, and
/// then they wait for ever. Threads that must meet are [`OwnedThread`]s with a [`Barrier`](crate::Barrier). A lock or a
/// permit that another task holds may be waited for, since who holds it has begun, and goes on without the one who waits.
///
/// Which thread runs which task is left to chance; results are the same whatever the number of threads as long as
/// each task's result depends on its index alone.
///
/// Tasks run inline on the calling thread, in order, when there is at most one of them, when the team is of one, and
/// when a region of this team is already open, be it around this call or on another thread: nested use and shared use
/// cannot deadlock, and a thread that waits for its own region never runs a task of another.
///
/// Dropping the team joins its threads, and the system has forgotten them by then; nothing of a region is left to wait
/// for, see [its `Drop`](#impl-Drop-for-Team).
#[derive(Debug)]
pub struct Team {
    crew: Option<Arc<Crew>>,
    threads: Vec<OwnedThread<()>>,
    owner: u32,
}

impl Team {
    /// A team of `threads`, the caller's included: starts `threads - 1`, named `selvedge-1`, `selvedge-2`, …
    ///
    /// # Errors
    ///
    /// [`TeamError`] for no threads, for more than 65536, and when the system refuses to start one; those already
    /// started have been joined then.
    #[track_caller]
    pub fn new(threads: usize) -> Result<Self, TeamError> {
        Self::with_pace(threads, Pace::on(spin::cores()))
    }

    #[track_caller]
    pub(crate) fn with_pace(threads: usize, pace: Pace) -> Result<Self, TeamError> {
        let most = gate::MOST_WORKERS + 1;
        match threads {
            0 => return Err(TeamError::NoThreads),
            1 => return Ok(Self::solo()),
            asked if asked > most => return Err(TeamError::TooManyThreads { asked, most }),
            _ => {}
        }
        let crew = Arc::new(Crew::new(threads - 1, pace));
        let mut team = Self {
            crew: Some(Arc::clone(&crew)),
            threads: Vec::with_capacity(threads - 1),
            owner: process::id(),
        };
        for index in 1..threads {
            let crew = Arc::clone(&crew);
            let worker = OwnedThread::spawn(format!("selvedge-{index}"), move || crew.serve(index));
            // On an error the drop of `team` dismisses and joins those that started.
            team.threads.push(worker.map_err(TeamError::Spawn)?);
        }
        Ok(team)
    }

    /// A team of the caller alone; starts no thread.
    pub fn solo() -> Self {
        Self { crew: None, threads: Vec::new(), owner: process::id() }
    }

    /// Threads of the team, the caller's included.
    pub fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `task` once for every index below `tasks` and returns when all are done.
    ///
    /// What tasks wrote is visible to the caller afterwards. Allocates nothing. Tasks must not wait for each other, see
    /// [`Team`]: what a waiting one waits for may not begin before it ends.
    ///
    /// # Panics
    ///
    /// With the payload of the panic of a task (of the lowest index, when several panic), after every thread has left
    /// the region; tasks not begun by then are skipped and the team lives on. Also when the process is a fork of the
    /// one that built the team, see [`RegionError::Forked`].
    #[track_caller]
    pub fn parallel<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) {
        if let Err(error) = self.check_process() {
            panic!("{error}");
        }
        let mut region = probe::region(Place::here());
        match self.run(&mut region, tasks, &|_, index| task(index)) {
            None => (0..tasks).for_each(task),
            Some(Ok(())) => {}
            Some(Err(panicked)) => resume_unwind(panicked.payload),
        }
    }

    /// As [`Team::parallel`], with the panic of a task as an error. Neither may these tasks wait for each other.
    ///
    /// # Errors
    ///
    /// [`RegionError::TaskPanicked`] when a task panicked, [`RegionError::Forked`] when the process is a fork of the
    /// one that built the team.
    #[track_caller]
    pub fn try_parallel<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) -> Result<(), RegionError> {
        self.check_process()?;
        let mut region = probe::region(Place::here());
        let outcome = self.run(&mut region, tasks, &|_, index| task(index)).unwrap_or_else(|| {
            for index in 0..tasks {
                catch_unwind(AssertUnwindSafe(|| task(index)))
                    .map_err(|payload| Panicked { task: index, payload })?;
            }
            Ok(())
        });
        outcome.map_err(|Panicked { task, payload }| {
            let message = message(&*payload);
            discard(payload);
            RegionError::TaskPanicked { task, message }
        })
    }

    /// Hands every part of `parts` to `work`, with its index, each once. Works must not wait for each other, as the
    /// tasks of [`Team::parallel`].
    ///
    /// # Panics
    ///
    /// As [`Team::parallel`], and when the members of a tuple have different numbers of parts.
    #[track_caller]
    pub fn parallel_parts<P: Parts, F: Fn(usize, P::Part) + Sync>(&self, parts: P, work: F) {
        crate::parts::each(self, &parts, &work);
    }

    /// As [`Team::parallel_parts`], with the panic of a part's work as an error.
    ///
    /// # Errors
    ///
    /// As [`Team::try_parallel`].
    ///
    /// # Panics
    ///
    /// When the members of a tuple have different numbers of parts.
    #[track_caller]
    pub fn try_parallel_parts<P: Parts, F: Fn(usize, P::Part) + Sync>(
        &self,
        parts: P,
        work: F,
    ) -> Result<(), RegionError> {
        crate::parts::try_each(self, &parts, &work)
    }

    /// As [`Team::parallel_parts`], and lends each task one element of `scratch` that no other task uses meanwhile:
    /// each thread has its own. What an element holds when a task gets it is whatever the last one left.
    ///
    /// # Panics
    ///
    /// As [`Team::parallel_parts`], and when `scratch` has fewer elements than the team has threads.
    #[track_caller]
    pub fn parallel_parts_with<P, S, F>(&self, parts: P, scratch: &mut [S], work: F)
    where
        P: Parts,
        S: Send,
        F: Fn(usize, P::Part, &mut S) + Sync,
    {
        assert!(
            scratch.len() >= self.threads(),
            "{} scratches for {} threads",
            scratch.len(),
            self.threads()
        );
        if let Err(error) = self.check_process() {
            panic!("{error}");
        }
        let mut region = probe::region(Place::here());
        crate::parts::each_with(&parts, scratch, &work, |tasks, task| {
            match self.run(&mut region, tasks, task) {
                // Inline, the caller runs every task: it is participant 0.
                None => (0..tasks).for_each(|index| task(0, index)),
                Some(Ok(())) => {}
                Some(Err(panicked)) => resume_unwind(panicked.payload),
            }
        });
    }

    /// Tells the threads to stop and waits for them, for `deadline` at most.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] naming the threads that had not ended by then, which end by themselves later. Dropping the team
    /// instead waits until all have.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        self.dismiss();
        let until = shim::deadline(deadline);
        let mut running = Vec::new();
        for thread in self.threads.drain(..) {
            match thread.join_until(until) {
                Joined::Finished(()) => {}
                Joined::Panicked(panicked) => unreachable!("a worker catches every panic, yet {panicked}"),
                Joined::StillRunning(thread) => running.push(thread.abandon()),
            }
        }
        if running.is_empty() { Ok(()) } else { Err(ShutdownError { running, deadline }) }
    }

    fn dismiss(&self) {
        if let Some(crew) = &self.crew
            && self.check_process().is_ok()
        {
            crew.dismiss();
        }
    }

    /// The region on the crew, or `None` when the tasks are to run inline.
    fn run(&self, region: &mut Region, tasks: usize, task: &crew::Task<'_>) -> Option<Result<(), Panicked>> {
        if tasks <= 1 {
            return None;
        }
        self.crew.as_ref()?.run(region, tasks, task)
    }

    /// A team with threads works only in the process that has them.
    fn check_process(&self) -> Result<(), RegionError> {
        if self.crew.is_none() {
            return Ok(());
        }
        match process::id() {
            user if user != self.owner => Err(RegionError::Forked { owner: self.owner, user }),
            _ => Ok(()),
        }
    }
}

/// Joins the threads. The wait is short, whatever the tasks were: dropping a team takes owning it, so no region is open.
/// The workers are between regions, asleep or looking for the next one, and leave as soon as the system lets them run.
/// [`Team::shutdown`] sets a limit even so, and reports who is left.
impl Drop for Team {
    fn drop(&mut self) {
        self.dismiss();
        // The threads' own drop joins them.
        self.threads.clear();
    }
}

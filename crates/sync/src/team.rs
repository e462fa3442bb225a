//! Fork-join over a fixed set of threads, the caller's included.

mod claims;
pub(crate) mod crew;
pub(crate) mod gate;

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
/// Of a team with more threads than there are cores a region first gets only as many as have a core, for the others would
/// take it from them. When in five milliseconds fewer of its tasks are begun than threads are at them, so that one of them
/// has taken as long and may be waiting for something, it gets one more thread; in the end, if that goes on, all.
///
/// So tasks of one region may wait for each other as long as they are no more than the team has threads: each gets a
/// thread of its own, some five milliseconds apart. Where more of them wait than there are threads they wait for ever,
/// and where they run inline two are enough. Threads that meet often are better [`OwnedThread`]s with a
/// [`Barrier`](crate::Barrier). A lock or a permit that another task holds may always be waited for, since who holds it
/// has begun, and goes on without the one who waits.
///
/// Which thread runs which task is left to chance; results are the same whatever the number of threads as long as
/// each task's result depends on its index alone. Each thread that has a core works through neighbours, of two threads one
/// through the first half of the tasks and one through the second, and then takes what another has left. So in the next region
/// over the same data much of it is in its caches, and threads seldom write what others write.
///
/// Tasks run inline on the calling thread, in order, when there is at most one of them, when the team is of one, and
/// when a region of this team is already open, be it around this call or on another thread: nested use and shared use
/// cannot deadlock, and a thread that waits for its own region never runs a task of another.
///
/// Dropping the team joins its threads, and the system has forgotten them by then, or it gives up after five seconds, see
/// [its `Drop`](#impl-Drop-for-Team).
#[derive(Debug)]
pub struct Team {
    crew: Option<Arc<Crew>>,
    threads: Vec<OwnedThread<()>>,
    owner: u32,
    /// How long a drop waits for the threads.
    farewell: Duration,
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
            farewell: pace.farewell,
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
        Self { crew: None, threads: Vec::new(), owner: process::id(), farewell: Duration::ZERO }
    }

    /// Threads of the team, the caller's included.
    pub fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `task` once for every index below `tasks` and returns when all are done.
    ///
    /// What tasks wrote is visible to the caller afterwards. Allocates nothing. How far tasks may wait for each other: see
    /// [`Team`].
    ///
    /// # Panics
    ///
    /// With the payload of the panic of a task (of the lowest index, when several panic), after every thread has left
    /// the region; tasks not begun by then are skipped and the team lives on. Also when the process is a fork of the
    /// one that built the team, see [`RegionError::Forked`].
    #[inline]
    #[track_caller]
    pub fn parallel<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) {
        if let Err(error) = self.check_process() {
            panic!("{error}");
        }
        let region = probe::region(Place::here());
        match self.run(region, tasks, &|_, index| task(index)) {
            None => inline(region, tasks, task),
            Some(Ok(())) => {}
            Some(Err(panicked)) => resume_unwind(panicked.payload),
        }
    }

    /// As [`Team::parallel`], with the panic of a task as an error.
    ///
    /// # Errors
    ///
    /// [`RegionError::TaskPanicked`] when a task panicked, [`RegionError::Forked`] when the process is a fork of the
    /// one that built the team.
    #[track_caller]
    pub fn try_parallel<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) -> Result<(), RegionError> {
        self.check_process()?;
        let region = probe::region(Place::here());
        let outcome = self.run(region, tasks, &|_, index| task(index)).unwrap_or_else(|| {
            let _inline = region.inline();
            for index in 0..tasks {
                catch_unwind(AssertUnwindSafe(|| task(index)))
                    .map_err(|payload| Box::new(Panicked { task: index, payload }))?;
            }
            Ok(())
        });
        outcome.map_err(|panicked| {
            let Panicked { task, payload } = *panicked;
            let message = message(&*payload);
            discard(payload);
            RegionError::TaskPanicked { task, message }
        })
    }

    /// Hands every part of `parts` to `work`, with its index, each once.
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
        let place = Place::here();
        crate::parts::each_with(&parts, scratch, &work, |tasks, task| {
            // Not before: what is wrong with the parts is found by now.
            let region = probe::region(place);
            match self.run(region, tasks, task) {
                // Inline, the caller runs every task: it is participant 0.
                None => inline(region, tasks, |index| task(0, index)),
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
    /// instead waits for five seconds at most.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        let running = self.end(deadline);
        if running.is_empty() { Ok(()) } else { Err(ShutdownError { running, deadline }) }
    }

    /// Dismisses the threads and joins those that end within `deadline`; the names of the others.
    fn end(&mut self, deadline: Duration) -> Vec<String> {
        self.dismiss();
        if self.check_process().is_err() {
            // A fork has none of them, and their own drop knows that.
            self.threads.clear();
        }
        let until = shim::deadline(deadline);
        let ended = self.threads.drain(..).map(|thread| thread.join_until(until));
        ended
            .filter_map(|joined| match joined {
                Joined::Finished(()) => None,
                Joined::Panicked(panicked) => unreachable!("a worker catches every panic, yet {panicked}"),
                Joined::StillRunning(thread) => Some(thread.abandon()),
            })
            .collect()
    }

    fn dismiss(&self) {
        if let Some(crew) = &self.crew
            && self.check_process().is_ok()
        {
            crew.dismiss();
        }
    }

    /// The region on the crew, or `None` when the tasks are to run inline.
    #[inline]
    fn run(&self, region: Region, tasks: usize, task: &crew::Task<'_>) -> Option<Result<(), Box<Panicked>>> {
        if tasks <= 1 {
            return None;
        }
        self.crew.as_ref()?.run(region, tasks, task)
    }

    /// A team with threads works only in the process that has them.
    #[inline]
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

/// Runs the tasks on the calling thread, in order; what they throw passes. Out of line, so that a region with workers
/// finds room in its caller.
#[inline(never)]
fn inline(region: Region, tasks: usize, task: impl Fn(usize)) {
    let _inline = region.inline();
    (0..tasks).for_each(task);
}

/// Joins the threads, for five seconds at most; whoever has not ended by then is named on the error output and left to
/// end by itself.
///
/// As a rule that takes microseconds, whatever the tasks were: dropping a team takes owning it, so no region is open, and
/// the workers are between regions, asleep or looking for the next one. [`Team::shutdown`] sets another limit, and returns
/// who is left.
impl Drop for Team {
    #[expect(
        clippy::print_stderr,
        reason = "a drop has nobody else to tell, and a thread left behind is not to pass unseen"
    )]
    fn drop(&mut self) {
        let deadline = self.farewell;
        let running = self.end(deadline);
        if !running.is_empty() {
            eprintln!("warning: a team was dropped: {}", ShutdownError { running, deadline });
        }
    }
}

#[cfg(all(test, target_os = "linux", not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Barrier, Mutex};
    use std::time::Instant;

    /// Ends only when it is told to, after its thread has run all of its own code.
    struct Stuck {
        told: Receiver<()>,
        ended: Sender<()>,
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            // An error would be the test's own end.
            let _ = self.told.recv_timeout(Duration::from_secs(60));
            let _ = self.ended.send(());
        }
    }

    std::thread_local! {
        static STUCK: std::cell::OnceCell<Stuck> = const { std::cell::OnceCell::new() };
    }

    #[test]
    fn a_drop_gives_up_a_thread_that_does_not_end() {
        let pace = Pace { farewell: Duration::from_millis(50), ..Pace::on(2) };
        let team = Team::with_pace(2, pace).unwrap();
        let (tell, told) = channel();
        let (ended, end) = channel();
        let stuck = Mutex::new(Some(Stuck { told, ended }));
        let (here, met) = (std::thread::current().id(), Barrier::new(2));
        team.parallel(2, |_| {
            met.wait();
            if std::thread::current().id() != here {
                let stuck = stuck.lock().unwrap().take().unwrap();
                STUCK.with(|cell| assert!(cell.set(stuck).is_ok()));
            }
        });
        let began = Instant::now();
        drop(team);
        let took = began.elapsed();
        assert!((Duration::from_millis(50)..Duration::from_secs(20)).contains(&took), "{took:?}");
        tell.send(()).unwrap();
        end.recv_timeout(Duration::from_secs(20)).expect("the thread ends by itself");
    }
}

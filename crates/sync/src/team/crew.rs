//! Running a region: the job slot, the task counter and what panicked, around the [`Gate`].
//!
//! A crew knows nothing of how its workers' threads come to be; `Team` spawns them, the loom models spawn loom's.
#![expect(unsafe_code, reason = "a region lends its task to the workers for as long as the region is open")]

use super::claims::{Claims, Turn};
use super::gate::{Gate, Seen};
use crate::error::discard;
use crate::probe::{self, Kind, Object, Region};
use crate::shim::{AtomicBool, Line, Mutex, Ordering, UnsafeCell, in_order, keep, lock, weaken};
use crate::spin::Pace;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A task of a region, run with the participant it runs on (0 is the caller, each worker has its own number) and its
/// index.
pub(crate) type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The first task, by index, of those that panicked in a region, with its payload. Boxed, so that the outcome of a region
/// is returned in registers.
#[derive(Debug)]
pub(crate) struct Panicked {
    pub(crate) task: usize,
    pub(crate) payload: Box<dyn Any + Send>,
}

/// What the caller lends to the workers for one region.
#[derive(Clone, Copy, Debug)]
struct Job {
    task: *const Task<'static>,
    tasks: usize,
    place: probe::Place,
}

/// The shared half of a team.
#[derive(Debug)]
pub(crate) struct Crew {
    gate: Gate,
    claims: Claims,
    /// Somebody has a region open, or is about to.
    held: Line<AtomicBool>,
    job: Line<UnsafeCell<Job>>,
    panicked: Mutex<Option<Box<Panicked>>>,
    probe: Object<2>,
}

// SAFETY: `job` is the one field that is not `Sync`. It is written only by the thread that has set `held`, while the
// gate is closed with nobody active, and read only by workers between `Gate::enter` and `Gate::leave`; opening and
// closing the gate order the two. The pointer inside is dereferenced as a `&Task`, and `Task` is `Sync`.
unsafe impl Sync for Crew {}

// SAFETY: as above; moving a crew moves no borrow of anyone, for the pointer is not used while no region is open.
unsafe impl Send for Crew {}

impl Crew {
    /// A crew for `workers` threads beside the caller, who wait at this pace.
    #[track_caller]
    pub(crate) fn new(workers: usize, pace: Pace) -> Self {
        Self {
            gate: Gate::new(workers, pace),
            claims: Claims::new(pace.lanes.min(workers + 1)),
            held: Line(AtomicBool::new(false)),
            job: Line(UnsafeCell::new(Job { task: &|_, _| {}, tasks: 0, place: probe::Place::here() })),
            panicked: Mutex::new(None),
            probe: Object::new(Kind::Team),
        }
    }

    /// The whole life of worker `participant`, from 1 on: serves regions until the crew is dismissed.
    pub(crate) fn serve(&self, participant: usize) {
        let participant = if keep!("crew_participant_shared") { participant } else { 1 };
        let mut seen = Seen::default();
        let mut server = probe::Server::new(&self.probe);
        if self.gate.is_lookout(participant) {
            return self.look_out(participant, &mut seen, &mut server);
        }
        while self.gate.enter(&mut seen) {
            let leave = Some(Leave(&self.gate)).filter(|_| keep!("crew_leave_early"));
            // SAFETY: this worker has entered.
            let job = unsafe { self.job() };
            self.attend(participant, &mut seen, &mut server, job, leave);
        }
    }

    /// The life of the lookout, which looks at every region once a period and calls for help where it does not get on.
    fn look_out(&self, participant: usize, seen: &mut Seen, server: &mut probe::Server) {
        let (mut region, mut claimed) = (seen.generation(), 0);
        while self.gate.keep_watch(seen) {
            if !self.gate.look_in(seen) {
                continue;
            }
            let leave = Some(Leave(&self.gate));
            // SAFETY: the lookout has entered.
            let job = unsafe { self.job() };
            let (last, before) = (region, claimed);
            (region, claimed) = (seen.generation(), self.claims.count(job.tasks));
            // Fewer tasks begun than there are participants: one of them is in the task of a period ago.
            let stands = region == last && claimed - before < seen.participants();
            let left = job.tasks.saturating_sub(claimed);
            if stands && left > 0 && !self.gate.relieve(seen, left) {
                self.attend(participant, seen, server, job, leave);
            }
        }
    }

    /// What the caller has lent for the region that is open.
    ///
    /// # Safety
    ///
    /// Between `Gate::enter` or `Gate::look_in` and `Gate::leave` of the calling worker.
    unsafe fn job(&self) -> Job {
        // SAFETY: nobody writes the slot while the calling worker is in the region, as our caller guarantees.
        self.job.with(|job| unsafe { *job })
    }

    /// Works on a region this worker has entered, and leaves it.
    fn attend(
        &self,
        participant: usize,
        seen: &mut Seen,
        server: &mut probe::Server,
        job: Job,
        leave: Option<Leave<'_>>,
    ) {
        server.enter(job.place);
        // SAFETY: `run` of the caller who opened the region does not return before this worker has left, so what `task`
        // points to is alive and lent to us; the caller's own borrow of it is shared too.
        let task = unsafe { &*job.task };
        let mut turn = self.claims.turn(participant, job.tasks);
        let first = turn.next();
        match first {
            Some(_) if seen.has_sleepers() => {
                self.gate.call(seen, job.tasks.saturating_sub(self.claims.count(job.tasks)));
            }
            Some(_) => {}
            None => seen.late = true,
        }
        let panicked = self.work(participant, first, turn, task, job.tasks) && keep!("crew_panic_unmarked");
        server.leave();
        let mark = || {
            if panicked {
                self.gate.mark_panicked()
            }
        };
        in_order!("crew_panic_late", mark(), drop(leave));
    }

    /// Sends every worker out of [`Crew::serve`].
    pub(crate) fn dismiss(&self) {
        self.gate.shut();
    }

    /// Runs `task` for every index below `tasks`, with the workers' help, and returns when all of them are done.
    /// After a panic the tasks nobody has claimed are skipped.
    ///
    /// Returns `None`, having run nothing, while a region is open: the caller runs its tasks itself then.
    pub(crate) fn run(
        &self,
        region: Region,
        tasks: usize,
        task: &Task<'_>,
    ) -> Option<Result<(), Box<Panicked>>> {
        if !self.hold() {
            return None;
        }
        // SAFETY: only the lifetime changes. The pointer is used by workers inside this region alone, and the region
        // is closed, with every worker out of it, before this function returns: nothing between opening and closing
        // unwinds, for `work` catches what tasks throw.
        let task: &Task<'static> = unsafe { std::mem::transmute::<&Task<'_>, &Task<'static>>(task) };
        region.open(&self.probe);
        let turn = self.claims.begin(tasks);
        in_order!(
            "crew_publish_late",
            // SAFETY: `held` is ours, and the region before closed with nobody active.
            self.job.with_mut(|job| unsafe { *job = Job { task, tasks, place: region.place() } }),
            self.gate.open(tasks - 1)
        );
        let mine = self.work(0, Some(0), turn, task, tasks);
        let theirs = region.close(&self.probe, || self.gate.close());
        let panicked = if mine || theirs { lock(&self.panicked).take() } else { None };
        self.held.store(false, weaken!("crew_release_relaxed", Release));
        Some(panicked.map_or(Ok(()), Err))
    }

    /// Takes hold of the crew for one region, unless somebody has it.
    fn hold(&self) -> bool {
        if self.held.load(Ordering::Relaxed) {
            return !keep!("crew_hold_unchecked");
        }
        let ordering = weaken!("crew_hold_relaxed", Acquire);
        if keep!("crew_hold_torn") {
            self.held.compare_exchange(false, true, ordering, Ordering::Relaxed).is_ok()
        } else {
            self.held.store(true, Ordering::Relaxed);
            true
        }
    }

    /// Runs the first task and then those it claims, until none is left; returns whether one panicked here.
    fn work(
        &self,
        participant: usize,
        first: Option<usize>,
        mut turn: Turn<'_>,
        task: &Task<'_>,
        tasks: usize,
    ) -> bool {
        let current = Cell::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut next = first;
            while let Some(index) = next {
                current.set(index);
                task(participant, index);
                next = turn.next();
            }
        }));
        let Err(payload) = outcome else { return false };
        self.claims.end(tasks);
        let mine = Box::new(Panicked { task: current.get(), payload });
        let mut first = lock(&self.panicked);
        let loser = match first.take() {
            Some(other) if other.task < mine.task => {
                *first = Some(other);
                Some(mine)
            }
            other => {
                *first = Some(mine);
                other
            }
        };
        drop(first);
        if let Some(loser) = loser {
            discard(loser.payload);
        }
        true
    }
}

/// Leaves the region when dropped, so that no path out of a worker's turn forgets to.
struct Leave<'a>(&'a Gate);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

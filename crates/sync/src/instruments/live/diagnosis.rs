//! Why it hangs: who waits for what, who is missing, where that one was last, and the cycle if there is one.

use super::ledger;
use super::lock_order::cycles;
use super::shared::Shared;
use super::site::Site;
use crate::instruments::place::Place;
use crate::instruments::status::{self, Id, NOWHERE, Status};
use crate::shim::Ordering;
use std::fmt;
use std::time::Duration;

/// Threads that have waited for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// How long is too long.
    pub deadline: Duration,
    /// The threads, those that have waited longest first.
    pub stuck: Vec<Stuck>,
    /// Threads that wait for each other in a circle.
    pub cycles: Vec<Cycle>,
}

/// A thread that has waited for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Number of the thread, as in [`Report::threads`](super::Report::threads).
    pub thread: usize,
    /// Its name.
    pub name: String,
    /// Where it was spawned, or registered.
    pub spawned: Place,
    /// What it waits for.
    pub waits_for: Site,
    /// For how long.
    pub waited: Duration,
    /// Who is missing. Of nobody, no registered thread owes what it waits for: a wake-up was lost, or whoever owes it is
    /// not registered.
    pub missing: Vec<Missing>,
    /// If nobody is missing: the threads that were last there, of which one may have forgotten to wake this one.
    pub last_there: Vec<Missing>,
    /// What the thread has said so far, counted: the same number is the same wait.
    pub(super) beat: u64,
}

/// A thread that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Number of the thread.
    pub thread: usize,
    /// Its name.
    pub name: String,
    /// Where it was spawned, or registered.
    pub spawned: Place,
    /// What it is doing, and where.
    pub whereabouts: Whereabouts,
}

/// What a thread is doing, as it last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// What.
    pub doing: Doing,
    /// The region whose tasks it runs.
    pub region: Option<Site>,
    /// The phase it is in.
    pub phase: Option<&'static str>,
    /// Since when, or when it ended: how long ago.
    pub ago: Duration,
}

/// See [`Whereabouts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doing {
    /// Works.
    Running,
    /// Waits for another thread to do something there.
    Waiting(Site),
    /// Sleeps, or has nothing to do.
    Resting(Site),
    /// Has ended.
    Ended,
}

/// Threads of which each waits for the next, and the last for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Names of the threads, and what each waits for.
    pub links: Vec<(String, Site)>,
    /// Whether each holds what the one before waits for, so that none can go on. Otherwise one of them was only the last
    /// seen there, or is one of several who could help.
    pub certain: bool,
}

impl Whereabouts {
    pub(super) fn of(shared: &Shared, seat: usize, now: u64) -> Self {
        let Some((_, book)) = shared.seats.get(seat) else { return Self::running() };
        if shared.seats.has_left(seat) {
            let ago = book.board.look().map_or(now, |(_, status)| status.since);
            let ago = Duration::from_nanos(now.saturating_sub(ago));
            return Self { doing: Doing::Ended, region: None, phase: None, ago };
        }
        // Speaking just now: it works.
        book.board.look().map_or_else(Self::running, |(_, status)| Self::told(shared, status, now))
    }

    fn running() -> Self {
        Self { doing: Doing::Running, region: None, phase: None, ago: Duration::ZERO }
    }

    fn told(shared: &Shared, status: Status, now: u64) -> Self {
        let at = |number: u16| (number != NOWHERE).then(|| shared.sites.site(usize::from(number)));
        let object = || shared.sites.site(usize::from(status.object.site()));
        let doing = match status.doing {
            status::Doing::Running => Doing::Running,
            status::Doing::Waiting => Doing::Waiting(object()),
            status::Doing::Resting => Doing::Resting(object()),
            status::Doing::Ended => Doing::Ended,
        };
        let phase = at(status.phase).and_then(|site| site.name);
        let ago = Duration::from_nanos(now.saturating_sub(status.since));
        Self { doing, region: at(status.region), phase, ago }
    }
}

/// What one thread said and owed at one look.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    beat: u64,
    status: Status,
    owes: Vec<Id>,
}

impl Look {
    fn waits(&self) -> bool {
        self.status.doing == status::Doing::Waiting
    }
}

fn look(shared: &Shared, seats: usize) -> Vec<Option<Look>> {
    let look = |seat| {
        let (_, book) = shared.seats.get(seat)?;
        let (beat, status) = book.board.look()?;
        Some(Look { beat, status, owes: book.owes().collect() })
    };
    (0..seats).map(look).collect()
}

pub(super) fn diagnose(shared: &Shared, deadline: Duration) -> Option<Diagnosis> {
    let names = ledger::names(shared);
    let first = look(shared, names.len());
    let now = shared.now();
    let waited = |look: &Look| Duration::from_nanos(now.saturating_sub(look.status.since));
    let too_long = |look: &Look| look.waits() && waited(look) > deadline;
    if !first.iter().flatten().any(too_long) {
        return None;
    }
    let looks = look(shared, names.len());
    let held_still = |(a, b): (&Option<Look>, &Option<Look>)| a.is_some() && a == b;
    let still = first.iter().zip(&looks).map(held_still).collect();
    let scene = Scene { shared, names, now, looks, still };
    let waiting: Vec<(usize, &Look)> = scene.waiting().collect();
    let mut stuck: Vec<Stuck> = waiting
        .iter()
        .filter(|(_, look)| too_long(look))
        .map(|&(seat, look)| {
            let Awaited { missing, .. } = scene.awaited(look);
            let last_there = if missing.is_empty() { scene.last_there(look) } else { Vec::new() };
            Stuck {
                thread: seat,
                name: scene.names[seat].0.clone(),
                spawned: scene.names[seat].1,
                waits_for: scene.site(look),
                waited: waited(look),
                missing: missing.into_iter().map(|seat| scene.missing(seat)).collect(),
                last_there: last_there.into_iter().map(|seat| scene.missing(seat)).collect(),
                beat: look.beat,
            }
        })
        .collect();
    if stuck.is_empty() {
        return None;
    }
    stuck.sort_by_key(|stuck| std::cmp::Reverse(stuck.waited));
    let cycles = scene.cycles(&waiting, |seat| stuck.iter().any(|stuck| stuck.thread == seat));
    Some(Diagnosis { deadline, stuck, cycles })
}

/// All threads at two looks. Whoever said and owed the same at both did so at the moment between them: all at once.
struct Scene<'a> {
    shared: &'a Shared,
    names: Vec<(String, Place)>,
    now: u64,
    /// The second look.
    looks: Vec<Option<Look>>,
    /// Whether it was as the first.
    still: Vec<bool>,
}

/// Whom a thread waits for.
struct Awaited {
    missing: Vec<usize>,
    /// Whether it cannot go on before all of the missing have.
    certain: bool,
}

impl Scene<'_> {
    /// Threads that wait, and have not moved between the looks.
    fn waiting(&self) -> impl Iterator<Item = (usize, &Look)> {
        let still = self.looks.iter().zip(&self.still).enumerate().filter(|(_, (_, still))| **still);
        still.filter_map(|(seat, (look, _))| Some((seat, look.as_ref().filter(|look| look.waits())?)))
    }

    fn site(&self, look: &Look) -> Site {
        self.shared.sites.site(usize::from(look.status.object.site()))
    }

    fn missing(&self, seat: usize) -> Missing {
        let (name, spawned) = self.names[seat].clone();
        Missing { thread: seat, name, spawned, whereabouts: Whereabouts::of(self.shared, seat, self.now) }
    }

    fn awaited(&self, look: &Look) -> Awaited {
        let (object, kind) = (look.status.object, self.site(look).kind);
        let owes = |look: &Option<Look>| look.as_ref().is_some_and(|look| look.owes.contains(&object));
        let owing = self.looks.iter().enumerate().filter(|(_, look)| owes(look)).map(|(seat, _)| seat);
        let mut missing: Vec<usize> = owing.collect();
        let mut certain = missing.len() == 1 || !kind.any_ends();
        // At the other end of a channel there is a thread, which owes though it has not said so.
        if let Some(seat) = self.at_end(look).filter(|_| missing.is_empty() && kind.has_ends()) {
            missing.push(seat);
            certain = false;
        }
        Awaited { missing, certain }
    }

    /// The thread that was at the other end when the wait began.
    fn at_end(&self, look: &Look) -> Option<usize> {
        usize::from(look.status.awaited).checked_sub(1).filter(|seat| *seat < self.names.len())
    }

    /// Threads that were at what is waited for, and did nothing of the kind since.
    fn last_there(&self, look: &Look) -> Vec<usize> {
        let book = |seat| self.shared.seats.get(seat).map(|(_, book)| book);
        let last = |seat| book(seat).map(|book| Id(book.last.load(Ordering::Relaxed)));
        let mut there: Vec<usize> =
            (0..self.names.len()).filter(|&seat| last(seat) == Some(look.status.object)).collect();
        if there.is_empty() {
            there.extend(self.at_end(look));
        }
        there
    }

    fn cycles(&self, waiting: &[(usize, &Look)], stuck: impl Fn(usize) -> bool) -> Vec<Cycle> {
        let mut edges = Vec::new();
        let mut doubtful = Vec::new();
        for (seat, look) in waiting {
            let Awaited { missing, certain, .. } = self.awaited(look);
            edges.extend(missing.iter().map(|&other| (*seat, other)));
            if !certain {
                doubtful.push(*seat);
            }
        }
        let link = |seat: &usize| {
            let waits_for =
                waiting.iter().find(|(waits, _)| waits == seat).map(|(_, look)| self.site(look))?;
            Some((self.names[*seat].0.clone(), waits_for))
        };
        let cycle = |seats: Vec<usize>| Cycle {
            links: seats.iter().filter_map(link).collect(),
            certain: !seats.iter().any(|seat| doubtful.contains(seat)),
        };
        let found = cycles(&edges).into_iter();
        found.filter(|seats| seats.iter().any(|seat| stuck(*seat))).map(cycle).collect()
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { doing, region, phase, ago } = self;
        match doing {
            Doing::Running => write!(f, "running")?,
            Doing::Waiting(site) => write!(f, "waiting for {site}")?,
            Doing::Resting(site) => write!(f, "idle: {site}")?,
            Doing::Ended => return write!(f, "ended {ago:.1?} ago"),
        }
        if let Some(region) = region {
            write!(f, " in {region}")?;
        }
        if let Some(phase) = phase {
            write!(f, " in phase {phase:?}")?;
        }
        write!(f, " for {ago:.1?}")
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (spawned at {}), {}", self.name, self.spawned, self.whereabouts)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.certain { "deadlock: " } else { "possible deadlock: " })?;
        for (name, site) in &self.links {
            write!(f, "{name} waits for {site}, held by ")?;
        }
        write!(f, "{}", self.links.first().map_or("nobody", |(name, _)| name))
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stuck in &self.stuck {
            let Stuck { name, waits_for, waited, missing, last_there, .. } = stuck;
            writeln!(f, "{name} has waited {waited:.1?} for {waits_for}")?;
            for missing in missing {
                writeln!(f, "  missing: {missing}")?;
            }
            if missing.is_empty() {
                writeln!(f, "  nobody known owes it: a wake-up was lost, or a thread is not registered")?;
                for last in last_there {
                    writeln!(f, "  last there: {last}")?;
                }
            }
        }
        self.cycles.iter().try_for_each(|cycle| writeln!(f, "{cycle}"))
    }
}

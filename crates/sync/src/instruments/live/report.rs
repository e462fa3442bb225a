//! The figures of all threads together, as plain data and as text.

use super::book::Book;
use super::histogram::Histogram;
use super::ledger;
use super::lock_order::LockOrder;
use super::shared::Shared;
use super::site::Site;
use crate::instruments::place::Place;
use crate::instruments::status::Doing;
use crate::kind::Kind;
use crate::shim::{AtomicU64, Ordering};
use std::fmt;
use std::time::Duration;

/// What the instruments have seen. As text it is a few tables; with a precision, as in `{report:.10}`, of so many sites.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Age of the instruments.
    pub age: Duration,
    /// The threads, in the order in which they were first registered.
    pub threads: Vec<ThreadReport>,
    /// R: how long the thread of the row waited for the thread of the column, in seconds.
    ///
    /// A wait counts for the thread that ended it: for a lock, its holder when the wait began; for a region's end, the
    /// worker that left last; for the next region, the thread that opened it; for a channel, the thread at the other end.
    pub wait_matrix: Vec<Vec<f64>>,
    /// How long the thread of the row waited for threads that are not known, in seconds.
    pub waited_for_unknown: Vec<f64>,
    /// The places where threads waited, held and computed, those most waited at first.
    pub sites: Vec<SiteReport>,
    /// The order in which locks are taken.
    pub lock_order: LockOrder,
    /// What found no room.
    pub dropped: Dropped,
}

/// The figures of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadReport {
    /// Its name; of several threads of one name all but the first have a number.
    pub name: String,
    /// Where it was spawned, or registered.
    pub spawned: Place,
    /// Whether it has ended.
    pub ended: bool,
    /// How long it has been registered.
    pub lived: Duration,
    /// How long it waited for other threads.
    pub waited: Duration,
    /// How long it slept or had nothing to do.
    pub rested: Duration,
}

/// The figures of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteReport {
    /// The place.
    pub site: Site,
    /// Waits, or rests, there.
    pub waited: Histogram,
    /// Times it was held: a lock; tasks of a region; a phase.
    pub held: Histogram,
}

/// What found no room in the [`InstrumentSettings`](super::InstrumentSettings).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Threads not seen.
    pub threads: u64,
    /// Times that a site was counted among "all others".
    pub sites: u64,
    /// Times that a thread held more than could be written down.
    pub owed: u64,
}

/// The waits and rests of one thread, the present one included, in nanoseconds.
struct Tally {
    waits: Vec<u64>,
    waited: u64,
    rested: u64,
}

impl Tally {
    fn of(shared: &Shared, book: &Book, now: u64) -> Self {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let ended = || Self {
            waits: book.waited_for.iter().map(load).collect(),
            waited: load(&book.waited),
            rested: load(&book.rested),
        };
        // The present one counts if it was the same before and after the others were read.
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let Some((beat, status)) = book.board.look() else { continue };
            let mut tally = ended();
            if book.board.look().is_some_and(|(after, _)| after == beat) {
                let kind = shared.sites.site(usize::from(status.object.site())).kind;
                let owed = kind.is_owed() && (status.doing == Doing::Waiting || kind == Kind::Team);
                let nanos = now.saturating_sub(status.since);
                match status.doing {
                    Doing::Waiting => tally.waited += nanos,
                    Doing::Resting => tally.rested += nanos,
                    Doing::Running | Doing::Ended => return tally,
                }
                if owed {
                    let unknown = tally.waits.len() - 1;
                    let seat = usize::from(status.awaited).checked_sub(1).filter(|&seat| seat < unknown);
                    tally.waits[seat.unwrap_or(unknown)] += nanos;
                }
                return tally;
            }
        }
        ended()
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

impl Report {
    pub(super) fn of(shared: &Shared) -> Self {
        let now = shared.now();
        let names = ledger::names(shared);
        let count = names.len();
        let books: Vec<_> =
            (0..count).filter_map(|seat| shared.seats.get(seat)).map(|(_, book)| book).collect();
        let mut wait_matrix = vec![vec![0.0; count]; count];
        let mut waited_for_unknown = vec![0.0; count];
        let mut threads = Vec::with_capacity(count);
        let mut dropped = Dropped {
            threads: shared.refused.load(Ordering::Relaxed),
            sites: shared.sites.refused(),
            owed: 0,
        };
        for (seat, ((name, spawned), book)) in names.into_iter().zip(&books).enumerate() {
            let ended = shared.seats.has_left(seat);
            let Tally { waits, waited, rested } = Tally::of(shared, book, now);
            for (awaited, &nanos) in waits.iter().enumerate() {
                match wait_matrix[seat].get_mut(awaited) {
                    Some(cell) => *cell = seconds(nanos),
                    None => waited_for_unknown[seat] += seconds(nanos),
                }
            }
            let present = if ended { 0 } else { now.saturating_sub(book.came.load(Ordering::Relaxed)) };
            threads.push(ThreadReport {
                name,
                spawned,
                ended,
                lived: Duration::from_nanos(book.lived.load(Ordering::Relaxed) + present),
                waited: Duration::from_nanos(waited),
                rested: Duration::from_nanos(rested),
            });
            dropped.owed += book.owed_unknown.load(Ordering::Relaxed);
        }
        let mut sites: Vec<SiteReport> = Vec::new();
        let others = shared.sites.count();
        for number in (0..=others).filter(|&n| n == others || shared.sites.get(n).is_some()) {
            let site = shared.sites.site(number);
            // One line of the source may have several numbers.
            let at = sites.iter().position(|known| known.site == site).unwrap_or_else(|| {
                sites.push(SiteReport { site, waited: Histogram::default(), held: Histogram::default() });
                sites.len() - 1
            });
            for book in &books {
                sites[at].waited.merge(&book.sites[number].waited);
                sites[at].held.merge(&book.sites[number].held);
            }
        }
        sites.retain(|site| site.waited.count() + site.held.count() > 0);
        sites.sort_by_key(|site| std::cmp::Reverse((site.waited.total(), site.held.total())));
        let (age, lock_order) = (Duration::from_nanos(now), LockOrder::of(shared));
        Self { age, threads, wait_matrix, waited_for_unknown, sites, lock_order, dropped }
    }

    /// D = ½·Σᵢ Σⱼ |Rᵢⱼ| of the [wait matrix](Report::wait_matrix), in seconds: 0 when no thread ever waited for another.
    pub fn divergence(&self) -> f64 {
        0.5 * self.wait_matrix.iter().flatten().map(|cell| cell.abs()).sum::<f64>()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.threads.iter().map(|thread| thread.name.len()).max().unwrap_or(0).max(6);
        writeln!(f, "threads, in seconds")?;
        writeln!(
            f,
            "{:>3} {:wide$} {:>10} {:>10} {:>10} {:>10}",
            "", "name", "lived", "worked", "waited", "rested"
        )?;
        for (at, thread) in self.threads.iter().enumerate() {
            let [lived, waited, rested] =
                [thread.lived, thread.waited, thread.rested].map(|time| time.as_secs_f64());
            let worked = (lived - waited - rested).max(0.0);
            writeln!(
                f,
                "{at:>3} {:wide$} {lived:>10.3} {worked:>10.3} {waited:>10.3} {rested:>10.3}",
                thread.name
            )?;
        }
        writeln!(f, "\nwait matrix: seconds the thread of the row waited for the thread of the column")?;
        write!(f, "{:>3} {:wide$}", "", "")?;
        (0..self.threads.len()).try_for_each(|at| write!(f, " {at:>8}"))?;
        writeln!(f, " {:>8}", "unknown")?;
        for (at, thread) in self.threads.iter().enumerate() {
            write!(f, "{at:>3} {:wide$}", thread.name)?;
            let row = self.wait_matrix[at].iter().chain([&self.waited_for_unknown[at]]);
            for &cell in row {
                if cell == 0.0 { write!(f, " {:>8}", ".")? } else { write!(f, " {cell:>8.3}")? }
            }
            writeln!(f)?;
        }
        writeln!(f, "D = {:.3} s", self.divergence())?;
        writeln!(f, "\nsites")?;
        writeln!(
            f,
            "{:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "waits", "s", "p50 us", "p99 us", "holds", "s", "p50 us", "p99 us"
        )?;
        let shown = f.precision().unwrap_or(self.sites.len());
        for SiteReport { site, waited, held } in self.sites.iter().take(shown) {
            for times in [waited, held] {
                let micros = |share| times.quantile(share).as_secs_f64() * 1e6;
                let (count, total) = (times.count(), times.total().as_secs_f64());
                write!(f, "{count:>9} {total:>9.3} {:>9.1} {:>9.1} ", micros(0.5), micros(0.99))?;
            }
            writeln!(f, " {site}")?;
        }
        if shown < self.sites.len() {
            writeln!(f, "and {} more", self.sites.len() - shown)?;
        }
        if !self.lock_order.edges.is_empty() {
            write!(f, "\norder of locks\n{}", self.lock_order)?;
        }
        let Dropped { threads, sites, owed } = self.dropped;
        if threads + sites + owed > 0 {
            writeln!(
                f,
                "\nno room for: {threads} threads, {sites} times a site, {owed} times something held"
            )?;
        }
        Ok(())
    }
}

//! Which task of a region a participant takes next: those of its own lane from the front, then those that other lanes have
//! left, from their backs.
//!
//! A lane is a stretch of the tasks, and its word is in a line of its own. So each thread works through neighbours, gets in
//! one region much of what it had in the one before, whose results are in its own caches still, and takes its tasks without
//! a word that others write: fetching a line from another core costs from a tenth of a microsecond to most of one.

use crate::shim::{AtomicU64, Line, Ordering, keep};
use std::ops::Range;

/// The lanes: at most as many as there are participants with a core.
#[derive(Debug)]
pub(super) struct Claims(Box<[Lane]>);

/// Tasks taken from the front of a lane in the lower half, those taken from its back in the upper one.
///
/// Of more tasks than a half can count all are in the first lane and taken from the front, which the whole word counts then.
type Lane = Line<AtomicU64>;

const BACK_SHIFT: u32 = 32;
const BACK_ONE: u64 = 1 << BACK_SHIFT;
/// Most tasks that are shared among lanes: a power of two. The half that counts the front has room for these, as much again
/// after [`Claims::end`], and for the claims in vain, of which each participant makes one a lane.
const MOST: usize = 1 << 30;

/// Tasks that are taken, in vain ones included.
fn taken(word: u64, tasks: usize) -> (u64, u64) {
    if tasks <= MOST { (word % BACK_ONE, word >> BACK_SHIFT) } else { (word, 0) }
}

impl Claims {
    /// Of so many lanes.
    pub(super) fn new(lanes: usize) -> Self {
        Claims((0..lanes.max(1)).map(|_| Line(AtomicU64::new(0))).collect())
    }

    /// Begins a region, whose first task is the caller's.
    pub(super) fn begin(&self, tasks: usize) -> Turn<'_> {
        let (first, others) = self.0.split_first().expect("a lane");
        if keep!("crew_lanes_kept") {
            others.iter().for_each(|lane| lane.store(0, Ordering::Relaxed));
        }
        first.store(1, Ordering::Relaxed);
        self.turn(0, tasks)
    }

    /// What a participant takes in a region of so many tasks.
    pub(super) fn turn(&self, participant: usize, tasks: usize) -> Turn<'_> {
        let own = participant % self.lanes(tasks);
        Turn { claims: self, tasks, own, passed: 0, stretch: self.stretch(own, tasks) }
    }

    /// Leaves nothing to claim.
    pub(super) fn end(&self, tasks: usize) {
        for lane in &self.0[..self.lanes(tasks)] {
            if tasks <= MOST {
                lane.fetch_or(MOST as u64, Ordering::Relaxed);
            } else {
                lane.fetch_max(tasks as u64, Ordering::Relaxed);
            }
        }
    }

    /// Tasks claimed so far.
    pub(super) fn count(&self, tasks: usize) -> usize {
        let counts = (0..self.lanes(tasks)).map(|lane| {
            let (front, back) = taken(self.0[lane].load(Ordering::Relaxed), tasks);
            self.stretch(lane, tasks).len().min((front + back) as usize)
        });
        counts.sum()
    }

    /// Lanes that have any of so many tasks.
    fn lanes(&self, tasks: usize) -> usize {
        if tasks <= MOST { self.0.len().min(tasks).max(1) } else { 1 }
    }

    /// The tasks of a lane.
    fn stretch(&self, lane: usize, tasks: usize) -> Range<usize> {
        let lanes = self.lanes(tasks);
        if lanes == 1 { 0..tasks } else { tasks * lane / lanes..tasks * (lane + 1) / lanes }
    }

    /// One of the tasks of a lane, from its front or its back, and whether it was the last; `None` if somebody has that.
    fn take(
        &self,
        lane: usize,
        stretch: &Range<usize>,
        tasks: usize,
        from_back: bool,
    ) -> Option<(usize, bool)> {
        let word = &self.0[lane];
        let left = |word| {
            let (front, back) = taken(word, tasks);
            let others = (stretch.len() as u64).checked_sub(front + back)?.checked_sub(1)?;
            Some((front as usize, back as usize, others == 0))
        };
        // To look first leaves the line with its owner where nothing is left, as it is in most cases.
        if from_back {
            left(word.load(Ordering::Relaxed))?;
        }
        let one = if from_back { BACK_ONE } else { 1 };
        let word = if keep!("crew_claim_torn") {
            word.fetch_add(one, Ordering::Relaxed)
        } else {
            let before = word.load(Ordering::Relaxed);
            word.store(before + one, Ordering::Relaxed);
            before
        };
        let (front, back, is_last) = left(word)?;
        let from_back = from_back && keep!("crew_steal_front");
        Some((if from_back { stretch.end - 1 - back } else { stretch.start + front }, is_last))
    }
}

/// What one participant takes in one region.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    claims: &'a Claims,
    tasks: usize,
    /// Its own lane.
    own: usize,
    /// Lanes in which nothing is left, from its own on: no lane gets new tasks.
    passed: usize,
    /// The tasks of the lane after those.
    stretch: Range<usize>,
}

impl Turn<'_> {
    /// The next task; `None` if somebody has the last.
    pub(super) fn next(&mut self) -> Option<usize> {
        let lanes = self.claims.lanes(self.tasks);
        while self.passed < lanes {
            let (lane, from_back) = ((self.own + self.passed) % lanes, self.passed > 0);
            let task = self.claims.take(lane, &self.stretch, self.tasks, from_back);
            if task.is_none_or(|(_, is_last)| is_last) {
                self.passed += 1;
                self.stretch = self.claims.stretch((lane + 1) % lanes, self.tasks);
            }
            if let Some((task, _)) = task {
                return Some(task);
            }
        }
        None
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_task_is_claimed_once_in_whatever_order_participants_take_turns(
            lanes in 1usize..6, tasks in 1usize..40, order in prop::collection::vec(0usize..9, 0..80),
        ) {
            let claims = Claims::new(lanes);
            // What the last region has left.
            claims.begin(7);
            claims.end(7);
            let mut turns = vec![claims.begin(tasks)];
            turns.extend((1..9).map(|participant| claims.turn(participant, tasks)));
            let mut claimed = vec![0];
            for participant in order.into_iter().chain((0..9).flat_map(|participant| [participant; 40])) {
                prop_assert_eq!(claims.count(tasks), claimed.len());
                claimed.extend(turns[participant].next());
            }
            claimed.sort_unstable();
            prop_assert_eq!(claimed, (0..tasks).collect::<Vec<_>>());
        }
    }

    #[test]
    fn threads_go_through_halves_and_then_take_what_the_other_would_come_to_last() {
        let claims = Claims::new(2);
        let mut first = claims.begin(7);
        let mut second = claims.turn(1, 7);
        let taken = |turn: &mut Turn<'_>, count| (0..count).map_while(|_| turn.next()).collect::<Vec<_>>();
        assert_eq!(taken(&mut first, 2), [1, 2]);
        assert_eq!(taken(&mut second, 1), [3]);
        assert_eq!(taken(&mut first, 2), [6, 5]);
        assert_eq!(taken(&mut second, 9), [4]);
        assert_eq!(taken(&mut first, 9), []);
        // A third participant shares the first one's lane.
        claims.begin(7);
        assert_eq!(taken(&mut claims.turn(2, 7), 3), [1, 2, 6]);
    }

    #[test]
    fn nothing_is_left_after_the_end() {
        for (tasks, lanes) in
            [1, 2, MOST, MOST + 1, usize::MAX / 2].into_iter().flat_map(|tasks| [(tasks, 1), (tasks, 3)])
        {
            let claims = Claims::new(lanes);
            claims.begin(tasks);
            (0..2).for_each(|_| claims.end(tasks));
            let next = [0, 1, 2, 3].map(|participant| claims.turn(participant, tasks).next());
            assert_eq!(next, [None; 4], "{tasks}");
            assert_eq!(claims.count(tasks), tasks);
        }
    }

    #[test]
    fn an_end_after_the_last_tasks_does_not_reach_into_the_other_half() {
        for taken in [MOST - 1, MOST, MOST + 0xffff] {
            let claims = Claims::new(1);
            claims.0[0].store(taken as u64, Ordering::Relaxed);
            claims.end(MOST);
            for _ in 0..0xffff {
                assert_eq!(claims.turn(0, MOST).next(), None);
            }
            assert_eq!(claims.take(0, &(0..MOST), MOST, true), None, "{taken}");
            assert_eq!(claims.0[0].load(Ordering::Relaxed) >> BACK_SHIFT, 0, "{taken}");
        }
    }

    #[test]
    fn more_tasks_than_a_half_counts_are_claimed_from_the_front() {
        let claims = Claims::new(2);
        claims.begin(MOST + 1);
        assert_eq!(claims.turn(1, MOST + 1).next(), Some(1));
        claims.0[0].store(MOST as u64, Ordering::Relaxed);
        assert_eq!(claims.turn(1, MOST + 1).next(), Some(MOST));
        assert_eq!(claims.turn(0, MOST + 1).next(), None);
    }
}

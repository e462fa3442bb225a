//! Which task of a region a participant takes next: participants of even number take from the front of those that nobody
//! has, those of odd number from the back.
//!
//! So each of two threads works through neighbours, and gets in one region much of what it had in the one before: what it
//! wrote then is in its own caches still.

use crate::shim::{AtomicU64, Line, Ordering, keep};

/// Tasks taken from the front in the lower half of a word, those from the back in the upper one.
///
/// Of more tasks than a half can count all are taken from the front, which the whole word counts then.
#[derive(Debug)]
pub(super) struct Claims(Line<AtomicU64>);

/// A task somebody has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) index: usize,
    /// Tasks that nobody had claimed when this one was.
    pub(super) left: usize,
}

const BACK_SHIFT: u32 = 32;
const BACK_ONE: u64 = 1 << BACK_SHIFT;
/// Most tasks that are taken from both ends: a power of two. The half that counts the front has room for these, as much again
/// after [`Claims::end`], and for the claims in vain, of which each participant makes one.
const MOST: usize = 1 << 30;

/// Tasks taken from the front and from the back.
fn taken(word: u64, tasks: usize) -> (u64, u64) {
    if tasks <= MOST { (word % BACK_ONE, word >> BACK_SHIFT) } else { (word, 0) }
}

impl Claims {
    pub(super) fn new() -> Self {
        Claims(Line(AtomicU64::new(0)))
    }

    /// Begins a region, whose first task is the caller's.
    pub(super) fn begin(&self, tasks: usize) -> Claim {
        self.0.store(1, Ordering::Relaxed);
        Claim { index: 0, left: tasks - 1 }
    }

    /// The next task for a participant; `None` if somebody has the last.
    pub(super) fn claim(&self, participant: usize, tasks: usize) -> Option<Claim> {
        let from_back = participant % 2 == 1 && tasks <= MOST;
        let one = if from_back { BACK_ONE } else { 1 };
        let word = if keep!("crew_claim_torn") {
            self.0.fetch_add(one, Ordering::Relaxed)
        } else {
            let word = self.0.load(Ordering::Relaxed);
            self.0.store(word + one, Ordering::Relaxed);
            word
        };
        let (front, back) = taken(word, tasks);
        let left = (tasks as u64).checked_sub(front + back)?.checked_sub(1)? as usize;
        let index = if from_back { tasks - 1 - back as usize } else { front as usize };
        Some(Claim { index, left })
    }

    /// Leaves nothing to claim.
    pub(super) fn end(&self, tasks: usize) {
        if tasks <= MOST {
            self.0.fetch_or(MOST as u64, Ordering::Relaxed);
        } else {
            self.0.fetch_max(tasks as u64, Ordering::Relaxed);
        }
    }

    /// Tasks claimed so far, in vain ones included.
    pub(super) fn count(&self, tasks: usize) -> usize {
        let (front, back) = taken(self.0.load(Ordering::Relaxed), tasks);
        (front + back) as usize
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_claimed_once_from_both_ends_or_from_one() {
        for (tasks, participants) in [(5, [1, 2, 1, 3]), (5, [2, 2, 2, 2]), (5, [1, 1, 1, 1])] {
            let claims = Claims::new();
            let mut claimed = vec![claims.begin(tasks)];
            claimed.extend(participants.map(|participant| claims.claim(participant, tasks).unwrap()));
            assert_eq!(claimed.iter().map(|claim| claim.left).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
            let mut indices: Vec<_> = claimed.iter().map(|claim| claim.index).collect();
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2, 3, 4]);
            assert_eq!([1, 2].map(|participant| claims.claim(participant, tasks)), [None; 2]);
        }
        let claims = Claims::new();
        claims.begin(5);
        assert_eq!([1, 2, 3].map(|participant| claims.claim(participant, 5).unwrap().index), [4, 1, 3]);
    }

    #[test]
    fn nothing_is_left_after_the_end() {
        for tasks in [1, 2, MOST, MOST + 1, usize::MAX / 2] {
            let claims = Claims::new();
            claims.begin(tasks);
            (0..2).for_each(|_| claims.end(tasks));
            assert_eq!(
                [0, 1, 2, 3].map(|participant| claims.claim(participant, tasks)),
                [None; 4],
                "{tasks}"
            );
            assert!(claims.count(tasks) >= tasks);
        }
    }

    #[test]
    fn an_end_after_the_last_tasks_does_not_reach_into_the_other_half() {
        for taken in [MOST - 1, MOST, MOST + 0xffff] {
            let claims = Claims::new();
            claims.0.store(taken as u64, Ordering::Relaxed);
            claims.end(MOST);
            for _ in 0..0xffff {
                assert_eq!(claims.claim(0, MOST), None);
            }
            assert_eq!(claims.claim(1, MOST), None, "{taken}");
        }
    }

    #[test]
    fn more_tasks_than_a_half_counts_are_claimed_from_the_front() {
        let claims = Claims::new();
        claims.begin(MOST + 1);
        assert_eq!(claims.claim(1, MOST + 1), Some(Claim { index: 1, left: MOST - 1 }));
        claims.0.store(MOST as u64, Ordering::Relaxed);
        assert_eq!(claims.claim(1, MOST + 1), Some(Claim { index: MOST, left: 0 }));
        assert_eq!(claims.claim(0, MOST + 1), None);
    }
}

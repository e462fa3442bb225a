//! A list in order of a key, of which only as much is sorted as somebody looks at.

use std::cmp::Ordering;

/// How many are sorted at first, and by which factor more each time.
const FIRST: usize = 64;
const GROWTH: usize = 8;

/// A token, where it ranks, and what it weighs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Smaller comes first; of equals, the lower id.
    pub(super) key: f64,
    pub(super) id: u32,
    pub(super) weight: f64,
}

/// The order of ranks.
pub(super) fn compare(a: (f64, u32), b: (f64, u32)) -> Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

fn by_rank(a: &Entry, b: &Entry) -> Ordering {
    compare((a.key, a.id), (b.key, b.id))
}

/// Entries of which the first `sorted` are in their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    entries: Vec<Entry>,
    sorted: usize,
}

impl Ranking {
    /// Starts anew with these entries, in the memory there is.
    pub(super) fn fill(&mut self, entries: impl Iterator<Item = Entry>) {
        self.entries.clear();
        self.entries.extend(entries);
        self.sorted = 0;
    }

    /// The entry of this rank, found without sorting those before it. `rank` is below their number.
    pub(super) fn select(&mut self, rank: usize) -> Entry {
        self.sorted = 0;
        *self.entries.select_nth_unstable_by(rank, by_rank).1
    }

    /// The entry of this rank, if there are so many. To ask for one rank after the other costs O(N) for the first few,
    /// and O(N log N) for all.
    pub(super) fn get(&mut self, rank: usize) -> Option<Entry> {
        while rank >= self.sorted && self.sorted < self.entries.len() {
            let more = FIRST.max(self.sorted.saturating_mul(GROWTH - 1));
            let rest = &mut self.entries[self.sorted..];
            let more = more.min(rest.len());
            if more < rest.len() {
                rest.select_nth_unstable_by(more - 1, by_rank);
            }
            rest[..more].sort_unstable_by(by_rank);
            self.sorted += more;
        }
        self.entries.get(rank).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ranks_are_those_of_a_sort(keys in prop::collection::vec(-20_i32..20, 1..1500), rank in any::<prop::sample::Index>()) {
            let entries = |(id, &key): (u32, &i32)| Entry { key: f64::from(key), id, weight: 0.0 };
            let mut want: Vec<(i32, u32)> = keys.iter().copied().zip(0..).collect();
            want.sort_unstable();
            let mut ranking = Ranking::default();
            for _ in 0..2 {
                ranking.fill((0..).zip(&keys).map(entries));
                let rank = rank.index(keys.len());
                prop_assert_eq!(ranking.select(rank).id, want[rank].1);
                for (rank, &(_, id)) in want.iter().enumerate() {
                    prop_assert_eq!(ranking.get(rank).unwrap().id, id);
                }
                prop_assert!(ranking.get(keys.len()).is_none());
            }
        }
    }
}

//! The order in which locks are taken while others are held, and its cycles: deadlocks that have not happened yet.

use super::shared::Shared;
use super::site::Site;
use std::fmt;

/// Which locks were asked for while others were held, by the places where the locks were built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockOrder {
    /// Pairs: the second was asked for while the first was held.
    pub edges: Vec<(Site, Site)>,
    /// Sites that are each asked for while the one before is held, the first while the last is: threads that come upon
    /// them at the same time can deadlock. Of one site: locks built there are nested in one another.
    pub cycles: Vec<Vec<Site>>,
}

impl LockOrder {
    pub(super) fn of(shared: &Shared) -> Self {
        let sites = shared.sites.count();
        let known: Vec<(usize, Site)> = (0..sites)
            .filter_map(|number| Some((number, shared.sites.get(number)?)))
            .filter(|(_, site)| site.kind.is_lock())
            .collect();
        let books: Vec<_> = (0..shared.seats.count())
            .filter_map(|seat| shared.seats.get(seat))
            .map(|(_, book)| book)
            .collect();
        let mut edges = Vec::new();
        for &(first, first_site) in &known {
            for &(then, then_site) in &known {
                if books.iter().any(|book| book.is_ordered(sites, first, then)) {
                    edges.push((first_site, then_site));
                }
            }
        }
        // One line of the source may have several numbers.
        edges.sort();
        edges.dedup();
        let cycles = cycles(&edges);
        Self { edges, cycles }
    }
}

/// For every edge that is part of a cycle, a shortest cycle through it; each cycle once, from its least member.
pub(super) fn cycles<T: Copy + Ord>(edges: &[(T, T)]) -> Vec<Vec<T>> {
    let mut cycles: Vec<Vec<T>> =
        edges.iter().filter_map(|&(from, to)| path(edges, to, from)).map(rotated).collect();
    cycles.sort();
    cycles.dedup();
    cycles
}

/// A shortest path, both ends included.
fn path<T: Copy + Ord>(edges: &[(T, T)], from: T, to: T) -> Option<Vec<T>> {
    let mut came: Vec<(T, Option<usize>)> = vec![(from, None)];
    let mut at = 0;
    while at < came.len() {
        let (here, _) = came[at];
        if here == to {
            let mut back = Some(at);
            let mut path: Vec<T> = std::iter::from_fn(|| {
                let (node, before) = came[back?];
                back = before;
                Some(node)
            })
            .collect();
            path.reverse();
            return Some(path);
        }
        for &(_, next) in edges.iter().filter(|edge| edge.0 == here) {
            if came.iter().all(|(seen, _)| *seen != next) {
                came.push((next, Some(at)));
            }
        }
        at += 1;
    }
    None
}

fn rotated<T: Copy + Ord>(mut cycle: Vec<T>) -> Vec<T> {
    let least = cycle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
    cycle.rotate_left(least);
    cycle
}

impl fmt::Display for LockOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (held, asked) in &self.edges {
            writeln!(f, "{held}, then {asked}")?;
        }
        for cycle in &self.cycles {
            f.write_str("can deadlock: ")?;
            for site in cycle {
                write!(f, "{site}, then ")?;
            }
            writeln!(f, "the first again")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cycles_are_found_each_once() {
        assert!(cycles(&[(1, 2), (2, 3), (1, 3)]).is_empty());
        assert_eq!(cycles(&[(2, 1), (1, 2)]), [vec![1, 2]]);
        assert_eq!(cycles(&[(3, 1), (1, 2), (2, 3), (3, 4)]), [vec![1, 2, 3]]);
        assert_eq!(cycles(&[(5, 5), (1, 5)]), [vec![5]]);
        assert_eq!(cycles(&[(1, 2), (2, 1), (2, 3), (3, 2)]), [vec![1, 2], vec![2, 3]]);
    }

    proptest! {
        #[test]
        fn an_order_has_no_cycle_and_a_cycle_is_made_of_edges(
            edges in prop::collection::vec((0_u8..6, 0_u8..6), 0..16),
        ) {
            let upwards: Vec<_> = edges.iter().copied().filter(|(a, b)| a < b).collect();
            prop_assert!(cycles(&upwards).is_empty());
            let found = cycles(&edges);
            for cycle in &found {
                for (at, &node) in cycle.iter().enumerate() {
                    prop_assert!(edges.contains(&(node, cycle[(at + 1) % cycle.len()])));
                }
            }
            // Taking out the edges of all cycles leaves an order.
            let on_cycle = |&(a, b): &(u8, u8)| {
                found.iter().any(|cycle| {
                    (0..cycle.len()).any(|at| cycle[at] == a && cycle[(at + 1) % cycle.len()] == b)
                })
            };
            let rest: Vec<_> = edges.iter().copied().filter(|edge| !on_cycle(edge)).collect();
            prop_assert!(cycles(&rest).is_empty());
        }
    }
}

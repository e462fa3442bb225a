//! The counter under contention.
#![cfg(not(any(loom, shuttle)))]

use selvedge_sync::{Counter, Team};

#[test]
fn nothing_added_is_lost() {
    let (team, counter) = (Team::new(4).unwrap(), Counter::new());
    team.parallel(4, |index| (0..100_000).for_each(|_| counter.add(index as u64)));
    assert_eq!(counter.get(), 600_000);
}

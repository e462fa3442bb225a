//! The reduction: one order of sums for every team, and everybody accounted for.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{ReduceError, Reduction, Team, tree_reduce};

/// The tree written out for one element: shards in pairs, then pairs in pairs, an odd one out waiting.
fn tree(values: &[f32]) -> f32 {
    match values {
        [] => 0.0,
        [value] => *value,
        _ => {
            let half = values.len().next_power_of_two() / 2;
            tree(&values[..half]) + tree(&values[half..])
        }
    }
}

fn reduced(threads: usize, shards: &[Vec<f32>]) -> Vec<f32> {
    let mut shards = shards.to_vec();
    let mut views: Vec<&mut [f32]> = shards.iter_mut().map(Vec::as_mut_slice).collect();
    tree_reduce(&Team::new(threads).expect("a few threads"), &mut views);
    shards.swap_remove(0)
}

#[test]
fn the_order_of_sums_is_the_tree() {
    // From left to right this would be 1.
    let shards = [1e8, 1.0, -1e8, 1.0].map(|value| vec![value]);
    assert_eq!(reduced(1, &shards), [0.0]);
    assert_eq!(reduced(2, &shards), [0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_team_gives_the_bits_of_the_tree(
        count in 1usize..10,
        len in prop_oneof![0usize..20, 2040usize..2060, 6000usize..7000],
        threads in 1usize..5,
        seed in any::<u32>(),
    ) {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 * 1e-3 - 8000.0
        };
        let shards: Vec<Vec<f32>> = (0..count).map(|_| (0..len).map(|_| next()).collect()).collect();
        let expected: Vec<u32> = (0..len)
            .map(|at| tree(&shards.iter().map(|shard| shard[at]).collect::<Vec<_>>()).to_bits())
            .collect();
        let bits: Vec<u32> = reduced(threads, &shards).iter().map(|sum| sum.to_bits()).collect();
        prop_assert_eq!(bits, expected);
    }
}

#[test]
#[should_panic(expected = "length of shard 1 against that of shard 0")]
fn unequal_lengths_are_refused() {
    reduced(1, &[vec![0.0; 3], vec![0.0; 4]]);
}

#[test]
fn contributions_come_in_any_order() {
    let mut shards = [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]];
    let mut reduction = Reduction::new(3, 3);
    let [a, b, c] = &mut shards;
    for (shard, gradient) in [(2, c), (0, a), (1, b)] {
        reduction.contribute(3, shard, gradient).unwrap();
    }
    assert_eq!(reduction.finish(&Team::new(2).unwrap()).unwrap(), [111.0, 222.0]);
}

#[test]
fn whoever_is_wrong_or_missing_is_named() {
    let mut rows = vec![vec![1.0; 4]; 6];
    let mut rows = rows.iter_mut().map(Vec::as_mut_slice);
    let mut row = || rows.next().unwrap();
    let mut short = [0.0; 3];
    let mut reduction = Reduction::new(7, 4);
    reduction.contribute(7, 1, row()).unwrap();
    assert_eq!(
        reduction.contribute(6, 0, row()),
        Err(ReduceError::WrongStep { shard: 0, expected: 7, got: 6 })
    );
    assert_eq!(reduction.contribute(7, 4, row()), Err(ReduceError::UnknownShard { shard: 4, shards: 4 }));
    assert_eq!(reduction.contribute(7, 1, row()), Err(ReduceError::Doubled { shard: 1 }));
    assert_eq!(
        reduction.contribute(7, 3, &mut short),
        Err(ReduceError::WrongLength { shard: 3, expected: 4, got: 3 })
    );
    // What was refused has left no trace.
    reduction.contribute(7, 3, row()).unwrap();
    assert_eq!(reduction.finish(&Team::solo()), Err(ReduceError::Missing { step: 7, shards: vec![0, 2] }));
    assert!(Reduction::new(0, 0).finish(&Team::solo()).unwrap().is_empty());
}

//! The atomic view of f32 slices.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{AtomicF32, Team};

/// The same bits, or neither a number: which of the many that are none is not said.
fn same(left: f32, right: f32) -> bool {
    left.to_bits() == right.to_bits() || left.is_nan() && right.is_nan()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn on_one_thread_it_is_an_f32(
        bits in prop::collection::vec(any::<u32>(), 1..20),
        terms in prop::collection::vec((any::<u8>(), any::<u32>(), any::<bool>()), 0..40),
    ) {
        let mut values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let mut model = values.clone();
        let atomics = AtomicF32::from_mut_slice(&mut values);
        prop_assert_eq!(atomics.len(), model.len());
        for (at, term, add) in terms {
            let (at, term) = (usize::from(at) % model.len(), f32::from_bits(term));
            if add {
                prop_assert!(same(atomics[at].fetch_add(term), model[at]));
                model[at] += term;
            } else {
                atomics[at].store(term);
                model[at] = term;
            }
            prop_assert!(same(atomics[at].load(), model[at]));
        }
        prop_assert!(values.iter().zip(&model).all(|(value, model)| same(*value, *model)));
    }
}

#[test]
fn no_addition_is_lost() {
    const TASKS: usize = 8;
    const ROUNDS: usize = 20_000;
    let mut values = vec![0.0; 3];
    let shared = AtomicF32::from_mut_slice(&mut values);
    Team::new(4).unwrap().parallel(TASKS, |task| {
        for round in 0..ROUNDS {
            // Whole numbers below 2^24 add up exactly, in any order.
            shared[(task + round) % 3].fetch_add(1.0 + (round % 4) as f32);
        }
    });
    assert_eq!(values.iter().sum::<f32>(), (TASKS * ROUNDS * 10 / 4) as f32);
}

#[test]
fn it_is_an_f32_in_layout_and_looks() {
    assert_eq!((size_of::<AtomicF32>(), align_of::<AtomicF32>()), (size_of::<f32>(), align_of::<f32>()));
    assert_eq!(format!("{:?}", AtomicF32::new(-0.5)), "-0.5");
    assert!(AtomicF32::from_mut_slice(&mut []).is_empty());
    fn both<T: Send + Sync>() {}
    both::<AtomicF32>();
}

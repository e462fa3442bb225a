//! A model of the counter.

use super::{ALL, explore};
use crate::Counter;
use loom::sync::Arc;
use loom::thread;

/// No addition is lost, and whoever joined the adders sees all of them.
///
/// 3 threads, no bound on preemptions: 253 schedules, under 0.1 s. Kills `counter_torn`.
#[test]
fn loom_counter_counts() {
    explore("loom_counter_counts", ALL, || {
        let counter = Arc::new(Counter::new());
        let adders: Vec<_> = (1..=2)
            .map(|amount| {
                let counter = Arc::clone(&counter);
                thread::spawn(move || counter.add(amount))
            })
            .collect();
        counter.add(4);
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(counter.get(), 7);
    });
}

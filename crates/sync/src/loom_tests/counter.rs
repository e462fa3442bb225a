//! A model of the counter.

use super::explore;
use crate::Counter;
use loom::sync::Arc;
use loom::thread;

/// No addition is lost, and whoever joined the adders sees all of them.
#[test]
fn loom_counter_counts() {
    explore("loom_counter_counts", 3, || {
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

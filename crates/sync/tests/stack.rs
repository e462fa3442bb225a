//! The stack against a `Vec`, and under many threads.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{OwnedThread, Stack};
use std::rc::Rc;
use std::sync::Arc;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn it_is_a_vec_of_fixed_capacity(capacity in 0usize..6, pushes in prop::collection::vec(any::<bool>(), 0..60)) {
        let stack = Stack::new(capacity);
        let mut model: Vec<Rc<usize>> = Vec::new();
        prop_assert_eq!(stack.capacity(), capacity);
        for (at, push) in pushes.into_iter().enumerate() {
            if push {
                let value = Rc::new(at);
                let pushed = stack.push(Rc::clone(&value));
                prop_assert_eq!(pushed.is_ok(), model.len() < capacity);
                if pushed.is_ok() {
                    model.push(value);
                }
            } else {
                prop_assert_eq!(stack.pop(), model.pop());
            }
        }
        drop(stack);
        prop_assert!(model.iter().all(|value| Rc::strong_count(value) == 1), "what was left is dropped once");
    }
}

#[test]
fn nothing_is_lost_or_doubled_under_many_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 100_000;
    let stack = Arc::new(Stack::new(THREADS));
    (0..THREADS).for_each(|value| stack.push(vec![value; 4]).unwrap());
    let threads: Vec<_> = (0..THREADS)
        .map(|index| {
            let stack = Arc::clone(&stack);
            let work = move || {
                for round in 0..ROUNDS {
                    // Several out at once, put back in another order: what makes one place come back often.
                    let mut held: Vec<Vec<usize>> = (0..1 + round % 3).filter_map(|_| stack.pop()).collect();
                    if round % 2 == 0 {
                        held.reverse();
                    }
                    for value in held {
                        assert!(value.iter().all(|&element| element == value[0]));
                        let mut value = Some(value);
                        // A place may be on its way back from another thread.
                        while let Some(refused) = value.take().and_then(|value| stack.push(value).err()) {
                            value = Some(refused);
                            std::thread::yield_now();
                        }
                    }
                }
            };
            OwnedThread::spawn(format!("stack-{index}"), work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut left: Vec<usize> = std::iter::from_fn(|| stack.pop()).map(|value| value[3]).collect();
    left.sort_unstable();
    assert!(left.into_iter().eq(0..THREADS));
}

#[test]
fn values_may_be_of_no_size() {
    let stack = Stack::new(2);
    assert_eq!([(), (), ()].map(|()| stack.push(()).is_ok()), [true, true, false]);
    assert_eq!([(), (), ()].map(|()| stack.pop().is_some()), [true, true, false]);
}

#[test]
fn it_crosses_threads() {
    fn both<T: Send + Sync>() {}
    // A value is in one thread's hands at a time, so it need not be `Sync`.
    both::<Stack<std::cell::Cell<u8>>>();
    assert_eq!(format!("{:?}", Stack::<u8>::new(3)), "Stack { capacity: 3, .. }");
}

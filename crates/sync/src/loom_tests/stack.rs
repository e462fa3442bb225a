//! Models of the stack.
#![expect(unsafe_code, reason = "a place is put back by hand")]

use super::{ALL, explore};
use crate::Stack;
use loom::sync::Arc;
use loom::thread;

/// Everything that is left, with what threads took.
fn all(stack: &Stack<u32>, taken: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut all: Vec<u32> = std::iter::from_fn(|| stack.pop()).chain(taken).collect();
    all.sort_unstable();
    all
}

/// A thread looks at the top and at what is below it; then another takes both off and puts the first back. The first
/// thread's swap must not succeed, for what was below is taken. The class of crossbeam#46 (ABA), in a slab, where every
/// place comes back.
///
/// 2 threads, no bound on preemptions: 307 schedules, under 0.1 s. Kills `stack_no_generation`.
#[test]
fn loom_stack_crossbeam_46() {
    explore("loom_stack_crossbeam_46", ALL, || {
        let stack = Arc::new(Stack::new(2));
        assert_eq!((stack.push(1), stack.push(2)), (Ok(()), Ok(())));
        let theirs = Arc::clone(&stack);
        let other = thread::spawn(move || theirs.pop());
        // Places, not values: the one that is put back is the one that was on top.
        let (top, next) = (stack.take_filled(), stack.take_filled());
        let mut mine: Vec<u32> = next.iter().map(|(_, value)| *value).collect();
        if let Some((place, value)) = top {
            // SAFETY: the place is of this stack.
            unsafe { stack.fill(place, value) };
        }
        mine.extend(other.join().unwrap());
        assert_eq!(all(&stack, mine), [1, 2]);
    });
}

/// Two threads push and pop at once: what each pops has been pushed, in full, by whoever did, and nothing is lost or
/// doubled.
///
/// 3 threads, 2 preemptions: 30,127 schedules, 1.7 s. Kills `stack_push_relaxed`, `stack_push_torn`,
/// `stack_push_stale`, `stack_pop_relaxed`, `stack_pop_retry_relaxed`, `stack_pop_torn`.
#[test]
fn loom_stack_conserves() {
    explore("loom_stack_conserves", 2, || {
        let stack = Arc::new(Stack::new(3));
        let others: Vec<_> = (1..=2)
            .map(|value| {
                let stack = Arc::clone(&stack);
                thread::spawn(move || {
                    assert_eq!(stack.push(value), Ok(()), "there are places enough");
                    stack.pop()
                })
            })
            .collect();
        assert_eq!(stack.push(3), Ok(()));
        let taken: Vec<u32> = others.into_iter().filter_map(|other| other.join().unwrap()).collect();
        assert_eq!(all(&stack, taken), [1, 2, 3]);
    });
}

/// What a thread pushes is all there for the thread that pops it, also where a third one took the value above off in
/// between; and places that come back empty are filled again only after they were emptied.
///
/// 3 threads, no bound on preemptions: 15,093 schedules, 0.8 s.
#[test]
fn loom_stack_hands_over() {
    explore("loom_stack_hands_over", ALL, || {
        let stack = Arc::new(Stack::new(1));
        let others: Vec<_> = (0..2)
            .map(|value| {
                let stack = Arc::clone(&stack);
                // One place: a push may find it taken.
                thread::spawn(move || (stack.push(value).is_ok(), stack.pop()))
            })
            .collect();
        let mut pushed = 0;
        let mut popped = Vec::new();
        for other in others {
            let (done, value) = other.join().unwrap();
            pushed += usize::from(done);
            popped.extend(value);
        }
        assert_eq!(all(&stack, popped).len(), pushed);
    });
}

//! A ring between two threads that sleep by an event count, and its shutdown from a third side.

use super::{choose, explore};
use crate::shim::{Arc, AtomicBool, Ordering, in_order, keep};
use crate::{EventCount, OwnedThread, spsc};
use std::time::Duration;

const ITEMS: usize = 6;

/// Who sleeps on what: one count for each side, and the word that ends it all.
struct Bells {
    pushed: EventCount,
    popped: EventCount,
    shut: AtomicBool,
}

impl Bells {
    /// Ends the waits of both sides.
    fn shut_down(&self) {
        in_order!("protocol_ring_shut_swapped", self.shut.store(true, Ordering::Release), self.ring());
    }

    fn ring(&self) {
        self.pushed.notify_all();
        if keep!("protocol_ring_one_bell") {
            self.popped.notify_all();
        }
    }
}

/// Items come in order and none twice; a shutdown at any moment wakes whoever waits for an item or for room, and
/// without one all items arrive.
#[test]
fn shuttle_ring_shutdown() {
    explore("shuttle_ring_shutdown", || {
        let spin = || EventCount::with_spin(Duration::from_nanos([0, 2][choose(2)]));
        let bells = Arc::new(Bells { pushed: spin(), popped: spin(), shut: AtomicBool::new(false) });
        let (mut producer, mut consumer) = spsc::ring(1 + choose(2));
        // Nobody takes more than this many: without a shutdown the producer would wait for ever.
        let wanted = choose(ITEMS + 1);
        let theirs = Arc::clone(&bells);
        let pushing = OwnedThread::spawn("producer", move || {
            for item in 0..ITEMS {
                let mut left = Some(item);
                let pushed = theirs.popped.wait(|| {
                    if let Err(back) = producer.try_push(left.take()?) {
                        left = Some(back);
                        return theirs.shut.load(Ordering::Acquire).then_some(false);
                    }
                    Some(true)
                });
                if !pushed {
                    return;
                }
                theirs.pushed.notify_one();
            }
        })
        .unwrap();
        let theirs = Arc::clone(&bells);
        let popping = OwnedThread::spawn("consumer", move || {
            for expected in 0..wanted {
                let item = theirs.pushed.wait(|| match consumer.try_pop() {
                    Some(item) => Some(Some(item)),
                    None => theirs.shut.load(Ordering::Acquire).then_some(None),
                });
                let Some(item) = item else { return };
                assert_eq!(item, expected);
                theirs.popped.notify_one();
            }
        })
        .unwrap();
        if choose(2) == 0 {
            // After the consumer has had all it wants.
            assert_eq!(popping.join(), Ok(()));
            bells.shut_down();
        } else {
            bells.shut_down();
            assert_eq!(popping.join(), Ok(()));
        }
        assert_eq!(pushing.join(), Ok(()));
    });
}

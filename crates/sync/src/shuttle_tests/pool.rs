//! Borrowers of a pool, one of whom panics with a lease and one of whom is cancelled while it holds one.

use super::{choose, explore, tear};
use crate::shim::{Arc, AtomicUsize, Ordering};
use crate::{CancelToken, OwnedThread, Pool};
use std::time::Duration;

const BUFFERS: usize = 2;
const BORROWERS: usize = 4;
const LONG: Duration = Duration::MAX;

/// Nobody waits for ever, no buffer is lent twice at once, and every place is there again afterwards: also that of the
/// lease which a panic dropped, and that of one held until the cancellation.
#[test]
fn shuttle_pool_panic_and_cancel() {
    explore("shuttle_pool_panic_and_cancel", || {
        let made = AtomicUsize::new(0);
        let pool = Pool::new(BUFFERS, move || Box::new(made.fetch_add(1, Ordering::Relaxed)));
        // Under shuttle all threads seem to panic while one does, so that leases of others may be destroyed as well.
        let out: Vec<_> = (0..2 * BORROWERS + BUFFERS).map(|_| AtomicUsize::new(0)).collect();
        let out = Arc::new(out);
        let cancel = CancelToken::new();
        let torn = choose(BORROWERS);
        let threads: Vec<_> = (0..BORROWERS)
            .map(|index| {
                let (pool, cancel, out) = (pool.clone(), cancel.child(), Arc::clone(&out));
                let borrow = move || {
                    for round in 0..2 {
                        let lease = pool.acquire();
                        assert_eq!(out[**lease].fetch_add(1, Ordering::Relaxed), 0, "lent twice");
                        if index == torn && round == 1 {
                            tear("torn");
                        }
                        if round == 0 && index % 2 == 0 {
                            cancel.wait_timeout(LONG);
                        }
                        out[**lease].fetch_sub(1, Ordering::Relaxed);
                    }
                };
                OwnedThread::spawn(format!("borrower-{index}"), borrow).unwrap()
            })
            .collect();
        cancel.cancel();
        for (index, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().is_err(), index == torn);
        }
        // The torn buffer was destroyed, and its place is there for another.
        let leases: Vec<_> = (0..BUFFERS).map(|_| pool.try_acquire()).collect();
        assert!(leases.iter().all(Option::is_some));
        assert!(pool.try_acquire().is_none());
    });
}

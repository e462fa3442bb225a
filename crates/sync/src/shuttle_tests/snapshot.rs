//! Parameters that are published while requests are served: every request keeps the version it began with.

use super::{choose, explore};
use crate::shim::{Arc, AtomicUsize, Ordering};
use crate::{CancelToken, OwnedThread, Pool, Snapshot};
use std::time::Duration;

const SERVERS: usize = 2;
const VERSIONS: usize = 3;
const TOKENS: usize = 2;

/// A version that knows whether it has been dropped.
struct Parameters {
    number: usize,
    alive: Arc<[AtomicUsize; VERSIONS + 1]>,
}

impl Drop for Parameters {
    fn drop(&mut self) {
        assert_eq!(self.alive[self.number].fetch_sub(1, Ordering::Relaxed), 1, "dropped twice");
    }
}

/// Requests are served from leased buffers while versions are published and a cancellation comes: a request sees one
/// version from its first token to its last, versions never go back, and afterwards all but the last are gone.
#[test]
fn shuttle_snapshot_served_while_published() {
    explore("shuttle_snapshot_served_while_published", || {
        let alive = Arc::new(std::array::from_fn::<_, { VERSIONS + 1 }, _>(|_| AtomicUsize::new(1)));
        let version = |number| Parameters { number, alive: Arc::clone(&alive) };
        let snapshot = Arc::new(Snapshot::new(version(0)));
        let (buffers, cancel) = (Pool::new(1, || 0), CancelToken::new());
        let servers: Vec<_> = (0..SERVERS)
            .map(|index| {
                let (mut reader, buffers) = (snapshot.reader(), buffers.clone());
                let (cancel, alive) = (cancel.child(), Arc::clone(&alive));
                let serve = move || {
                    let mut last = 0;
                    for _ in 0..2 {
                        if cancel.is_cancelled() {
                            return;
                        }
                        let mut buffer = buffers.acquire();
                        let parameters = reader.read();
                        let began_with = parameters.number;
                        assert!(began_with >= last, "a version went back");
                        // A request that outlives its reader's guard, as one that is handed on does.
                        let kept = (index == 0).then(|| parameters.keep());
                        for _ in 0..TOKENS {
                            *buffer = parameters.number;
                            assert_eq!((parameters.number, *buffer), (began_with, began_with));
                            assert_eq!(alive[began_with].load(Ordering::Relaxed), 1, "read after its end");
                        }
                        drop(parameters);
                        assert!(kept.is_none_or(|kept| kept.number == began_with));
                        last = began_with;
                    }
                };
                OwnedThread::spawn(format!("server-{index}"), serve).unwrap()
            })
            .collect();
        let cancelled_at = choose(VERSIONS + 1);
        for number in 1..=VERSIONS {
            snapshot.publish(version(number));
            if number == cancelled_at {
                cancel.cancel();
            }
        }
        for server in servers {
            assert_eq!(server.join(), Ok(()));
        }
        let left: Vec<_> = alive.iter().map(|alive| alive.load(Ordering::Relaxed)).collect();
        assert_eq!(left, [0, 0, 0, 1]);
        drop(snapshot);
        assert_eq!(alive[VERSIONS].load(Ordering::Relaxed), 0);
        assert!(buffers.acquire_timeout(Duration::MAX).is_some());
    });
}

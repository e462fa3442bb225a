//! A rayon pool that ends: for coarse work without ordering, such as reading and tokenizing a corpus.

use rayon::ThreadPoolBuilder;
use selvedge_sync::OwnedThread;

use crate::Error;

/// Runs `work` with a rayon pool of `threads` threads as the current one, and joins the threads before it returns.
///
/// Rayon's own global pool is never used: its threads would outlive the work, and their number would not be the caller's
/// to choose.
///
/// # Errors
/// [`Error::Setting`] if `threads` is 0 or beyond reason, [`Error::Pool`] if the system has not that many left.
///
/// # Panics
/// If `work` does; the threads are joined all the same.
///
/// ```
/// use rayon::prelude::*;
/// let sum: u64 = selvedge_train::pool::scoped(2, || (1..=100_u64).into_par_iter().sum())?;
/// assert_eq!(sum, 5050);
/// # Ok::<(), selvedge_train::Error>(())
/// ```
pub fn scoped<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
    if !(1..=1 << 16).contains(&threads) {
        return Err(Error::setting("threads", threads, "from 1 to 65536"));
    }
    // Declared before the pool, so dropped after it, whatever happens: dropping the pool tells the threads to end, and
    // dropping these joins them.
    let mut owned = Vec::with_capacity(threads);
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .spawn_handler(|thread| {
            let name = format!("pool-{}", thread.index());
            owned.push(OwnedThread::spawn(name, || thread.run()).map_err(|error| error.source)?);
            Ok(())
        })
        .build()
        .map_err(|source| Error::Pool { threads, source })?;
    Ok(pool.install(work))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_pool_has_as_many_threads_as_asked_for() {
        for threads in [1, 3] {
            assert_eq!(scoped(threads, rayon::current_num_threads).unwrap(), threads);
        }
        assert!(matches!(scoped(0, || ()), Err(Error::Setting { .. })));
    }

    /// A value local to the pool's threads is gone only when they are.
    #[test]
    fn the_threads_are_gone_when_it_returns_or_panics() {
        struct Slow(std::sync::mpsc::Sender<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                std::thread::sleep(Duration::from_millis(30));
                let _ = self.0.send(());
            }
        }
        thread_local!(static LAST: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) });
        for panics in [false, true] {
            let (sender, receiver) = std::sync::mpsc::channel();
            let outcome = std::panic::catch_unwind(move || {
                scoped(2, || {
                    rayon::broadcast(|_| LAST.set(Some(Slow(sender.clone()))));
                    assert!(!panics, "meant");
                })
            });
            assert_eq!(outcome.is_err(), panics);
            assert_eq!(receiver.try_iter().count(), 2, "both threads have ended");
        }
    }
}

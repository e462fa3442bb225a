//! Locks with ranks: who asks out of order is told at once, and by name; who does not, never waits for ever.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::lock::{Key, Mutex, MutexGuard, Rank, RwLock, RwLockReadGuard, RwLockWriteGuard};
use selvedge_sync::{OwnedThread, Team};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

selvedge_sync::lock_ranks! {
    /// With a text of its own.
    pub Params,
    Registry,
    pub(crate) Pool,
    Trace,
}

selvedge_sync::lock_ranks! { from 100; Late }

fn refusal<T>(ask: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(ask()))).expect_err("out of order");
    *payload.downcast::<String>().expect("a refusal is text")
}

#[test]
fn ranks_ascend_in_the_order_of_the_list() {
    assert_eq!([Params::LEVEL, Registry::LEVEL, Pool::LEVEL, Trace::LEVEL, Late::LEVEL], [0, 1, 2, 3, 100]);
    assert_eq!([Params::NAME, Late::NAME], ["Params", "Late"]);
}

#[test]
fn out_of_order_is_refused_with_both_names_and_places() {
    let (registry, pool) = (Mutex::<u8, Registry>::new(0), RwLock::<u8, Pool>::new(0));
    let (_held, taken) = (pool.read(), line!());
    let (message, asked) = (refusal(|| registry.lock()), line!());
    assert!(
        message.starts_with("lock order: holding Pool of rank 2 at ")
            && message.contains(&format!("tests/lock.rs:{taken}:"))
            && message.contains("asked for Registry of rank 1 at ")
            && message.contains(&format!("tests/lock.rs:{asked}:")),
        "{message}"
    );
    // Refused, not taken.
    std::thread::scope(|scope| scope.spawn(|| assert!(registry.try_lock().is_some())).join().unwrap());
    assert!(refusal(|| registry.try_lock()).contains("asked for Registry"));
}

#[test]
fn a_second_lock_of_one_rank_is_refused() {
    let (one, other) = (Mutex::<u8, Registry>::new(0), Mutex::<u8, Registry>::new(0));
    let held = one.lock();
    let message = refusal(|| other.lock());
    assert!(message.contains("asked for Registry of rank 1"), "{message}");
    let message = refusal(|| one.lock());
    assert!(message.contains("asked for it again at "), "{message}");
    drop(held);
    assert_eq!(*other.lock(), 0);
}

/// Three shapes of one bug: a read under a read (candle#3878, parking_lot#212), a write under a read, a read under a
/// write (candle#3227). With a writer in the queue, an ordinary lock waits for ever.
#[test]
fn candle_3878_and_parking_lot_212_a_second_read_with_a_writer_in_the_queue_is_refused() {
    let lock = Arc::new(RwLock::<u32, Params>::new(1));
    let (theirs, written) = (Arc::clone(&lock), Arc::new(AtomicBool::new(false)));
    let first = lock.read();
    let says = Arc::clone(&written);
    let writer = OwnedThread::spawn("writer", move || {
        *theirs.write() += 1;
        says.store(true, Ordering::Relaxed);
    });
    // Long enough for the writer to queue, in all likelihood; the model has the other cases.
    std::thread::sleep(Duration::from_millis(20));
    assert!(refusal(|| lock.read()).contains("holding Params of rank 0"));
    assert!(refusal(|| lock.write()).contains("asked for it again"));
    assert!(!written.load(Ordering::Relaxed));
    assert_eq!(*first, 1);
    drop(first);
    writer.unwrap().join().unwrap();
    let write = lock.write();
    assert!(refusal(|| lock.read()).contains("asked for it again"));
    assert_eq!(*write, 2);
}

/// A lock around a parallel region, where a pool whose waiting threads run foreign jobs would take it twice
/// (rayon#592). Four deep, each level with a lock of its own.
#[test]
fn rayon_592_locks_are_held_around_regions_nested_four_deep() {
    struct Locks {
        params: Mutex<usize, Params>,
        registry: Mutex<usize, Registry>,
        pool: Mutex<usize, Pool>,
        trace: Mutex<usize, Trace>,
    }

    fn around<T, R: Rank>(team: &Team, lock: &Mutex<usize, R>, inner: impl Fn() -> T + Sync) {
        team.parallel(2, |_| {
            let mut count = lock.lock();
            *count += 1;
            inner();
        });
    }

    for threads in [1, 2, 3] {
        let team = Team::new(threads).unwrap();
        for _ in 0..50 {
            let locks = Locks {
                params: Mutex::new(0),
                registry: Mutex::new(0),
                pool: Mutex::new(0),
                trace: Mutex::new(0),
            };
            around(&team, &locks.params, || {
                around(&team, &locks.registry, || {
                    around(&team, &locks.pool, || around(&team, &locks.trace, || ()));
                });
            });
            let Locks { params, registry, pool, trace } = locks;
            let counts = [params.into_inner(), registry.into_inner(), pool.into_inner(), trace.into_inner()];
            assert_eq!(counts, [2, 4, 8, 16]);
        }
    }
}

#[test]
fn a_key_lets_in_order_through_and_catches_what_it_does_not_know_of() {
    let (params, registry) = (RwLock::<u8, Params>::new(1), Mutex::<u8, Registry>::new(2));
    let mut key = Key::new();
    for _ in 0..2 {
        let (mut write, mut rest) = key.write(&params);
        let (read, _) = rest.lock(&registry);
        *write += *read;
    }
    assert_eq!(*key.read(&params).0, 5);
    let _held = registry.lock();
    assert!(refusal(|| drop(key.read(&params))).contains("holding Registry of rank 1"));
}

#[test]
fn a_guard_that_a_panic_drops_releases_its_lock_and_its_rank() {
    let (mutex, lock) = (Mutex::<u8, Registry>::new(0), RwLock::<u8, Pool>::new(0));
    let torn: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(|| {
        let (mut mutex, mut lock) = (mutex.lock(), lock.write());
        *mutex = 1;
        *lock = 1;
        panic!("planted");
    }));
    assert!(torn.is_err());
    assert_eq!((*mutex.lock(), *lock.read()), (1, 1), "no poisoning");
}

#[test]
fn more_locks_than_a_thread_may_hold_are_refused() {
    macro_rules! held {
        ($($name:ident)*) => {
            selvedge_sync::lock_ranks! { $($name),* }
            let locks = ($(Mutex::<u8, $name>::new(0),)*);
            #[allow(non_snake_case, reason = "a lock is named after its rank")]
            let ($($name,)*) = &locks;
            let _guards = ($($name.lock(),)*);
            let message = refusal(|| Mutex::<u8, Late>::new(0).lock().count_ones());
            assert!(message.starts_with("holding 16 locks, asked for Late at "), "{message}");
        };
    }
    held!(A B C D E F G H I J K L M N O P);
}

#[test]
fn writers_and_readers_keep_out_of_each_others_way() {
    let lock = Arc::new(RwLock::<[usize; 8], Params>::new([0; 8]));
    let threads: Vec<_> = (0..6)
        .map(|mine| {
            let lock = Arc::clone(&lock);
            OwnedThread::spawn(format!("user-{mine}"), move || {
                for round in 0..300 {
                    if (mine + round) % 3 == 0 {
                        lock.write().iter_mut().for_each(|value| *value += 1);
                    } else {
                        let values = lock.read();
                        assert!(values.iter().all(|value| *value == values[0]));
                    }
                }
            })
            .unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*Arc::into_inner(lock).unwrap().get_mut(), [600; 8]);
}

/// Readers that come again and again, always some of them inside, do not keep a writer out.
#[test]
fn readers_do_not_starve_a_writer() {
    let shared = Arc::new((RwLock::<u8, Params>::new(0), AtomicBool::new(false)));
    let readers: Vec<_> = (0..3)
        .map(|mine| {
            let shared = Arc::clone(&shared);
            OwnedThread::spawn(format!("reader-{mine}"), move || {
                while !shared.1.load(Ordering::Relaxed) {
                    let _value = shared.0.read();
                    std::thread::sleep(Duration::from_micros(300));
                }
            })
            .unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(5));
    *shared.0.write() = 1;
    shared.1.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

/// A guard of some lock.
trait Guard {}
impl<T> Guard for T {}

proptest! {
    /// Whatever is taken, and released in whatever order: a lock is let through exactly if all that is held is below.
    #[test]
    fn a_lock_is_let_through_exactly_above_all_that_is_held(steps in prop::collection::vec((0usize..4, 0usize..4), 0..40)) {
        let (params, trace) = (Mutex::<(), Params>::new(()), Mutex::<(), Trace>::new(()));
        let (registry, pool) = (RwLock::<(), Registry>::new(()), RwLock::<(), Pool>::new(()));
        let mut held: Vec<(usize, Box<dyn Guard + '_>)> = Vec::new();
        for (rank, release) in steps {
            let allowed = held.iter().all(|(level, _)| *level < rank);
            let taken = catch_unwind(AssertUnwindSafe(|| -> Box<dyn Guard + '_> {
                match rank {
                0 => Box::new(params.lock()),
                1 => Box::new(registry.read()),
                2 => Box::new(pool.write()),
                _ => Box::new(trace.lock()),
            }}));
            prop_assert_eq!(taken.is_ok(), allowed);
            held.extend(taken.map(|guard| (rank, guard)));
            if release < held.len() {
                drop(held.remove(release));
            }
        }
    }
}

/// Implemented once for what must stay on its thread, and twice for what is `Send`: then `stays` is ambiguous.
trait Stays<Ambiguous> {
    fn stays() {}
}
impl<T> Stays<()> for T {}
impl<T: Send> Stays<u8> for T {}

#[test]
fn locks_are_shared_and_guards_stay() {
    <MutexGuard<'_, u8, Params> as Stays<_>>::stays();
    <RwLockReadGuard<'_, u8, Params> as Stays<_>>::stays();
    <RwLockWriteGuard<'_, u8, Params> as Stays<_>>::stays();
    <Key<'_> as Stays<_>>::stays();
    fn shared<T: Send + Sync>() {}
    fn looked_at<T: Sync>() {}
    shared::<Mutex<std::cell::Cell<u8>, Params>>();
    shared::<RwLock<u8, Params>>();
    looked_at::<MutexGuard<'_, u8, Params>>();
    looked_at::<RwLockReadGuard<'_, u8, Params>>();
    assert_eq!(format!("{:?}", Mutex::<u8, Params>::new(7)), "Mutex { rank: \"Params\", .. }");
    assert_eq!(format!("{:?}", RwLock::<u8, Params>::new(7)), "RwLock { rank: \"Params\", .. }");
    assert_eq!(format!("{:?}", Mutex::<u8, Params>::new(7).lock()), "7");
}

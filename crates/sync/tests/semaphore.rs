//! Semaphores: permits are conserved, refusals say why, and waits end.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{AcquireError, OwnedThread, Permit, Semaphore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    /// With no time to wait.
    Await(usize),
    GiveBack(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..8).prop_map(Step::Take),
        3 => (0usize..8).prop_map(Step::Await),
        6 => any::<usize>().prop_map(Step::GiveBack),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Permits at hand and permits out are all there are, after whatever went before; each refusal is the right one.
    #[test]
    fn permits_are_conserved(permits in 0usize..12, steps in prop::collection::vec(step(), 0..60)) {
        let semaphore = Semaphore::new(permits);
        let mut out: Vec<Permit<'_>> = Vec::new();
        let mut closed = false;
        for step in steps {
            let available = permits - out.iter().map(Permit::count).sum::<usize>();
            match step {
                Step::Take(count) | Step::Await(count) => {
                    let waits = matches!(step, Step::Await(_));
                    let taken = match waits {
                        true => semaphore.acquire_timeout(count, Duration::ZERO),
                        false => semaphore.try_acquire(count),
                    };
                    let expected = match () {
                        () if count > permits => Err(AcquireError::TooMany { asked: count, permits }),
                        () if closed => Err(AcquireError::Closed),
                        () if count <= available => Ok(count),
                        () if waits => Err(AcquireError::TimedOut { asked: count }),
                        () => Err(AcquireError::WouldWait { asked: count }),
                    };
                    prop_assert_eq!(taken.as_ref().map(Permit::count).map_err(|&error| error), expected);
                    out.extend(taken);
                }
                Step::GiveBack(index) if !out.is_empty() => drop(out.swap_remove(index % out.len())),
                Step::GiveBack(_) => {}
                Step::Close => {
                    semaphore.close();
                    closed = true;
                }
            }
            let held: usize = out.iter().map(Permit::count).sum();
            prop_assert_eq!(semaphore.available() + held, permits);
            prop_assert_eq!(semaphore.is_closed(), closed);
        }
        drop(out);
        prop_assert_eq!(semaphore.available(), permits);
    }
}

#[test]
fn threads_never_hold_more_than_there_is_and_all_get_theirs() {
    const PERMITS: usize = 3;
    let shared = Arc::new((Semaphore::new(PERMITS), AtomicUsize::new(0)));
    let threads: Vec<_> = (0..8)
        .map(|mine: usize| {
            let shared = Arc::clone(&shared);
            OwnedThread::spawn(format!("taker-{mine}"), move || {
                let (semaphore, held) = &*shared;
                let mut given_up = 0;
                for round in 0..400 {
                    let count = 1 + (mine + round) % PERMITS;
                    let permit = match round % 5 {
                        // Those who give up are in the queue of those who do not.
                        0 => semaphore.acquire_timeout(count, Duration::from_micros(20)),
                        _ => semaphore.acquire(count),
                    };
                    let Ok(permit) = permit else {
                        given_up += 1;
                        continue;
                    };
                    let before = held.fetch_add(permit.count(), Ordering::Relaxed);
                    assert!(before + permit.count() <= PERMITS);
                    if round % 16 == 0 {
                        std::thread::yield_now();
                    }
                    held.fetch_sub(permit.count(), Ordering::Relaxed);
                }
                given_up
            })
            .unwrap()
        })
        .collect();
    let given_up: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(given_up <= 8 * 80);
    assert_eq!(shared.0.try_acquire(PERMITS).map(|permit| permit.count()), Ok(PERMITS));
}

#[test]
fn a_permit_comes_back_when_its_holder_panics() {
    let semaphore = Arc::new(Semaphore::new(1));
    let theirs = Arc::clone(&semaphore);
    let holder = OwnedThread::spawn("holder", move || {
        let _permit = theirs.acquire(1).unwrap();
        panic!("planted");
    });
    assert!(holder.unwrap().join().is_err());
    assert!(semaphore.acquire_timeout(1, SOON).is_ok());
}

#[test]
fn a_wait_ends_with_its_time_or_with_the_semaphore() {
    let semaphore = Arc::new(Semaphore::new(1));
    let permit = semaphore.acquire(1).unwrap();
    let began = Instant::now();
    let error = semaphore.acquire_timeout(1, Duration::from_millis(30)).unwrap_err();
    assert_eq!(error, AcquireError::TimedOut { asked: 1 });
    assert!(began.elapsed() >= Duration::from_millis(30));

    let theirs = Arc::clone(&semaphore);
    let waiter = OwnedThread::spawn("waiter", move || theirs.acquire(1).map(drop)).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    semaphore.close();
    assert_eq!(waiter.join(), Ok(Err(AcquireError::Closed)));
    drop(permit);
    assert_eq!(semaphore.acquire(1).unwrap_err(), AcquireError::Closed);
}

#[test]
fn what_can_never_be_had_is_refused_at_once() {
    let semaphore = Semaphore::new(2);
    let error = semaphore.acquire(3).unwrap_err();
    assert_eq!(error, AcquireError::TooMany { asked: 3, permits: 2 });
    assert_eq!(error.to_string(), "3 permits asked of a semaphore that has 2");
    assert_eq!(format!("{semaphore:?}"), "Semaphore { available: 2, permits: 2, closed: false, .. }");
}

#[test]
fn semaphores_are_shared_and_permits_sent() {
    fn shared<T: Send + Sync>() {}
    shared::<Semaphore>();
    shared::<Permit<'_>>();
}

//! Barriers on real threads: everybody or nobody crosses, and whoever is to blame is named.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{Barrier, BarrierError, OwnedThread, Party};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn spawn<T: Send + 'static>(
    parties: Vec<Party>,
    run: impl Fn(usize, Party) -> T + Clone + Send + 'static,
) -> Vec<OwnedThread<T>> {
    let numbered = parties.into_iter().enumerate();
    let thread = |(index, party): (usize, Party)| {
        let run = run.clone();
        OwnedThread::spawn(format!("party-{index}"), move || run(index, party)).expect("a thread")
    };
    numbered.map(thread).collect()
}

fn left(who: usize) -> BarrierError {
    BarrierError::Left { who: who.to_string(), panicked: false }
}

/// Each round of threads four times as many as cores, and of fewer: nobody is ahead by a round, one leads.
#[test]
fn nobody_overtakes_even_with_more_threads_than_cores() {
    const ROUNDS: usize = 300;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for count in [1, 2, 3, (4 * cores).min(32)] {
        let (barrier, parties) = Barrier::new(count);
        let came: Arc<Vec<AtomicUsize>> = Arc::new((0..ROUNDS).map(|_| AtomicUsize::new(0)).collect());
        let theirs = Arc::clone(&came);
        let threads = spawn(parties, move |_, mut party| {
            let mut led = 0;
            for (round, came) in theirs.iter().enumerate() {
                came.fetch_add(1, Ordering::Relaxed);
                let crossing = party.wait_timeout(SOON).unwrap();
                assert_eq!(crossing.round(), round as u64);
                led += usize::from(crossing.is_leader());
                assert_eq!(came.load(Ordering::Relaxed), count, "round {round} of {count}");
                assert!(theirs.get(round + 2).is_none_or(|next| next.load(Ordering::Relaxed) == 0));
            }
            led
        });
        let led: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(led, ROUNDS);
        assert!(barrier.is_broken(), "the parties are gone");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// One leaves after some rounds: all cross as many, then hear who left, again and again.
    #[test]
    fn all_cross_the_same_rounds(count in 2usize..6, leaver in any::<usize>(), rounds in 0u64..6) {
        let leaver = leaver % count;
        let (_, parties) = Barrier::new(count);
        let threads = spawn(parties, move |index, mut party| {
            let mut crossed = 0;
            let mut outcome = Ok(());
            while outcome.is_ok() && (index != leaver || crossed < rounds) {
                outcome = party.wait().map(|crossing| {
                    assert_eq!(crossing.round(), crossed);
                    crossed += 1;
                });
            }
            (crossed, outcome, (index != leaver).then_some(party))
        });
        // With their parties: the first that ends must not be taken for the one that left.
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for (index, (crossed, outcome, _)) in ends.iter().enumerate() {
            prop_assert_eq!(*crossed, rounds);
            prop_assert_eq!(outcome.clone(), if index == leaver { Ok(()) } else { Err(left(leaver)) });
        }
        for party in ends.into_iter().filter_map(|(_, _, party)| party).by_ref() {
            let mut party = party;
            prop_assert_eq!(party.wait().unwrap_err(), left(leaver));
        }
    }
}

#[test]
fn a_panic_reaches_those_who_wait_with_the_name() {
    let (_, parties) = Barrier::named(["loader", "trainer", "writer"]);
    let threads = spawn(parties, |index, mut party| {
        party.wait().unwrap();
        assert_ne!(index, 1, "planted");
        (party.wait().unwrap_err(), party)
    });
    let ends: Vec<_> = threads.into_iter().map(OwnedThread::join).collect();
    for (index, end) in ends.iter().enumerate().filter(|(index, _)| *index != 1) {
        let (error, _) = end.as_ref().unwrap_or_else(|error| panic!("{index}: {error}"));
        assert_eq!(*error, BarrierError::Left { who: "trainer".into(), panicked: true });
        assert_eq!(error.to_string(), "trainer has left the barrier by a panic");
    }
    assert!(ends[1].is_err());
}

#[test]
fn whoever_is_missing_is_named_to_everybody() {
    let (barrier, mut parties) = Barrier::named(["a", "b", "c", "d"]);
    let missing = (parties.remove(1), parties.remove(2));
    let began = Instant::now();
    let threads = spawn(parties, |index, mut party| {
        let error = match index {
            0 => party.wait(),
            _ => party.wait_timeout(Duration::from_millis(60)),
        };
        (error.unwrap_err(), party)
    });
    while barrier.waiting() < 2 {
        std::thread::yield_now();
    }
    assert_eq!(barrier.missing(), ["b", "d"]);
    let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(began.elapsed() >= Duration::from_millis(60) && began.elapsed() < SOON);
    let (mut late, _) = missing;
    for error in ends.iter().map(|(error, _)| error.clone()).chain([late.wait().unwrap_err()]) {
        assert_eq!(error.to_string(), "not at the barrier after 60ms: b, d");
        let expected =
            BarrierError::Missing { who: vec!["b".into(), "d".into()], waited: Duration::from_millis(60) };
        assert_eq!(error, expected);
    }
}

#[test]
fn the_first_to_blame_is_the_one_named() {
    let (_, mut parties) = Barrier::new(3);
    drop(parties.remove(2));
    drop(parties.remove(0));
    assert_eq!(parties[0].wait(), Err(left(2)));
}

#[test]
#[should_panic(expected = "a barrier of no parties")]
fn nobody_cannot_meet() {
    let _ = Barrier::new(0);
}

#[test]
fn parties_are_sent_and_barriers_shared() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync + Clone>() {}
    sent::<Party>();
    shared::<Barrier>();
    let (barrier, parties) = Barrier::new(2);
    assert_eq!(format!("{barrier:?}"), "Barrier { parties: 2, waiting: 0, broken: false }");
    assert_eq!(format!("{:?}", parties[1]), "Party { name: \"1\", rounds: 0, .. }");
}

//! Snapshots: what a reader sees, and when a version goes.
#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use proptest::prelude::*;
use selvedge_sync::{Guard, OwnedThread, Reader, Snapshot, Version};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Versions alive.
type Alive = Arc<Mutex<BTreeSet<u64>>>;

/// Is on the list while it lives.
#[derive(Debug)]
struct Listed {
    number: u64,
    alive: Alive,
}

impl Listed {
    fn new(number: u64, alive: &Alive) -> Self {
        assert!(alive.lock().unwrap().insert(number), "{number} made twice");
        Self { number, alive: Arc::clone(alive) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        assert!(self.alive.lock().unwrap().remove(&self.number), "{} dropped twice", self.number);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish,
    /// A read that spans the next steps.
    Read {
        reader: usize,
        steps: usize,
        keep: bool,
        forget: bool,
    },
    Latest,
    Unkeep,
    Clone {
        reader: usize,
    },
    Leave {
        reader: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reader = 0usize..3;
    let step = prop_oneof![
        4 => Just(Step::Publish),
        6 => (reader.clone(), 0usize..6, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(reader, steps, keep, forget)| Step::Read { reader, steps, keep, forget }),
        1 => Just(Step::Latest),
        2 => Just(Step::Unkeep),
        1 => reader.clone().prop_map(|reader| Step::Clone { reader }),
        1 => reader.prop_map(|reader| Step::Leave { reader }),
    ];
    prop::collection::vec(step, 0..60)
}

/// A snapshot beside what it should be.
struct Law {
    snapshot: Snapshot<Listed>,
    alive: Alive,
    latest: u64,
    /// Versions under a guard.
    reading: Vec<u64>,
    kept: Vec<Version<Listed>>,
}

impl Law {
    /// Only what somebody uses is alive: the newest version, those being read, those kept.
    fn check(&self) {
        let used =
            self.reading.iter().copied().chain(self.kept.iter().map(Version::version)).chain([self.latest]);
        assert_eq!(*self.alive.lock().unwrap(), used.collect::<BTreeSet<_>>());
    }

    fn run(&mut self, steps: &[Step], readers: &mut Vec<Reader<Listed>>) {
        let mut left = steps;
        while let [step, rest @ ..] = left {
            left = rest;
            match *step {
                Step::Publish => {
                    self.latest += 1;
                    let value = Listed::new(self.latest, &self.alive);
                    assert_eq!(self.snapshot.publish(value), self.latest);
                }
                Step::Latest => {
                    assert_eq!(self.snapshot.latest().version(), self.latest);
                    self.kept.push(self.snapshot.latest());
                }
                Step::Unkeep => drop(self.kept.pop()),
                Step::Clone { reader } => {
                    if let Some(reader) = readers.get(reader).cloned() {
                        readers.push(reader);
                    }
                }
                Step::Leave { reader } if reader < readers.len() => drop(readers.swap_remove(reader)),
                Step::Read { reader, steps, keep, forget } if reader < readers.len() => {
                    let mut reader = readers.swap_remove(reader);
                    let guard = reader.read();
                    assert_eq!((guard.version(), guard.number), (self.latest, self.latest));
                    if keep {
                        self.kept.push(guard.keep());
                    }
                    let began = self.latest;
                    self.reading.push(began);
                    let (inside, after) = left.split_at(steps.min(left.len()));
                    self.run(inside, readers);
                    left = after;
                    assert_eq!((guard.version(), guard.number), (began, began));
                    if forget {
                        std::mem::forget(guard);
                        // Still there, until the reader reads again.
                        self.check();
                        assert_eq!(reader.read().number, self.latest);
                    } else {
                        drop(guard);
                    }
                    self.reading.pop();
                    readers.push(reader);
                }
                Step::Leave { .. } | Step::Read { .. } => {}
            }
            self.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_version_lives_as_long_as_somebody_uses_it(steps in steps()) {
        let alive = Alive::default();
        let snapshot = Snapshot::new(Listed::new(0, &alive));
        let mut readers: Vec<_> = (0..2).map(|_| snapshot.reader()).collect();
        let mut law = Law { snapshot, alive: Arc::clone(&alive), latest: 0, reading: vec![], kept: vec![] };
        law.run(&steps, &mut readers);
        drop(law);
        // Readers read on without the snapshot.
        prop_assert!(readers.iter_mut().map(Reader::read).all(|guard| guard.number == guard.version()));
        drop(readers);
        prop_assert!(alive.lock().unwrap().is_empty());
    }
}

/// Every element of a version is its number: a reader that sees two versions mixed, or one that is gone, sees it.
#[test]
fn a_read_is_of_one_version() {
    const VERSIONS: u64 = 20_000;
    let drops = Arc::new(AtomicUsize::new(0));
    struct Canary(Vec<u64>, Arc<AtomicUsize>);
    impl Drop for Canary {
        fn drop(&mut self) {
            self.0.fill(u64::MAX);
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let canary = |number| Canary(vec![number; 64], Arc::clone(&drops));
    let snapshot = Snapshot::new(canary(0));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|index| {
            let (mut reader, over) = (snapshot.reader(), Arc::clone(&over));
            OwnedThread::spawn(&format!("reader-{index}"), move || {
                let whole = |values: &[u64], number| assert!(values.iter().all(|&value| value == number));
                let (mut last, mut kept): (u64, Option<Version<Canary>>) = (0, None);
                while !over.load(Ordering::Relaxed) {
                    let guard = reader.read();
                    let number = guard.version();
                    assert!(number >= last, "{number} after {last}");
                    last = number;
                    whole(&guard.0, number);
                    if let Some(kept) = &kept {
                        whole(&kept.0, kept.version());
                    }
                    if number % 7 == index {
                        kept = Some(guard.keep());
                    }
                    whole(&guard.0, number);
                    drop(guard);
                    if number % 64 == index {
                        reader = reader.clone();
                    }
                }
                last
            })
            .unwrap()
        })
        .collect();
    for number in 1..=VERSIONS {
        assert_eq!(snapshot.publish(canary(number)), number);
    }
    over.store(true, Ordering::Relaxed);
    assert!(readers.into_iter().all(|reader| reader.join().unwrap() <= VERSIONS));
    assert_eq!(drops.load(Ordering::Relaxed), VERSIONS as usize, "all but the newest");
    drop(snapshot);
    assert_eq!(drops.load(Ordering::Relaxed), VERSIONS as usize + 1);
}

#[test]
fn publishers_may_be_many() {
    let snapshot = Arc::new(Snapshot::new(0));
    let publishers: Vec<_> = (0..3)
        .map(|index| {
            let snapshot = Arc::clone(&snapshot);
            let publish = move || (0..1000).map(|_| snapshot.publish(index)).collect::<Vec<_>>();
            OwnedThread::spawn(&format!("publisher-{index}"), publish).unwrap()
        })
        .collect();
    let mut numbers: Vec<u64> =
        publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=3000));
    assert_eq!(snapshot.latest().version(), 3000);
}

#[test]
fn a_publisher_does_not_wait_for_a_reader() {
    let snapshot = Snapshot::new(0);
    let mut reader = snapshot.reader();
    let guard = reader.read();
    let began = Instant::now();
    for value in 1..=100 {
        snapshot.publish(value);
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(*guard, 0);
    drop(guard);
    assert_eq!(*reader.read(), 100);
}

#[test]
fn a_drop_may_use_the_snapshot() {
    struct Again(Arc<Snapshot<Option<Again>>>);
    impl Drop for Again {
        fn drop(&mut self) {
            // A lock held around this drop would never be had.
            self.0.publish(None);
            drop(self.0.reader());
        }
    }
    let snapshot = Arc::new(Snapshot::new(None));
    let mut reader = snapshot.reader();
    snapshot.publish(Some(Again(Arc::clone(&snapshot))));
    assert_eq!(snapshot.publish(None), 2);
    assert_eq!(snapshot.latest().version(), 3, "dropped by the publisher");
    snapshot.publish(Some(Again(Arc::clone(&snapshot))));
    let guard = reader.read();
    assert_eq!(snapshot.publish(None), 5);
    drop(guard);
    assert_eq!(snapshot.latest().version(), 6, "dropped by the reader");
}

#[test]
fn a_reader_that_panics_leaves() {
    let alive = Alive::default();
    let snapshot = Snapshot::new(Listed::new(0, &alive));
    let mut reader = snapshot.reader();
    let snapshot = std::panic::AssertUnwindSafe(snapshot);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = reader.read();
        snapshot.publish(Listed::new(1, &alive));
        panic!("planted");
    }));
    assert!(ended.is_err());
    assert_eq!(*alive.lock().unwrap(), BTreeSet::from([1]));
    assert_eq!(reader.read().number, 1);
}

#[test]
fn a_guard_that_is_renewed_lets_go() {
    let alive = Alive::default();
    let snapshot = Snapshot::new(Listed::new(0, &alive));
    let (mut reader, mut other) = (snapshot.reader(), snapshot.reader());
    let mut guard = reader.read();
    assert!(!guard.renew());
    let held = other.read();
    for number in 1..=4 {
        snapshot.publish(Listed::new(number, &alive));
        if number % 2 == 0 {
            assert!(guard.renew());
            assert_eq!((guard.version(), guard.number), (number, number));
            assert_eq!(*alive.lock().unwrap(), BTreeSet::from([0, number]));
        }
        assert!(!guard.renew() || number % 2 == 1);
    }
    drop(held);
    assert_eq!(*alive.lock().unwrap(), BTreeSet::from([4]));
}

#[test]
fn a_drop_that_panics_loses_nothing_else() {
    struct Bomb(u64, Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(self.0 != 0, "planted");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let snapshot = Snapshot::new(Bomb(0, Arc::clone(&drops)));
    let mut reader = snapshot.reader();
    let mut guard = reader.read();
    snapshot.publish(Bomb(1, Arc::clone(&drops)));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard.renew())).is_err());
    assert_eq!((guard.version(), guard.0), (1, 1));
    snapshot.publish(Bomb(2, Arc::clone(&drops)));
    drop(guard);
    assert_eq!(reader.read().0, 2);
    drop((reader, snapshot));
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn debug_output_names_the_version_and_counts_readers() {
    let snapshot = Snapshot::new("first");
    snapshot.publish("second");
    let mut reader = snapshot.reader();
    let other = reader.clone();
    assert_eq!(format!("{snapshot:?}"), "Snapshot { version: 1, value: \"second\", readers: 2 }");
    drop(other);
    assert_eq!(format!("{snapshot:?}"), "Snapshot { version: 1, value: \"second\", readers: 1 }");
    assert_eq!(format!("{:?}", reader.read()), "Guard { version: 1, value: \"second\" }");
    assert_eq!(format!("{:?}", snapshot.latest()), "Version { version: 1, value: \"second\" }");
    assert!(format!("{reader:?}").contains("reading: false"));
}

#[test]
fn handles_cross_threads() {
    fn both<T: Send + Sync>() {}
    both::<Snapshot<Vec<f32>>>();
    both::<Reader<Vec<f32>>>();
    both::<Guard<'static, Vec<f32>>>();
    both::<Version<Vec<f32>>>();
}

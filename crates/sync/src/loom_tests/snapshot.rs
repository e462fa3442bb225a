//! Models of the snapshot.
#![expect(unsafe_code, reason = "cells that loom watches for races")]

use super::{ALL, explore};
use crate::{Reader, Snapshot};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// A value that loom watches, which its drop takes away. What is left of each is in the ledger, which outlives all.
struct Value {
    number: u64,
    cell: UnsafeCell<u64>,
    ledger: Arc<Ledger>,
}

/// Drops of each version.
struct Ledger(Vec<UnsafeCell<u64>>);

// SAFETY: loom reports every unsynchronized access, and that is what the models check.
unsafe impl Sync for Value {}
// SAFETY: as above.
unsafe impl Send for Value {}
// SAFETY: as above.
unsafe impl Sync for Ledger {}
// SAFETY: as above.
unsafe impl Send for Ledger {}

impl Value {
    fn new(number: u64, ledger: &Arc<Ledger>) -> Self {
        Self { number, cell: UnsafeCell::new(number), ledger: Arc::clone(ledger) }
    }

    fn get(&self) -> u64 {
        // SAFETY: loom checks that nobody writes it.
        self.cell.with(|cell| unsafe { *cell })
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: loom checks that nobody else is at it.
        self.cell.with_mut(|cell| unsafe { *cell = u64::MAX });
        // SAFETY: as above: one drop.
        self.ledger.0[self.number as usize].with_mut(|drops| unsafe { *drops += 1 });
    }
}

struct Model {
    snapshot: Snapshot<Value>,
    ledger: Arc<Ledger>,
}

impl Model {
    fn new() -> Self {
        let ledger = Arc::new(Ledger((0..3).map(|_| UnsafeCell::new(0)).collect()));
        Self { snapshot: Snapshot::new(Value::new(0, &ledger)), ledger }
    }

    fn publish(&self, number: u64) {
        assert_eq!(self.snapshot.publish(Value::new(number, &self.ledger)), number);
    }

    /// Drops of each version so far; everybody has been joined.
    fn dropped(&self) -> Vec<u64> {
        // SAFETY: loom checks that nobody writes it.
        self.ledger.0.iter().map(|drops| drops.with(|drops| unsafe { *drops })).collect()
    }
}

/// Reads once, in full; returns the version.
fn read(reader: &mut Reader<Value>) -> u64 {
    let guard = reader.read();
    assert_eq!((guard.get(), guard.number), (guard.version(), guard.version()));
    guard.version()
}

/// A reader that clones the `Arc` of the version it reads while a publisher replaces that version and drops its own count:
/// the version is there for as long as the clone, is dropped once, and no reader that is idle keeps it. The class of
/// arc-swap#164, where the clone could be of a version already freed.
///
/// 2 threads, no bound on preemptions: 460 schedules, under 0.1 s. Kills `snapshot_pin_relaxed`, `snapshot_pin_torn`,
/// `snapshot_leave_torn`, `snapshot_moves_active`, `snapshot_post_no_release`, `snapshot_post_torn`,
/// `snapshot_post_idle_kept`.
#[test]
fn loom_snapshot_arc_swap_164() {
    explore("loom_snapshot_arc_swap_164", ALL, || {
        let model = Model::new();
        let mut reader = model.snapshot.reader();
        let reading = thread::spawn(move || {
            let guard = reader.read();
            let kept = guard.keep();
            assert_eq!(guard.get(), guard.version());
            drop(guard);
            let next = read(&mut reader);
            assert!(next >= kept.version());
            assert_eq!(kept.get(), kept.version());
            drop(kept);
            reader
        });
        model.publish(1);
        let reader = reading.join().unwrap();
        assert_eq!(model.dropped(), [1, 0, 0], "an idle reader keeps the newest version only");
        drop(reader);
    });
}

/// Reads while two versions are published: each is whole, none goes back, each version but the newest is dropped once,
/// and pockets are filled again only after the reader's last look.
///
/// 2 threads, no bound on preemptions: 6,044 schedules, 0.2 s. Kills `snapshot_leave_relaxed`, `snapshot_old_blind`,
/// `snapshot_look_relaxed`, `snapshot_post_no_acquire`.
#[test]
fn loom_snapshot_two_versions() {
    explore("loom_snapshot_two_versions", ALL, || {
        let model = Model::new();
        let mut reader = model.snapshot.reader();
        let reading = thread::spawn(move || {
            let first = read(&mut reader);
            let second = read(&mut reader);
            assert!(second >= first);
            reader
        });
        model.publish(1);
        model.publish(2);
        let mut reader = reading.join().unwrap();
        assert_eq!(model.dropped(), [1, 1, 0]);
        assert_eq!(read(&mut reader), 2);
    });
}

/// A read that begins after a publication has returned, as the reader learns by other means, gets it.
///
/// 2 threads, no bound on preemptions: 124 schedules, under 0.1 s. Kills `snapshot_publish_after`.
#[test]
fn loom_snapshot_is_fresh() {
    explore("loom_snapshot_is_fresh", ALL, || {
        let model = Model::new();
        let mut reader = model.snapshot.reader();
        let published = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&published);
        let reading = thread::spawn(move || {
            let was = told.load(Ordering::Acquire);
            (was, read(&mut reader))
        });
        model.publish(1);
        published.store(true, Ordering::Release);
        let (was, version) = reading.join().unwrap();
        assert!(!was || version == 1);
    });
}

/// A reader that stays in and renews its guard leaves each version as it moves on.
///
/// 2 threads, no bound on preemptions: 7,733 schedules, 0.3 s. Kills `snapshot_renew_kept`.
#[test]
fn loom_snapshot_renews() {
    explore("loom_snapshot_renews", ALL, || {
        let model = Model::new();
        let mut reader = model.snapshot.reader();
        let reading = thread::spawn(move || {
            let mut guard = reader.read();
            for _ in 0..2 {
                let before = guard.version();
                let renewed = guard.renew();
                assert_eq!(renewed, guard.version() > before);
                assert_eq!(guard.get(), guard.version());
            }
            drop(guard);
            reader
        });
        model.publish(1);
        model.publish(2);
        let reader = reading.join().unwrap();
        assert_eq!(model.dropped(), [1, 1, 0]);
        drop(reader);
    });
}

/// A reader that joins, and leaves for good, while a version is published: it is on the list or has the new version, and
/// takes what it holds with it.
///
/// 2 threads, no bound on preemptions: 102 schedules, under 0.1 s. Kills `snapshot_join_early`.
#[test]
fn loom_snapshot_readers_come_and_go() {
    explore("loom_snapshot_readers_come_and_go", ALL, || {
        let model = Model::new();
        let snapshot = model.snapshot.reader();
        let going = thread::spawn(move || {
            let mut staying = snapshot.clone();
            drop(snapshot);
            let seen = read(&mut staying);
            (staying, seen)
        });
        model.publish(1);
        let (mut staying, seen) = going.join().unwrap();
        assert!(seen <= 1);
        assert_eq!(read(&mut staying), 1);
        assert_eq!(model.dropped(), [1, 0, 0]);
        drop(staying);
        model.publish(2);
        assert_eq!(model.dropped(), [1, 1, 0]);
    });
}

/// Two readers of one version, which the last of them drops.
///
/// 3 threads, no bound on preemptions: 4,749 schedules, 0.3 s. Kills `snapshot_leave_old`.
#[test]
fn loom_snapshot_last_reader_drops() {
    explore("loom_snapshot_last_reader_drops", ALL, || {
        let model = Model::new();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = model.snapshot.reader();
                thread::spawn(move || {
                    read(&mut reader);
                    reader
                })
            })
            .collect();
        model.publish(1);
        let readers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert_eq!(model.dropped(), [1, 0, 0]);
        drop(readers);
    });
}

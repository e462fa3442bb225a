//! Saving on the side: in order, without loss, with every error brought back.

use std::time::{Duration, Instant};

use selvedge_sync::Semaphore;

use super::super::sim::{Fault, SimStore};
use super::*;

const LONG: Duration = Duration::from_secs(20);

fn small(step: u64) -> SaveRequest {
    let mut request = request(step, step as f32, None);
    request.files.clear();
    request
}

/// A store in which every flush of a folder, of which each save makes some, waits until the permit is free.
#[derive(Debug)]
struct Gated(SimStore, Arc<Semaphore>);

impl Store for Gated {
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_dir(path)
    }
    fn create_file(&self, path: &Path) -> std::io::Result<Box<dyn StoreFile>> {
        self.0.create_file(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        drop(self.1.acquire(1));
        self.0.sync_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.remove_dir(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
        self.0.list(path)
    }
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        assert!(!path.to_string_lossy().contains("step-00000013"), "injected");
        self.0.read(path)
    }
}

fn over(store: impl Store + 'static, deadline: Duration) -> CheckpointWriter {
    CheckpointWriter::start(Checkpoints::with_store("/c", 2, Arc::new(store)).unwrap(), deadline).unwrap()
}

#[test]
fn all_that_was_submitted_is_saved_in_order() {
    let store = SimStore::new();
    let mut writer = over(store.clone(), LONG);
    let mut steps = Vec::new();
    for step in 1..=20 {
        writer.submit(small(step)).unwrap();
        steps.extend(writer.saved().unwrap().iter().map(|saved| saved.step));
    }
    steps.extend(writer.finish().unwrap().iter().map(|saved| saved.step));
    assert!(steps.into_iter().eq(1..=20));
    let newest = Checkpoints::with_store("/c", 2, Arc::new(store)).unwrap().latest_good().unwrap();
    assert_eq!(newest.manifest.state.step, 20);
}

#[test]
fn dropping_it_waits_for_the_pending_saves() {
    let store = SimStore::new();
    let mut writer = over(store.clone(), LONG);
    writer.submit(small(1)).unwrap();
    writer.submit(small(2)).unwrap();
    drop(writer);
    let checkpoints = Checkpoints::with_store("/c", 2, Arc::new(store)).unwrap();
    assert_eq!(checkpoints.list().unwrap().len(), 2);
}

#[test]
fn a_failed_save_comes_back_at_the_next_call_and_the_next_save_works() {
    let store = SimStore::new();
    let mut writer = over(store.fork(Fault::Error(4)), LONG);
    writer.submit(small(1)).unwrap();
    let begin = Instant::now();
    let error = loop {
        match writer.saved() {
            Ok(saved) => assert!(saved.is_empty() && begin.elapsed() < LONG),
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(matches!(&error, Error::Io { op: "write", .. }), "{error}");
    writer.submit(small(2)).unwrap();
    assert_eq!(writer.finish().unwrap().len(), 1);

    let mut writer = over(store.fork(Fault::Error(4)), LONG);
    writer.submit(small(1)).unwrap();
    assert!(matches!(writer.finish(), Err(Error::Io { op: "write", .. })), "an error at the end is not lost");
}

#[test]
fn one_may_wait_and_a_third_is_held_back() {
    let gate = Arc::new(Semaphore::new(1));
    let shut = gate.acquire(1).unwrap();
    let mut writer = over(Gated(SimStore::new(), Arc::clone(&gate)), Duration::from_millis(50));
    writer.submit(small(1)).unwrap();
    // Until the thread has taken the first, the second may have to wait for its place; then it has one.
    while writer.submit(small(2)).is_err() {}
    let begin = Instant::now();
    let error = writer.submit(small(3)).unwrap_err();
    assert!(matches!(error, Error::CheckpointStalled { .. }), "{error}");
    assert!(begin.elapsed() >= Duration::from_millis(50) && begin.elapsed() < LONG);
    drop(shut);
    while writer.submit(small(3)).is_err() {}
    assert_eq!(writer.finish().unwrap().last().unwrap().step, 3);
}

#[test]
fn a_save_that_never_ends_costs_the_deadline() {
    let gate = Arc::new(Semaphore::new(1));
    let shut = gate.acquire(1).unwrap();
    let mut writer = over(Gated(SimStore::new(), Arc::clone(&gate)), Duration::from_millis(50));
    writer.submit(small(1)).unwrap();
    let begin = Instant::now();
    assert!(matches!(writer.finish(), Err(Error::CheckpointStalled { .. })));
    assert!(begin.elapsed() < LONG);
    drop(shut); // lets the thread go
}

#[test]
fn a_panic_of_the_thread_is_an_error_with_its_words() {
    let open = || Arc::new(Semaphore::new(1));
    let mut writer = over(Gated(SimStore::new(), open()), LONG);
    writer.submit(small(13)).unwrap();
    writer.submit(small(14)).unwrap(); // reads the manifest of the one before
    let error = writer.finish().unwrap_err();
    assert!(matches!(&error, Error::CheckpointWriterDied { message } if message == "injected"), "{error}");

    let mut writer = over(Gated(SimStore::new(), open()), LONG);
    writer.submit(small(13)).unwrap();
    let begin = Instant::now();
    let error = loop {
        // The second panics it; a later one finds it gone.
        if let Err(error) = writer.submit(small(14)) {
            break error;
        }
        assert!(begin.elapsed() < LONG);
    };
    assert!(matches!(&error, Error::CheckpointWriterDied { message } if message == "injected"), "{error}");
    assert!(matches!(writer.submit(small(15)), Err(Error::CheckpointWriterDied { .. })));
}

//! Loader threads that panic, stall or are cancelled, in every place: an error in time, and no thread or descriptor left.
//!
//! One test, so that no other test's threads are counted.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_sync::CancelToken;
use selvedge_train::Error;
use selvedge_train::loader::{Fault, Loader, LoaderConfig};
use selvedge_train::tokens::{TokenFile, TokenWriter};

/// What a stall may take before it is reported.
const DEADLINE: Duration = Duration::from_millis(60);
/// What everything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect("a Linux system lists its processes").count()
}

fn config(threads: usize, deadline: Duration, fault: Option<Fault>) -> LoaderConfig {
    LoaderConfig { threads, deadline, fault, ..LoaderConfig::new(2, 4, 3) }
}

/// Takes batches until an error comes; returns it with the number of good batches and the time the error took.
fn until_error(loader: &mut Loader, most: u64) -> (u64, Error, Duration) {
    for good in 0..=most {
        let begin = Instant::now();
        if let Err(error) = loader.next() {
            return (good, error, begin.elapsed());
        }
    }
    panic!("no error in {most} batches");
}

#[test]
fn faults_become_errors_in_time_and_leave_nothing_behind() {
    // The panics below are meant; their reports would bury a real one.
    std::panic::set_hook(Box::new(|_| ()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tokens");
    let mut writer = TokenWriter::create(&path, 256, [0; 32]).unwrap();
    writer.push(&[1; 200], 200).unwrap();
    writer.finish().unwrap();
    let file = Arc::new(TokenFile::open(&path).unwrap());

    let base = (count("/proc/self/task"), count("/proc/self/fd"));
    let back_to_base = |case: &str| {
        assert_eq!((count("/proc/self/task"), count("/proc/self/fd")), base, "threads, descriptors: {case}");
    };

    for threads in [1, 2, 3, 5] {
        for at in 0..7_u64 {
            let case = format!("{threads} threads, batch {at}");

            // A panic: batches before it are whole, then the error, without waiting for the (long) deadline.
            let fault: Fault = Arc::new(move |_, batch| assert!(batch != at, "injected at {batch}"));
            let begin = Instant::now();
            let settings = config(threads, Duration::from_secs(60), Some(fault));
            let mut loader = Loader::start(Arc::clone(&file), settings, &CancelToken::new()).unwrap();
            let (good, error, _) = until_error(&mut loader, at);
            assert_eq!(good, at, "{case}");
            match error {
                Error::LoaderDied { thread, message } => {
                    assert_eq!(thread as u64, at % threads as u64, "{case}");
                    assert_eq!(message, format!("injected at {at}"));
                }
                other => panic!("{case}: {other}"),
            }
            back_to_base(&case); // at the error, not only when the loader goes
            assert!(matches!(loader.next(), Err(Error::LoaderEnded)));
            assert!(begin.elapsed() < PATIENCE, "{case}: {:?}", begin.elapsed());
            drop(loader);

            // A stall that ends when the loader is cancelled: the error comes after the deadline.
            let cancel = CancelToken::new();
            let stall = cancel.clone();
            let fault: Fault = Arc::new(move |_, batch| {
                if batch == at {
                    stall.wait_timeout(Duration::from_secs(600));
                }
            });
            let mut loader =
                Loader::start(Arc::clone(&file), config(threads, DEADLINE, Some(fault)), &cancel).unwrap();
            // The stalled thread waits on the caller's token, which the loader does not cancel: the join within the
            // error would take its whole deadline. Cancelling from a second thread is what Ctrl-C does.
            let canceller = selvedge_sync::OwnedThread::spawn("canceller", {
                let cancel = cancel.clone();
                move || {
                    std::thread::sleep(DEADLINE + DEADLINE / 2);
                    cancel.cancel();
                }
            })
            .unwrap();
            let (good, error, took) = until_error(&mut loader, at);
            assert_eq!(good, at, "{case}");
            match error {
                Error::LoaderStalled { thread, deadline } => {
                    assert_eq!((thread as u64, deadline), (at % threads as u64, DEADLINE), "{case}");
                }
                other => panic!("{case}: {other}"),
            }
            assert!(took >= DEADLINE && took < PATIENCE, "{case}: {took:?}");
            drop(loader);
            canceller.join().unwrap();
            back_to_base(&case);

            // A cancellation while the consumer waits: an error at once.
            let cancel = CancelToken::new();
            let stall = cancel.clone();
            let fault: Fault = Arc::new(move |_, batch| {
                if batch == at {
                    stall.cancel();
                }
            });
            let settings = config(threads, Duration::from_secs(60), Some(fault));
            let mut loader = Loader::start(Arc::clone(&file), settings, &cancel).unwrap();
            // The threads are up to two batches ahead each, and one in the making.
            let (_, error, took) = until_error(&mut loader, at + 3 * threads as u64);
            assert!(matches!(error, Error::Cancelled), "{case}: {error}");
            assert!(took < PATIENCE, "{case}: {took:?}");
            back_to_base(&case);

            // Dropped with full channels and blocked threads, after some batches.
            let mut loader =
                Loader::start(Arc::clone(&file), config(threads, PATIENCE, None), &CancelToken::new())
                    .unwrap();
            for _ in 0..at {
                loader.next().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
            let begin = Instant::now();
            drop(loader);
            assert!(begin.elapsed() < PATIENCE, "{case}: {:?}", begin.elapsed());
            back_to_base(&case);
        }
    }

    // A thread that cannot be woken costs the deadline twice, not for ever, and ends by itself.
    let fault: Fault = Arc::new(|_, _| std::thread::sleep(6 * DEADLINE));
    let begin = Instant::now();
    let mut loader =
        Loader::start(Arc::clone(&file), config(1, DEADLINE, Some(fault)), &CancelToken::new()).unwrap();
    assert!(matches!(loader.next(), Err(Error::LoaderStalled { thread: 0, .. })));
    drop(loader);
    assert!(begin.elapsed() < 5 * DEADLINE, "{:?}", begin.elapsed());
    std::thread::sleep(8 * DEADLINE);
    back_to_base("a thread deaf to cancellation");
}

//! The protocol of the training loader: threads that make batches in turn, one bounded channel each, buffers from one
//! pool, and a consumer that may stop, be cancelled, or lose a thread to a panic.

use super::{choose, explore, tear};
use crate::shim::keep;
use crate::{CancelToken, Joined, OwnedLease, OwnedThread, Pool, Receiver, RecvError, bounded};
use std::time::Duration;

const THREADS: usize = 3;
/// Batches of a channel.
const DEPTH: usize = 1;
/// Batches that the consumer wants.
const WANTED: usize = 7;
const LONG: Duration = Duration::MAX;

/// What goes wrong, and at which batch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The thread whose turn it is panics.
    Panic(usize),
    /// It waits until it is cancelled, as a stalled disk does.
    Stall(usize),
    /// The consumer goes away.
    Leave(usize),
}

type Batch = OwnedLease<Vec<usize>>;

struct Loader {
    channels: Vec<Receiver<Batch>>,
    threads: Vec<OwnedThread<()>>,
}

impl Loader {
    fn start(fault: Fault, cancel: &CancelToken) -> Self {
        let buffers = Pool::new(THREADS * (DEPTH + 1) + 1, Vec::new);
        let (mut channels, mut threads) = (Vec::new(), Vec::new());
        for index in 0..THREADS {
            let (mut sender, receiver) = bounded(DEPTH);
            let (buffers, cancel) = (buffers.clone(), cancel.clone());
            let make = move || {
                for batch in (index..).step_by(THREADS) {
                    match fault {
                        Fault::Panic(at) if at == batch => tear("torn"),
                        Fault::Stall(at) if at == batch => drop(cancel.wait_timeout(LONG)),
                        _ => {}
                    }
                    if cancel.is_cancelled() {
                        return;
                    }
                    let mut buffer = buffers.acquire();
                    buffer.clear();
                    buffer.push(batch);
                    if sender.send(buffer.into_owned()).is_err() {
                        return;
                    }
                }
            };
            channels.push(receiver);
            threads.push(
                OwnedThread::spawn(format!("loader-{index}"), make).expect("a name without zero bytes"),
            );
        }
        Self { channels, threads }
    }

    /// Closes the channels, which ends every thread at its next send, and joins them. Returns who panicked.
    fn end(mut self) -> Vec<usize> {
        if keep!("protocol_loader_joins_first") {
            self.channels.clear();
        }
        let mut panicked = Vec::new();
        for (index, thread) in self.threads.into_iter().enumerate() {
            match thread.join_deadline(LONG) {
                Joined::Finished(()) => {}
                Joined::Panicked(_) => panicked.push(index),
                Joined::StillRunning(thread) => panic!("{} is left behind", thread.name()),
            }
        }
        panicked
    }
}

/// Batches come in order up to the fault, the consumer hears of it, and every thread ends.
#[test]
fn shuttle_loader_ends_whatever_happens() {
    explore("shuttle_loader_ends_whatever_happens", || {
        let at = choose(WANTED);
        let fault = [Fault::None, Fault::Panic(at), Fault::Stall(at), Fault::Leave(at)][choose(4)];
        let cancel = CancelToken::new();
        // Ctrl-C, at any moment: a stalled thread must have it, in the other cases it is left out.
        let canceller = matches!(fault, Fault::Stall(_)).then(|| {
            let cancel = cancel.clone();
            OwnedThread::spawn("canceller", move || cancel.cancel()).unwrap()
        });
        let mut loader = Loader::start(fault, &cancel);
        // The batch that the consumer holds while it asks for the next one.
        let mut current: Option<Batch> = None;
        let mut good = 0;
        let outcome = loop {
            if good == WANTED || fault == Fault::Leave(good) {
                break Ok(());
            }
            drop(current.take());
            match loader.channels[good % THREADS].recv_timeout(LONG) {
                Ok(batch) => {
                    assert_eq!(**current.insert(batch), [good]);
                    good += 1;
                }
                Err(error) => break Err(error),
            }
        };
        match fault {
            Fault::None => assert_eq!((good, outcome), (WANTED, Ok(()))),
            Fault::Leave(_) => assert_eq!((good, outcome), (at, Ok(()))),
            Fault::Panic(_) => assert_eq!((good, outcome), (at, Err(RecvError::Closed))),
            // A cancellation may come long before the stall.
            Fault::Stall(_) => {
                assert!(good <= at && outcome == Err(RecvError::Closed), "{good}, {outcome:?}")
            }
        }
        let panicked = loader.end();
        let expected = if let Fault::Panic(at) = fault { vec![at % THREADS] } else { Vec::new() };
        assert_eq!(panicked, expected);
        assert!(canceller.is_none_or(|canceller| canceller.join().is_ok()));
    });
}

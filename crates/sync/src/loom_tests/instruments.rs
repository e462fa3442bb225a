//! Models of the instruments: what threads write down and others read, and the seats that threads take over.
#![expect(unsafe_code, reason = "a cell that loom watches for races")]

use super::{ALL, explore};
use crate::instruments::place::Place;
use crate::instruments::recorder::{Found, Recorder};
use crate::instruments::seats::{Role, Seats};
use crate::instruments::status::{Board, Doing, Id, Status};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// What a thread says of itself is read as it was said, never half of it.
///
/// 2 threads, no bound on preemptions: 4,610 schedules, 0.1 s. Kills `versioned_unmarked`, `versioned_word_relaxed`,
/// `versioned_publish_relaxed`, `versioned_look_relaxed`, `versioned_read_relaxed`, `versioned_unchecked`.
#[test]
fn loom_instruments_board() {
    explore("loom_instruments_board", ALL, || {
        let board = Arc::new(Board::new());
        let theirs = Arc::clone(&board);
        let said = |number: u64| Status {
            doing: Doing::Waiting,
            object: Id::new(number as usize, 1),
            ..Status::running(number)
        };
        // The reader is the spawned thread, see `loom_watchdog_names`.
        let reader = thread::spawn(move || {
            let Some((beat, status)) = theirs.look() else { return };
            // At first all is zero.
            let whole = if beat == 0 { Id(0) } else { said(7).object };
            assert_eq!((status.object, status.since), (whole, 7 * beat));
        });
        board.say(said(7));
        reader.join().unwrap();
    });
}

/// An event that a reader gets is the one it asked for, also while its place is being written anew.
///
/// 2 threads, at most 2 preemptions: 17,254 schedules, 0.6 s. Kills `recorder_number_unchecked`.
#[test]
fn loom_instruments_recorder() {
    explore("loom_instruments_recorder", 2, || {
        let recorder = Arc::new(Recorder::new(1));
        let theirs = Arc::clone(&recorder);
        let reader = thread::spawn(move || match theirs.read(0) {
            Found::Event(event) => assert_eq!(event, [7; 3]),
            Found::Lost(next) => assert_eq!(next, 1),
            Found::NotYet => {}
        });
        recorder.push(0, [7; 3]);
        recorder.push(1, [8; 3]);
        reader.join().unwrap();
    });
}

/// A thread's figures, written without synchronization of their own.
struct Figures(UnsafeCell<u64>);

// SAFETY: loom reports every unsynchronized access, and that is what the model checks.
unsafe impl Sync for Figures {}
// SAFETY: as above.
unsafe impl Send for Figures {}

fn role() -> Role {
    Role { name: String::from("worker"), spawned: Place { file: "here", line: 1 } }
}

/// Takes a seat, works, and leaves it.
fn work(seats: &Seats<Figures>) {
    let seat = seats.take(&role(), || Figures(UnsafeCell::new(0))).expect("a seat for each");
    let (_, figures) = seats.get(seat).expect("its own seat");
    // SAFETY: loom checks that nobody else is at it.
    figures.0.with_mut(|figure| unsafe { *figure += 1 });
    seats.leave(seat);
}

/// No two threads sit in one seat, and who takes a seat over has all that the one before left there.
///
/// 3 threads, no bound on preemptions: 630 schedules, under 0.1 s. Kills `seats_leave_relaxed`,
/// `seats_take_over_relaxed`, `seats_take_over_torn`.
#[test]
fn loom_instruments_seats() {
    explore("loom_instruments_seats", ALL, || {
        let seats = Arc::new(Seats::new(3));
        work(&seats);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let seats = Arc::clone(&seats);
                thread::spawn(move || work(&seats))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Who sees that a thread has left sees all that it left.
///
/// 2 threads, no bound on preemptions: 35 schedules, under 0.1 s. Kills `seats_look_relaxed`.
#[test]
fn loom_instruments_ledger() {
    explore("loom_instruments_ledger", ALL, || {
        let seats = Arc::new(Seats::new(1));
        let theirs = Arc::clone(&seats);
        let thread = thread::spawn(move || work(&theirs));
        if let Some((role, figures)) = seats.get(0) {
            assert_eq!(role.name, "worker");
            if seats.has_left(0) {
                // SAFETY: loom checks that nobody writes it.
                assert_eq!(figures.0.with(|figure| unsafe { *figure }), 1);
            }
        }
        thread.join().unwrap();
    });
}

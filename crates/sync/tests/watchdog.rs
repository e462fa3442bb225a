//! The watchdog: who is reported, how often, and how soon it lets go.
#![cfg(not(any(loom, shuttle)))]

use selvedge_sync::{StallReport, Watchdog};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_stall_is_reported_once_with_name_and_phase() {
    let (tell, told) = mpsc::channel::<StallReport>();
    let (_watchdog, pulses) = Watchdog::start(DEADLINE, &["idle", "worker"], move |report| {
        tell.send(report.clone()).unwrap();
    })
    .unwrap();
    pulses[1].busy("load");
    pulses[1].busy("step");
    let report = told.recv_timeout(LONG).unwrap();
    assert_eq!((report.who.as_str(), report.phase), ("worker", "step"));
    assert!(report.silent_for > DEADLINE, "{report:?}");
    // The same stall goes on, unreported.
    assert!(told.recv_timeout(4 * DEADLINE).is_err());
    // A new one is a new report.
    pulses[1].busy("load");
    assert_eq!(told.recv_timeout(LONG).unwrap().phase, "load");
    pulses[1].idle();
    assert!(told.recv_timeout(4 * DEADLINE).is_err());
}

#[test]
fn who_beats_is_left_alone() {
    let (tell, told) = mpsc::channel();
    let deadline = Duration::from_millis(500);
    let (watchdog, pulses) =
        Watchdog::start(deadline, &["worker"], move |report| tell.send(report.clone()).unwrap()).unwrap();
    let began = Instant::now();
    while began.elapsed() < 3 * deadline {
        pulses[0].busy("step");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(watchdog);
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn a_panic_in_the_report_does_not_end_the_watch() {
    let (tell, told) = mpsc::channel();
    let (_watchdog, pulses) = Watchdog::start(DEADLINE, &["a", "b"], move |report| {
        tell.send(report.who.clone()).unwrap();
        panic!("in the report");
    })
    .unwrap();
    pulses.iter().for_each(|pulse| pulse.busy("step"));
    let mut who = [told.recv_timeout(LONG).unwrap(), told.recv_timeout(LONG).unwrap()];
    who.sort();
    assert_eq!(who, ["a", "b"]);
}

#[test]
fn more_phases_than_it_can_tell_apart_are_called_other() {
    const ALL: &str = "a phase named by as many letters as its number";
    let names: Vec<&'static str> = (1..=40).map(|length| &ALL[..length]).collect();
    let (tell, told) = mpsc::channel();
    let (_watchdog, pulses) =
        Watchdog::start(DEADLINE, &["worker"], move |report| tell.send(report.phase).unwrap()).unwrap();
    names.iter().for_each(|name| pulses[0].busy(name));
    assert_eq!(told.recv_timeout(LONG), Ok("other"));
    pulses[0].busy(names[30]);
    assert_eq!(told.recv_timeout(LONG), Ok(names[30]));
}

#[test]
fn dropping_does_not_wait_for_the_next_look() {
    let (watchdog, _pulses) = Watchdog::start(Duration::from_secs(3600), &["worker"], |_| {}).unwrap();
    let began = Instant::now();
    drop(watchdog);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

//! Instruments over the public API: who is seen, what is counted, and for whom.
#![cfg(all(feature = "instruments", not(any(loom, shuttle))))]

use selvedge_sync::instruments::{
    Activity, Diagnosis, Doing, Entry, Event, InstrumentSettings, Instruments, Kind, Report, SiteReport,
};
use selvedge_sync::lock::{Mutex, RwLock};
use selvedge_sync::{
    Barrier, CancelToken, Latch, OwnedThread, Pool, Semaphore, Team, Watchdog, bounded, items, phase, resting,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(40);
/// What a wait of [`WAIT`] must come to, in seconds.
const MOST: f64 = 0.03;

fn new() -> Instruments {
    Instruments::new(InstrumentSettings::default())
}

fn number(report: &Report, name: &str) -> usize {
    report.threads.iter().position(|thread| thread.name == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

fn site(report: &Report, kind: Kind, line: u32) -> &SiteReport {
    let is = |one: &&SiteReport| {
        one.site.kind == kind
            && one.site.place.is_some_and(|place| place.file == file!() && place.line == line)
    };
    report.sites.iter().find(is).unwrap_or_else(|| panic!("no {kind:?} at {line}: {report}"))
}

fn events(instruments: &Instruments) -> Vec<Event> {
    let mut events = Vec::new();
    instruments.cursor().drain(|event| events.push(event));
    events
}

/// Runs a region in which both threads take part, and the worker works for [`WAIT`] longer.
fn lopsided(team: &Team) -> u32 {
    let both = std::sync::Barrier::new(2);
    let line = line!() + 1;
    team.parallel(2, |_| {
        both.wait();
        if std::thread::current().name() == Some("selvedge-1") {
            sleep(WAIT);
        }
    });
    line
}

#[test]
fn a_region_is_named_by_its_caller_and_its_waits_by_the_thread_that_ended_them() {
    let instruments = new();
    let main = instruments.enter("main");
    let team = Team::new(2).unwrap();
    let line = lopsided(&team);
    sleep(WAIT);
    lopsided(&team);
    let report = instruments.report();
    let (me, worker) = (number(&report, "main"), number(&report, "selvedge-1"));
    assert!(report.wait_matrix[me][worker] > 2.0 * MOST, "{report}");
    assert!(report.wait_matrix[worker][me] > MOST, "idle between the regions: {report}");
    let region = site(&report, Kind::Region, line);
    assert_eq!((region.held.count(), region.waited.count()), (4, 2), "two threads, two regions, one waits");
    assert!(region.waited.total().as_secs_f64() > 2.0 * MOST);
    assert!(region.waited.max() > WAIT / 2 && region.held.quantile(1.0) > WAIT / 2);

    let all: f64 = report.wait_matrix.iter().flatten().sum();
    assert!((report.divergence() - all / 2.0).abs() < 1e-12 && all > 0.0);
    let text = report.to_string();
    assert!(text.contains("selvedge-1") && text.contains(&format!("region at {}:{line}", file!())), "{text}");
    assert!(text.contains(&format!("D = {:.3} s", report.divergence())), "{text}");

    let events = events(&instruments);
    let computed = |thread| {
        let of = |event: &&Event| event.thread == thread && event.activity == Activity::Compute;
        events.iter().filter(of).map(|event| (event.site, event.length)).collect::<Vec<_>>()
    };
    assert_eq!((computed(me).len(), computed(worker).len()), (2, 2), "{events:?}");
    assert!(computed(worker).iter().all(|(at, length)| *at == region.site && *length > WAIT / 2));
    let waits: Vec<&Event> = events.iter().filter(|event| event.activity == Activity::Wait).collect();
    assert!(waits.iter().any(|event| event.thread == me && event.ended_by == Some(worker)), "{events:?}");
    let ended_within = |event: &&Event| event.start + event.length <= report.age + Duration::from_secs(1);
    assert!(events.iter().all(|event| ended_within(&event)));
    drop((team, main));
    instruments.finish().unwrap();
}

#[test]
fn who_has_not_entered_and_was_not_started_by_one_who_has_is_not_seen() {
    let instruments = new();
    let before = Team::new(2).unwrap();
    {
        let _main = instruments.enter("main");
        before.parallel(2, |_| {});
    }
    let after = Team::new(2).unwrap();
    lopsided(&after);
    let report = instruments.report();
    assert_eq!(report.threads.len(), 1, "{report}");
    assert!(report.threads[0].ended);
    assert!(report.sites.iter().all(|one| one.held.count() <= 1), "{report}");
}

#[test]
fn the_ledger_names_every_thread_with_its_spawn_site_and_finish_those_that_are_left() {
    let instruments = new();
    let main = instruments.enter("main");
    let token = CancelToken::new();
    let theirs = token.child();
    let line = line!() + 1;
    let sleeper = OwnedThread::spawn("sleeper", move || theirs.wait_timeout(Duration::MAX)).unwrap();
    // Threads register themselves, in whatever order they come to run.
    let rests = |entry: &Entry| matches!(entry.whereabouts.doing, Doing::Resting(_));
    let sleeps = || instruments.ledger().get(1).is_some_and(rests);
    while !sleeps() {
        std::thread::yield_now();
    }
    let ended = OwnedThread::spawn("short", || ()).unwrap();
    ended.join().unwrap();
    // Started by a thread that is not registered by hand.
    let heir = OwnedThread::spawn("parent", || OwnedThread::spawn("child", || ()).unwrap().join()).unwrap();
    heir.join().unwrap().unwrap();
    drop(main);
    let ledger = instruments.ledger();
    let names: Vec<&str> = ledger.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["main", "sleeper", "short", "parent", "child"]);
    assert_eq!((ledger[1].spawned.file, ledger[1].spawned.line), (file!(), line));
    assert_eq!(ledger[2].whereabouts.doing, Doing::Ended);

    let left = instruments.finish().unwrap_err();
    assert_eq!(left.left.len(), 1);
    let text = left.to_string();
    assert!(
        text.starts_with(&format!("threads left: sleeper (spawned at {}:{line}), idle: sleep at", file!()))
    );
    token.cancel();
    assert_eq!(sleeper.join(), Ok(true));
    instruments.finish().unwrap();
}

#[test]
fn threads_of_one_name_are_told_apart_and_of_one_role_go_on_in_one_row() {
    let instruments = new();
    let _main = instruments.enter("main");
    let start = || OwnedThread::spawn("worker", || sleep(WAIT)).unwrap();
    let (a, b) = (start(), start());
    a.join().unwrap();
    b.join().unwrap();
    start().join().unwrap();
    let report = instruments.report();
    let names: Vec<&str> = report.threads.iter().map(|thread| thread.name.as_str()).collect();
    assert_eq!(names, ["main", "worker", "worker (2)"]);
    assert!(report.threads[1].lived >= 2 * WAIT && report.threads[1].ended, "{report}");
    // The second of two that sleep side by side has ended when the first is joined.
    let joins = report.wait_matrix[0][1] + report.wait_matrix[0][2];
    assert!(joins > 2.0 * MOST, "{report}");
}

#[test]
fn what_finds_no_room_is_counted() {
    let settings = InstrumentSettings { threads: 1, events: 4, ..InstrumentSettings::default() };
    let instruments = Instruments::new(settings);
    let _main = instruments.enter("main");
    OwnedThread::spawn("one too many", || ()).unwrap().join().unwrap();
    let mut cursor = instruments.cursor();
    // As many names as their lengths: 1 to 40.
    const NAMES: &str = "........................................";
    let names: [&'static str; 40] = std::array::from_fn(|at| &NAMES[..=at]);
    for name in names {
        drop(phase(name));
    }
    let mut kept = 0;
    cursor.drain(|event| {
        assert_eq!(event.activity, Activity::Phase);
        kept += 1;
    });
    let report = instruments.report();
    assert_eq!((report.threads.len(), report.dropped.threads), (1, 1));
    // A wait for the thread that was not seen, if there was one, is an event too.
    assert!(kept == 4 && (36..=38).contains(&cursor.lost()), "{kept}, {}", cursor.lost());

    let settings = InstrumentSettings { sites: 16, ..settings };
    let instruments = Instruments::new(settings);
    let _main = instruments.enter("again");
    names.into_iter().for_each(|name| drop(phase(name)));
    let report = instruments.report();
    assert_eq!((report.dropped.sites, report.sites.len()), (24, 17), "{report}");
    assert_eq!(report.sites.iter().map(|one| one.held.count()).sum::<u64>(), 40);
}

#[test]
fn a_barrier_waits_for_the_party_that_has_not_come_and_says_where_it_is() {
    let instruments = new();
    let main = instruments.enter("main");
    let (_, parties) = Barrier::named(["first", "second", "late"]);
    let (gate, tickets) = Latch::new(1);
    let threads: Vec<_> = parties
        .into_iter()
        .map(|mut party| {
            let gate = gate.clone();
            OwnedThread::spawn(party.name().to_owned(), move || {
                party.wait().unwrap();
                if party.name() == "late" {
                    let _phase = phase("dawdle");
                    gate.wait();
                }
                party.wait().unwrap();
            })
            .unwrap()
        })
        .collect();
    let found = loop {
        let found = instruments.diagnose(WAIT);
        let barrier = |found: &Diagnosis| {
            found.stuck.iter().filter(|stuck| stuck.waits_for.kind == Kind::Barrier).count() == 2
        };
        if let Some(found) = found.filter(barrier) {
            break found;
        }
    };
    drop(tickets);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for stuck in found.stuck.iter().filter(|stuck| stuck.waits_for.kind == Kind::Barrier) {
        let [missing] = &stuck.missing[..] else { panic!("{found}") };
        assert_eq!((missing.name.as_str(), missing.whereabouts.phase), ("late", Some("dawdle")));
    }
    assert!(found.cycles.is_empty(), "{found}");
    let report = instruments.report();
    let late = number(&report, "late");
    for name in ["first", "second"] {
        assert!(report.wait_matrix[number(&report, name)][late] > MOST, "{report}");
    }
    drop(main);
    instruments.finish().unwrap();
}

#[test]
fn threads_that_wait_for_each_other_through_channels_are_named() {
    let instruments = new();
    let main = instruments.enter("main");
    // Each waits for the one before it, all having worked once.
    let (ends, beginnings): (Vec<_>, Vec<_>) = (0..3).map(|_| bounded::<u32>(1)).unzip();
    let mut beginnings = beginnings.into_iter();
    let first = beginnings.next().unwrap();
    let receivers: Vec<_> = beginnings.chain([first]).collect();
    // The senders can be taken away, which lets everybody go.
    let hatches: Vec<_> = ends.into_iter().map(|end| Arc::new(std::sync::Mutex::new(Some(end)))).collect();
    let threads: Vec<_> = hatches
        .iter()
        .cloned()
        .zip(receivers)
        .enumerate()
        .map(|(index, (to, mut from))| {
            OwnedThread::spawn(format!("stage-{index}"), move || {
                to.lock().unwrap().as_mut().unwrap().send(0).unwrap();
                assert_eq!(from.recv_timeout(Duration::from_secs(20)), Ok(0));
                // Nobody sends again before it has received again.
                from.recv_timeout(Duration::from_secs(20)).is_err()
            })
            .unwrap()
        })
        .collect();
    let found = loop {
        let found = instruments.diagnose(WAIT).filter(|found| !found.cycles.is_empty());
        if let Some(found) = found {
            break found;
        }
    };
    hatches.iter().for_each(|hatch| drop(hatch.lock().unwrap().take()));
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    let [cycle] = &found.cycles[..] else { panic!("{found}") };
    let names: BTreeSet<&str> = cycle.links.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["stage-0", "stage-1", "stage-2"].into());
    assert!(!cycle.certain && found.to_string().contains("possible deadlock: "), "{found}");
    drop(main);
}

#[test]
fn locks_permits_and_leases_name_their_holders_and_show_their_order() {
    selvedge_sync::lock_ranks! { Outer, Inner }
    let instruments = new();
    let main = instruments.enter("main");
    let outer = Arc::new(Mutex::<_, Outer>::new(0));
    let inner = Arc::new(RwLock::<_, Inner>::new(0));
    let permits = Arc::new(Semaphore::new(1));
    let pool = Pool::new(1, || 0);
    let (gate, tickets) = Latch::new(1);
    let holding = Arc::new(std::sync::Barrier::new(2));
    let holder = {
        let (outer, inner, permits, pool) = (outer.clone(), inner.clone(), permits.clone(), pool.clone());
        let (gate, holding) = (gate.clone(), Arc::clone(&holding));
        OwnedThread::spawn("holder", move || {
            let (_a, _b) = (outer.lock(), inner.read());
            let (_permit, _lease) = (permits.acquire(1).unwrap(), pool.acquire());
            holding.wait();
            gate.wait();
        })
        .unwrap()
    };
    holding.wait();
    let lock_line = line!() + 1;
    let waiters = [
        OwnedThread::spawn("mutex", move || drop(outer.lock())).unwrap(),
        OwnedThread::spawn("rwlock", move || drop(inner.write())).unwrap(),
        OwnedThread::spawn("semaphore", move || drop(permits.acquire(1).unwrap())).unwrap(),
        OwnedThread::spawn("pool", move || drop(pool.acquire())).unwrap(),
    ];
    let found = loop {
        if let Some(found) = instruments.diagnose(WAIT).filter(|found| found.stuck.len() == 5) {
            break found;
        }
    };
    drop(tickets);
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    holder.join().unwrap();
    for name in ["mutex", "rwlock", "semaphore", "pool"] {
        let stuck = found.stuck.iter().find(|stuck| stuck.name == name).unwrap();
        assert_eq!(
            stuck.spawned.line - lock_line,
            ["mutex", "rwlock", "semaphore", "pool"].iter().position(|other| *other == name).unwrap() as u32
                + 1
        );
        let [missing] = &stuck.missing[..] else { panic!("{name}: {found}") };
        assert_eq!(missing.name, "holder", "{found}");
    }
    let report = instruments.report();
    let holder = number(&report, "holder");
    for name in ["mutex", "rwlock", "semaphore", "pool"] {
        assert!(report.wait_matrix[number(&report, name)][holder] > MOST, "{name}: {report}");
    }
    let kinds: Vec<(Kind, Kind)> =
        report.lock_order.edges.iter().map(|(first, then)| (first.kind, then.kind)).collect();
    assert_eq!((kinds, report.lock_order.cycles.len()), (vec![(Kind::Mutex, Kind::RwLock)], 0));
    let held = |kind| report.sites.iter().find(|one| one.site.kind == kind).unwrap().held.max();
    assert!(held(Kind::Mutex) > WAIT / 2 && held(Kind::RwLock) > WAIT / 2 && held(Kind::Pool) > WAIT / 2);
    drop(main);
    instruments.finish().unwrap();
}

#[test]
fn a_lease_that_was_handed_on_is_no_longer_owed_once_it_is_back() {
    let instruments = new();
    let main = instruments.enter("main");
    let pool = Pool::new(1, || 0);
    let lease = pool.acquire().into_owned();
    let (hold, release) = bounded(1);
    let mut hold = hold;
    let mut release = release;
    let other =
        OwnedThread::spawn("other", move || drop(release.recv_timeout(Duration::from_secs(20)).unwrap()));
    assert!(hold.send(lease).is_ok());
    other.unwrap().join().unwrap();
    // Held by nobody: who waits now in vain waits for a lost wake-up, not for main.
    let again = pool.acquire();
    let waiter = {
        let pool = pool.clone();
        OwnedThread::spawn("waiter", move || pool.acquire_timeout(Duration::from_secs(20)).is_some()).unwrap()
    };
    let found = loop {
        if let Some(found) = instruments.diagnose(WAIT) {
            break found;
        }
    };
    assert_eq!(found.stuck[0].missing.len(), 1, "one lease, one holder: {found}");
    drop(again);
    assert!(waiter.join().unwrap());
    drop(main);
}

/// Spans of one thread lie side by side or within one another; none cuts across another.
fn check_nesting(events: &[Event]) {
    let mut threads: HashMap<usize, Vec<&Event>> = HashMap::new();
    // What is held may outlast what it was taken in.
    let done = events.iter().filter(|event| event.activity != Activity::Hold);
    done.for_each(|event| threads.entry(event.thread).or_default().push(event));
    for mut spans in threads.into_values() {
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.length)));
        let mut open: Vec<Duration> = Vec::new();
        for span in spans {
            let end = span.start + span.length;
            open.retain(|until| *until > span.start);
            assert!(open.iter().all(|until| end <= *until), "{span:?} outlasts what it is in");
            open.push(end);
        }
    }
}

#[test]
fn spans_nest_whatever_tasks_do() {
    let instruments = new();
    let main = instruments.enter("main");
    let team = Team::new(3).unwrap();
    let _outer = phase("outer");
    for round in 0..20 {
        let _ = team.try_parallel(6, |task| {
            let guard = phase("inner");
            team.parallel(2, |_| drop(phase("innermost")));
            drop(resting("nothing"));
            if (round + task) % 5 == 0 {
                // Left open, across the end of the region.
                std::mem::forget(guard);
                assert!(task % 2 == 0, "meant");
            }
        });
    }
    let events = events(&instruments);
    assert!(events.len() > 400, "{}", events.len());
    check_nesting(&events);
    let phases = events.iter().filter(|event| event.activity == Activity::Phase);
    assert!(phases.clone().any(|event| event.site.name == Some("innermost")) && phases.count() > 200);
    drop((team, main));
}

#[test]
fn a_region_that_runs_inline_ends_with_its_tasks_or_with_their_panic() {
    let instruments = new();
    let main = instruments.enter("main");
    let (team, solo) = (Team::new(2).unwrap(), Team::solo());
    let first = line!() + 1;
    solo.parallel(3, |_| {});
    team.parallel(1, |_| {});
    solo.try_parallel(1, |_| panic!("meant")).unwrap_err();
    let thrown = || solo.parallel(1, |_| panic!("meant"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(thrown)).unwrap_err();
    solo.parallel_parts_with(items(&mut [0; 2]), &mut [()], |_, _, ()| {});
    let last = line!() - 1;
    let unequal =
        || solo.parallel_parts_with((items(&mut [0; 2]), items(&mut [0; 3])), &mut [()], |_, _, ()| {});
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(unequal)).unwrap_err();
    let after = instruments.ledger().into_iter().find(|entry| entry.name == "main").unwrap().whereabouts;
    assert!(after.region.is_none(), "a region that never began lasts: {after}");
    let report = instruments.report();
    for line in (first..=last).filter(|line| *line != first + 4) {
        let region = site(&report, Kind::Region, line);
        assert_eq!((region.held.count(), region.waited.count()), (1, 0), "line {line}: {report}");
    }
    let regions = events(&instruments).into_iter().filter(|event| event.activity == Activity::Compute);
    assert_eq!(regions.count(), 5);
    drop((team, main));
}

#[test]
fn a_pulses_phases_are_phases_of_the_thread() {
    let instruments = new();
    let _main = instruments.enter("main");
    let (watchdog, pulses) = Watchdog::start(Duration::from_secs(3600), &["main"], |_| {}).unwrap();
    pulses[0].busy("load");
    pulses[0].busy("step");
    assert!(
        instruments.ledger()[0].to_owned().whereabouts.to_string().starts_with("running in phase \"step\"")
    );
    pulses[0].idle();
    drop(watchdog);
    let names: Vec<_> = events(&instruments)
        .iter()
        .filter(|event| event.activity == Activity::Phase)
        .map(|event| event.site.name.unwrap())
        .collect();
    assert_eq!(names, ["load", "step"]);
    let threads: Vec<String> = instruments.ledger().into_iter().map(|entry| entry.name).collect();
    assert_eq!(threads, ["main", "selvedge-watch"]);
}

#[test]
fn a_thread_that_does_not_end_is_named_to_its_joiner_with_its_phase() {
    let instruments = new();
    let (tell, told) = std::sync::mpsc::channel();
    let main = instruments.enter("main");
    let watch = instruments.watch(WAIT, move |found| tell.send(found.clone()).unwrap()).unwrap();
    let (latch, tickets) = Latch::new(1);
    let line = line!() + 1;
    let stuck = OwnedThread::spawn("stuck", move || {
        let _phase = phase("dig");
        latch.wait();
    })
    .unwrap();
    let hatch = std::thread::spawn(move || {
        // At first only the other may have waited for too long.
        let found = loop {
            let found = told.recv_timeout(Duration::from_secs(20)).unwrap();
            if found.stuck.iter().any(|one| one.name == "main") {
                break found;
            }
        };
        drop(tickets);
        (found, told)
    });
    stuck.join().unwrap();
    let (found, told) = hatch.join().unwrap();
    let joiner = found.stuck.iter().find(|one| one.name == "main").expect("main waits");
    assert_eq!(joiner.waits_for.kind, Kind::Thread);
    let [missing] = &joiner.missing[..] else { panic!("{found}") };
    assert_eq!((missing.name.as_str(), missing.spawned.line), ("stuck", line));
    assert!(matches!(missing.whereabouts.doing, Doing::Waiting(site) if site.kind == Kind::Latch), "{found}");
    assert_eq!(missing.whereabouts.phase, Some("dig"));
    assert!(joiner.waited > WAIT && found.cycles.is_empty() && found.deadline == WAIT);
    let text = found.to_string();
    assert!(text.contains("missing: stuck (spawned at crates/sync/tests/instruments.rs:"), "{text}");
    assert!(text.contains("waiting for latch at") && text.contains("in phase \"dig\""), "{text}");
    // Said once.
    drop(watch);
    assert!(told.try_iter().count() <= 1, "each wait is reported once");
    drop(main);
    instruments.finish().unwrap();
}

#[test]
fn nothing_is_stuck_that_only_rests() {
    let instruments = new();
    let _main = instruments.enter("main");
    let team = Team::new(3).unwrap();
    let _watch = instruments.watch(Duration::from_secs(3600), |_| {}).unwrap();
    sleep(WAIT);
    let report = instruments.report();
    let watch = number(&report, "selvedge-waits");
    assert!(report.threads[watch].rested > WAIT / 2, "a rest counts before its end: {report}");
    let _resting = resting("input");
    let before = instruments.report().threads[0].waited;
    OwnedThread::spawn("short", || sleep(WAIT)).unwrap().join().unwrap();
    let report = instruments.report();
    assert_eq!(report.threads[0].waited, before, "a wait within a rest is rest");
    assert!(report.threads[0].rested > WAIT / 2, "{report}");
    assert_eq!(instruments.diagnose(Duration::ZERO), None);
    drop(team);
}

#[test]
fn a_report_can_be_made_at_any_time() {
    let instruments = new();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (theirs, seen) = (Arc::clone(&stop), instruments.clone());
    let reader = std::thread::spawn(move || {
        let mut cursor = seen.cursor();
        let (mut reports, mut events) = (0, Vec::new());
        let mut goes_on = true;
        while goes_on {
            goes_on = !theirs.load(std::sync::atomic::Ordering::Relaxed);
            let report = seen.report();
            assert!(report.wait_matrix.iter().all(|row| row.len() == report.threads.len()));
            let _ = seen.diagnose(Duration::ZERO);
            cursor.drain(|event| events.push(event));
            reports += 1;
        }
        (reports, events, cursor.lost())
    });
    {
        let _main = instruments.enter("main");
        let team = Team::new(4).unwrap();
        (0..2000).for_each(|_| team.parallel(8, |_| std::hint::spin_loop()));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (reports, events, lost) = reader.join().unwrap();
    assert!(reports > 0 && events.len() as u64 + lost > 2000, "{reports} {} {lost}", events.len());
    if lost == 0 {
        check_nesting(&events);
    }
    instruments.finish().unwrap();
}

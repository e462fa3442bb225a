//! `kill -9` at any moment, and resuming on other threads: the unbroken run's bits, nothing lost, nothing twice.

use std::time::{Duration, Instant};

use crate::support::{Home, Running, next};

/// Long enough for several kills, with checkpoints large enough for kills to fall inside.
const MODEL: &str = "--layers 2 --channels 64 --heads 2 --context 32 --vocab 300 --batch 4 --steps 60";
/// What may differ between the parts of a run.
///
/// The third is slow: a run must not be left to it.
const RESOURCES: [&str; 4] = [
    "--threads 1 --workers 1",
    "--threads 3 --workers 2 --microbatch 1",
    "--threads 2 --workers 4 --isa scalar",
    "--threads 4 --workers 1 --recompute",
];

fn unbroken(home: &Home) -> (String, String) {
    let line = format!("train --data text.rs {MODEL} --eval-windows 4 --save-every 2 --out unbroken");
    let digest = home.run(&line).success().digest();
    (digest, losses(home, "unbroken"))
}

/// Step, loss and norm of every line of a run's steps; times differ.
fn losses(home: &Home, run: &str) -> String {
    let steps = home.read(&format!("{run}/steps.csv"));
    let cells = |line: &str| line.split(',').take(4).collect::<Vec<_>>().join(",") + "\n";
    steps.lines().map(cells).collect()
}

/// Starts the run, or goes on with it if there is one.
fn go_on(home: &Home, part: usize) -> Running {
    let resources = RESOURCES[part % RESOURCES.len()];
    let rest = format!("--eval-windows 4 --save-every 2 --out broken {resources}");
    if home.path("broken/run.json").exists() {
        home.start(&format!("train --resume {rest}"))
    } else {
        home.start(&format!("train --data text.rs {MODEL} {rest}"))
    }
}

fn unfinished_checkpoint(home: &Home) -> bool {
    home.names("broken/checkpoints").iter().any(|name| name.starts_with(".tmp-step-"))
}

/// After all the kills: the same end, every step and evaluation once.
#[track_caller]
fn compare(home: &Home, digest: &str, unbroken: &(String, String)) {
    assert_eq!(digest, unbroken.0);
    assert_eq!(home.digest("broken"), unbroken.0);
    assert_eq!(home.column("broken/steps.csv"), (1..=60).collect::<Vec<_>>());
    assert_eq!(losses(home, "broken"), unbroken.1);
    assert_eq!(home.read("broken/evaluations.csv"), home.read("unbroken/evaluations.csv"));
    let leftover = |folder: &str| home.names(folder).into_iter().find(|name| name.starts_with('.'));
    assert_eq!(leftover("broken/checkpoints"), None);
}

#[test]
fn kills_at_random_moments_change_no_bit() {
    let home = Home::new();
    let want = unbroken(&home);
    for seed in 1..=2 {
        let mut state = seed;
        let mut kills = 0;
        let _ = std::fs::remove_dir_all(home.path("broken"));
        let digest = 'run: loop {
            let mut running = go_on(&home, kills);
            let moment = Instant::now() + Duration::from_millis(next(&mut state) % 160);
            // After so many kills the run is left in peace.
            while kills >= 9 || Instant::now() < moment {
                if !running.is_running() {
                    break 'run running.end().success().digest();
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            kills += usize::from(running.kill());
        };
        assert!(kills >= 3, "only {kills} kills: the run is too short for this test");
        compare(&home, &digest, &want);
    }
}

#[test]
fn kills_inside_the_write_of_a_checkpoint_change_no_bit() {
    let home = Home::new();
    let want = unbroken(&home);
    let mut state = 7;
    let (mut kills, mut inside) = (0, 0);
    let digest = loop {
        let mut running = go_on(&home, kills);
        if inside >= 4 || kills >= 20 {
            break running.end().success().digest();
        }
        // Not always the first write after a resume: that one replaces what the kill before left.
        let mut skip = next(&mut state) % 3;
        let mut was = true;
        let found = running.until(|_| {
            let is = unfinished_checkpoint(&home);
            let begins = is && !was;
            was = is;
            skip -= u64::from(begins && skip > 0);
            begins && skip == 0
        });
        if !found {
            break running.end().success().digest();
        }
        kills += usize::from(running.kill());
        inside += usize::from(unfinished_checkpoint(&home));
    };
    assert!(inside >= 1, "none of {kills} kills fell inside a write");
    compare(&home, &digest, &want);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_again() {
    let home = Home::new();
    let want = unbroken(&home);
    let out = "--eval-windows 4 --eval-every 60 --out broken";
    let mut running = home.start(&format!("train --data text.rs {MODEL} {out} --threads 1"));
    let steps = |home: &Home| std::fs::read_to_string(home.path("broken/steps.csv")).unwrap_or_default();
    assert!(running.until(|_| steps(&home).lines().count() > 3));
    assert!(running.kill());
    assert_eq!(home.names("broken/checkpoints").len(), 0);
    let ended = home.run("train --resume --eval-windows 4 --out broken --threads 3").success();
    compare(&home, &ended.digest(), &want);
}

#[test]
fn a_run_killed_in_preparation_can_be_begun_again_in_the_same_place() {
    let home = Home::new();
    std::fs::write(home.path("large.rs"), crate::support::text(20_000_000, 5)).unwrap();
    let line = "train --data large.rs --layers 1 --channels 32 --heads 2 --context 32 --vocab 1000 --steps 2 --out run";
    let temporary = |home: &Home| {
        home.names("run").iter().any(|name| name.starts_with(".train.tokens.") && name.ends_with(".tmp"))
    };
    let mut running = home.start(line);
    assert!(running.until(|_| temporary(&home)));
    assert!(running.kill());
    assert!(temporary(&home), "the kill came too late");
    assert!(!home.path("run/run.json").exists());
    home.run("train --resume --out run").refused(&["run", "without --resume"]);
    home.run(line).success();
    assert!(!temporary(&home));
}

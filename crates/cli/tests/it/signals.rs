//! Ctrl-C and its kin: once finishes the step and saves, twice ends at once.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Ended, Home, Running, text};

const INTERRUPTED: Option<i32> = Some(130);

/// The end, which must come within a few seconds.
#[track_caller]
fn ends_soon(running: Running) -> Ended {
    let start = Instant::now();
    let ended = running.end();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    ended
}

/// A signal amid training saves the step just done; the resumed run ends as the unbroken one.
#[track_caller]
fn stop_and_resume(signal: &str) {
    let home = Home::new();
    let rest = "--steps 200 --eval-every 100";
    let want = home.train(&format!("{rest} --out unbroken")).success().digest();
    let mut running = home.start_train(&format!("{rest} --out run --threads 2 --sample impl"));
    let steps = || fs::read_to_string(home.path("run/steps.csv")).unwrap_or_default().lines().count();
    assert!(running.until(|_| steps() > 4));
    running.signal(signal);
    let ended = ends_soon(running);
    assert_eq!(ended.code(), INTERRUPTED, "{ended:#?}");
    let last = ended.stderr.lines().last().unwrap();
    assert_eq!(last, "stopped; go on with: selvedge train --resume --out run");
    assert!(ended.stdout.is_empty(), "{ended:#?}");

    let done = *home.column("run/steps.csv").last().unwrap();
    assert!(done < 200);
    assert_eq!(home.names("run/checkpoints").last().unwrap(), &format!("step-{done:08}"));
    // As the message says, word by word.
    let resume = last.split_once("selvedge ").unwrap().1;
    let ended =
        home.run(&format!("{resume} --eval-every 100 --eval-windows 4 --threads 3 --workers 3")).success();
    assert!(ended.stderr.contains(&format!("resumed from run/checkpoints/step-{done:08}")), "{ended:#?}");
    assert_eq!(ended.digest(), want);
    assert_eq!(home.column("run/steps.csv"), (1..=200).collect::<Vec<_>>());
}

#[test]
fn one_interrupt_finishes_the_step_saves_and_says_how_to_go_on() {
    stop_and_resume("INT");
}

#[test]
fn one_termination_does_the_same() {
    stop_and_resume("TERM");
}

#[test]
fn two_interrupts_end_at_once() {
    let home = Home::new();
    // A step takes many seconds, so that waiting for its end and not waiting can be told apart.
    let line = "train --data text.rs --layers 6 --channels 384 --heads 6 --context 512 --vocab 300 --batch 16 --isa scalar --threads 1 --out run";
    let mut running = home.start(line);
    assert!(running.until(|running| running.said().contains("memory:")));
    std::thread::sleep(Duration::from_millis(200));
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.is_running(), "the first one waits for the step");
    running.signal("INT");
    let start = Instant::now();
    let ended = running.end();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(ended.code(), INTERRUPTED);
    assert_eq!(home.column("run/steps.csv"), [0_u64; 0], "no step was finished");
}

#[test]
fn an_interrupt_in_preparation_leaves_nothing() {
    let home = Home::new();
    fs::create_dir(home.path("src")).unwrap();
    for i in 0..1500 {
        fs::write(home.path(&format!("src/{i}.rs")), text(14_000, 1000 + i)).unwrap();
    }
    let line =
        "train --data src --layers 1 --channels 32 --heads 2 --context 32 --vocab 1000 --steps 2 --threads 1";
    let tokenizing = || home.names("run").iter().any(|name| name.contains("train.tokens"));
    for (signal, at) in [("INT", "the folder"), ("INT", "tokenizing"), ("TERM", "tokenizing")] {
        let mut running = home.start(&format!("{line} --out run"));
        assert!(running.until(|_| if at == "tokenizing" { tokenizing() } else { home.path("run").exists() }));
        running.signal(signal);
        let ended = ends_soon(running);
        assert_eq!(ended.code(), INTERRUPTED, "{ended:#?}");
        assert!(!ended.stderr.contains("memory:"), "the signal came too late: {ended:#?}");
        assert!(!home.path("run").exists(), "{:?}", home.names("run"));
    }
    home.run(&format!("{line} --out run")).success();
}

#[test]
fn an_interrupt_ends_a_measurement_with_what_was_found_so_far() {
    let home = Home::new();
    home.train("--steps 5 --out run").success();
    let mut running = home.start("eval run --text text.rs --context 8 --threads 1 --isa scalar");
    assert!(running.until(|running| running.said().contains("chunk 2/")));
    running.signal("INT");
    let ended = ends_soon(running);
    assert_eq!(ended.code(), INTERRUPTED, "{ended:#?}");
    assert!(
        ended.stderr.contains("interrupted after") && ended.stdout.starts_with("perplexity"),
        "{ended:#?}"
    );
}

#[test]
fn an_interrupt_ends_generation_with_the_text_so_far() {
    let home = Home::new();
    home.train("--steps 5 --out run").success();
    // The likeliest tokens, far more than there is time for, of a model that has not learned to end a text.
    let mut running = home.start("generate fn --run run --tokens 1000000000 --temperature 0");
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.is_running());
    running.signal("INT");
    let ended = ends_soon(running);
    assert_eq!(ended.code(), INTERRUPTED, "{ended:#?}");
    assert!(ended.stdout.starts_with("fn") && ended.stdout.ends_with('\n'), "{ended:#?}");
}

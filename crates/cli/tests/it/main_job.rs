//! The main job: text in, a run folder out, and a model that evaluates and writes.

use std::fs;

use crate::support::{Home, TINY, text};

/// A run folder is whole, and every command works on it.
#[track_caller]
fn check_run(home: &Home, run: &str, printed: &str) {
    assert_eq!(
        home.names(run),
        [
            "checkpoints",
            "evaluations.csv",
            "loss.svg",
            "run.json",
            "samples.txt",
            "steps.csv",
            "tokenizer.json",
            "train.tokens",
            "valid.tokens"
        ]
    );
    assert_eq!(home.column(&format!("{run}/steps.csv")), (1..=30).collect::<Vec<_>>());
    assert_eq!(home.column(&format!("{run}/evaluations.csv")), (1..=10).map(|i| i * 3).collect::<Vec<_>>());
    let evaluations = home.read(&format!("{run}/evaluations.csv"));
    let cell = |line: &str, at: usize| line.split(',').nth(at).unwrap().parse::<f64>().unwrap();
    let found: Vec<&str> = evaluations.lines().skip(1).collect();
    for pair in found.windows(2) {
        assert!(cell(pair[1], 2) < cell(pair[0], 2), "bits per byte must fall: {evaluations}");
    }
    assert!(found.iter().all(|line| cell(line, 5) == 0.0), "divergence: {evaluations}");
    let checkpoints = home.names(&format!("{run}/checkpoints"));
    // Saving a step again gives it another name.
    let steps: Vec<&str> = checkpoints.iter().map(|name| &name[..13]).collect();
    assert_eq!(steps, ["step-00000027", "step-00000030"]);
    assert!(home.read(&format!("{run}/loss.svg")).starts_with("<svg"));
    assert!(home.read(&format!("{run}/samples.txt")).contains("--- sample 3 ---"));

    assert_eq!(home.digest(run), printed);
    assert_eq!(home.digest(&format!("{run}/checkpoints/{}", checkpoints[1])), printed);
    assert_ne!(home.digest(&format!("{run}/checkpoints/{}", checkpoints[0])), printed);
    let shown = home.run(&format!("inspect {run}")).success().stdout;
    assert!(shown.contains(printed) && shown.contains("step 30, row 120"), "{shown}");
    assert!(shown.contains("token_embedding"), "{shown}");

    // What evaluation prints over the windows of the last evaluation is what training found.
    let last = found.last().unwrap();
    let shown = home.run(&format!("eval {run} --windows 4 --threads 3")).success().stdout;
    assert!(
        shown.starts_with(&format!("{:.4} bits/byte, loss {:.4} ", cell(last, 2), cell(last, 1))),
        "{shown}"
    );

    let written = home.run(&format!("generate fn --run {run} --tokens 40")).success().stdout;
    assert!(written.starts_with("fn") && written.len() > 10, "{written}");
    let again = home.run(&format!("generate fn --run {run} --tokens 40 --threads 3 --isa scalar"));
    assert_eq!(again.success().stdout, written, "the same text on other threads");
}

#[test]
fn a_file_becomes_a_run() {
    let home = Home::new();
    let ended = home.train("--steps 30 --out run").success();
    check_run(&home, "run", &ended.digest());
}

#[test]
fn a_folder_becomes_a_run_in_the_next_free_place_and_is_found_there() {
    let home = Home::new();
    fs::create_dir_all(home.path("src/deep")).unwrap();
    for i in 0..8 {
        fs::write(home.path(&format!("src/deep/{i}.txt")), text(12_000, i)).unwrap();
    }
    fs::write(home.path("src/noise.bin"), [0, 1, 255, 0]).unwrap();
    for run in ["runs/run-0001", "runs/run-0002"] {
        let ended = home.run(&format!("train --data src {TINY} --steps 30")).success();
        check_run(&home, run, &ended.digest());
        assert_eq!(home.run("inspect --digest").success().stdout.trim_end(), ended.digest());
    }
}

#[test]
fn a_finished_run_can_be_resumed_to_no_effect_or_prolonged() {
    let home = Home::new();
    let ended = home.train("--steps 30 --out run").success();
    let again = home.run("train --resume --out run --eval-windows 4").success();
    assert_eq!(again.digest(), ended.digest());
    check_run(&home, "run", &ended.digest());
    home.run("train --resume --out run --eval-windows 4 --steps 33").success();
    assert_eq!(home.column("run/steps.csv"), (1..=33).collect::<Vec<_>>());
}

#[test]
fn a_run_in_bf16_is_one_result_and_goes_on_in_bf16() {
    let home = Home::new();
    let train = |rest: &str| home.train(&format!("--schedule constant --warmup 0 {rest}")).success().digest();
    let one = train("--steps 12 --dtype bf16 --threads 1 --out one");
    assert_eq!(one, train("--steps 12 --dtype bf16 --threads 2 --workers 2 --out two"));
    assert_ne!(one, train("--steps 12 --out plain"));
    // What was asked for once need not be said again: neither to resume, nor to generate, nor to evaluate.
    train("--steps 6 --dtype bf16 --out cut");
    assert_eq!(one, home.run("train --resume --out cut --eval-windows 4 --steps 12").success().digest());
    let generate =
        |run: &str| home.run(&format!("generate fn --run {run} --tokens 8 --temperature 0")).success().stdout;
    assert_eq!(generate("one"), generate("two"));
    let rounded = |more: &str| {
        let line = format!("generate fn --run one --tokens 8 --temperature 0 --weights q8_0 {more}");
        home.run(&line).success().stdout
    };
    assert_eq!(rounded("--threads 1"), rounded("--threads 3 --isa scalar"));
    let eval = |run: &str| home.run(&format!("eval {run} --threads 1")).success().stdout;
    assert_eq!(eval("one").lines().last(), eval("two").lines().last());
}

#[test]
fn both_wirings_and_every_schedule_train() {
    let home = Home::new();
    let mut digests = Vec::new();
    for arch in ["llama --kv-heads 1", "gpt2 --untied"] {
        for schedule in ["cosine", "wsd", "constant"] {
            let out = format!("run-{}", digests.len());
            let ended = home.train(&format!("--steps 10 --arch {arch} --schedule {schedule} --out {out}"));
            digests.push(ended.success().digest());
        }
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}

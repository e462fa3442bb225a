//! Run folders that were damaged or changed since: refused, or passed over where an older checkpoint is whole.

use std::fs;
use std::path::Path;

use crate::support::{Home, next};

/// A run of 12 steps with checkpoints at 4, 8 and 12.
fn home_with_run() -> Home {
    let home = Home::new();
    home.train("--steps 12 --eval-every 4 --keep 3 --out run").success();
    assert_eq!(home.names("run/checkpoints"), ["step-00000004", "step-00000008", "step-00000012"]);
    home
}

/// Changes one bit of a byte.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, by: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

/// Replaces the one place where `from` stands in a file.
#[track_caller]
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn damaged_token_files() {
    let home = home_with_run();
    for (name, line) in [
        ("train.tokens", "train --resume --out run --steps 16"),
        ("valid.tokens", "train --resume --out run --steps 16"),
        ("valid.tokens", "eval run"),
    ] {
        let path = home.path("run").join(name);
        let whole = fs::read(&path).unwrap();
        let place = format!("run/{name}");
        for cut_by in [1, 1000, whole.len() as u64 - 64, whole.len() as u64] {
            cut(&path, cut_by);
            home.run(line).refused(&[&place, "tokenize the text again"]);
            fs::write(&path, &whole).unwrap();
        }
        for at in [0, 9, 20, 60, 110, 128, whole.len() - 1] {
            flip(&path, at);
            home.run(line).refused(&[&place]);
            fs::write(&path, &whole).unwrap();
        }
        fs::remove_file(&path).unwrap();
        home.run(line).refused(&[&place, "check the path"]);
        fs::write(&path, &whole).unwrap();
    }
    home.run("train --resume --out run --steps 16").success();
}

#[test]
fn a_changed_tokenizer() {
    let home = home_with_run();
    let path = home.path("run/tokenizer.json");
    let whole = fs::read(&path).unwrap();
    let text = home.run("generate fn --run run --tokens 10").success().stdout;
    let mut state = 3;
    let mut refused = 0;
    for _ in 0..12 {
        flip(&path, next(&mut state) as usize);
        let ended = home.run("generate fn --run run --tokens 10");
        if ended.code() == Some(0) {
            // A bit that says nothing, as in a space between two words of JSON.
            assert_eq!(ended.stdout, text);
        } else {
            ended.refused(&["run/tokenizer.json"]);
            refused += 1;
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(refused > 3, "{refused}");
    fs::write(&path, b"{").unwrap();
    for line in ["train --resume --out run", "eval run", "generate fn --run run"] {
        home.run(line).refused(&["run/tokenizer.json"]);
    }
}

#[test]
fn the_newest_checkpoint_damaged_falls_back_to_the_one_before() {
    let home = home_with_run();
    let want = home.digest("run");
    let before = home.digest("run/checkpoints/step-00000008");
    let newest = home.path("run/checkpoints/step-00000012");
    let parameters = newest.join("parameters.safetensors");
    let whole = fs::read(&parameters).unwrap();
    flip(&parameters, whole.len() / 2);
    assert_eq!(home.digest("run"), before);
    let shown = home.run("inspect run").success().stdout;
    assert!(shown.contains("damaged") && shown.contains("step-00000012"), "{shown}");
    home.run("inspect run/checkpoints/step-00000012 --digest")
        .refused(&["step-00000012/parameters.safetensors is damaged", "use another checkpoint"]);
    let ended = home.run("train --resume --out run --eval-every 4").success();
    assert!(ended.stderr.contains("passed over a checkpoint: run/checkpoints/step-00000012"), "{ended:#?}");
    assert!(ended.stderr.contains("resumed from run/checkpoints/step-00000008"), "{ended:#?}");
    assert_eq!(ended.digest(), want);
    assert_eq!(home.digest("run"), want);
    assert_eq!(home.column("run/steps.csv"), (1..=12).collect::<Vec<_>>());
    assert_eq!(home.column("run/evaluations.csv"), [4, 8, 12]);
}

#[test]
fn all_checkpoints_damaged() {
    // In a way in which the manifest can be read, and in a way in which it cannot.
    for file in ["optimizer.safetensors", "manifest.json"] {
        let home = home_with_run();
        for name in home.names("run/checkpoints") {
            cut(&home.path("run/checkpoints").join(name).join(file), 7);
        }
        for line in ["train --resume --out run", "eval run", "generate fn --run run", "inspect run"] {
            home.run(line).refused(&["no whole checkpoint in run/checkpoints", "begin a new run"]);
        }
        assert_eq!(home.names("run/checkpoints").len(), 3);
        assert_eq!(home.column("run/steps.csv").len(), 12, "figures must stay as they were");
    }
}

#[test]
fn a_checkpoint_of_another_shape_or_recipe() {
    let home = home_with_run();
    let path = home.path("run/run.json");
    let whole = fs::read(&path).unwrap();
    let cases: [(&str, &str, &[&str]); 6] = [
        ("\"layers\": 2", "\"layers\": 3", &["train", "generate", "eval"]),
        ("\"channels\": 32", "\"channels\": 64", &["train", "generate", "eval"]),
        ("\"vocab\": 300", "\"vocab\": 290", &["train", "generate", "eval"]),
        ("\"tied\": true", "\"tied\": false", &["train", "generate", "eval"]),
        ("\"seed\": 1", "\"seed\": 2", &["train", "eval"]),
        ("\"clip\": 1.0", "\"clip\": 2.0", &["train", "eval"]),
    ];
    for (from, to, commands) in cases {
        edit(&path, from, to);
        for command in commands {
            let line = match *command {
                "train" => "train --resume --out run --steps 16",
                "generate" => "generate fn --run run",
                _ => "eval run",
            };
            home.run(line).refused(&["run/"]);
        }
        fs::write(&path, &whole).unwrap();
    }
    for (from, to, part) in [
        ("\"layers\": 2", "\"layers\": 0", "layers"),
        ("\"version\": 1", "\"version\": 99", "version 99"),
        ("\"batch\": 4", "\"batch\": 0", "batch"),
        ("\"heads\": 2", "\"heads\": \"two\"", "damaged"),
    ] {
        let text = String::from_utf8(whole.clone()).unwrap();
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        home.run("train --resume --out run").refused(&["run/run.json", part]);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    home.run("eval run").refused(&["run/run.json", "damaged"]);
    fs::write(&path, &whole).unwrap();
    home.run("train --resume --out run --steps 16").success();

    // Before the first checkpoint nothing but the tokenizer gives the vocabulary away.
    fs::remove_dir_all(home.path("run/checkpoints")).unwrap();
    edit(&path, "\"vocab\": 300", "\"vocab\": 290");
    home.run("train --resume --out run").refused(&["run/run.json has a model with a vocabulary of 290"]);
}

#[test]
fn resuming_with_other_settings() {
    let home = home_with_run();
    for (setting, part) in [
        ("--batch 8", "--batch 8 differs from the run's 4"),
        ("--seed 5", "--seed 5 differs"),
        ("--layers 4", "--layers 4 differs"),
        ("--arch gpt2", "--arch gpt2 differs from the run's llama"),
        ("--schedule wsd", "--schedule wsd differs from the run's cosine"),
        ("--untied", "--untied true differs"),
        ("--dtype bf16", "--dtype bf16 differs from the run's f32"),
        ("--lr 0.5", "--lr 0.5 differs"),
        ("--data text.rs", "--data has no part"),
        ("--workers 5", "workers is 5"),
        ("--keep 0", "keep is 0"),
    ] {
        home.run(&format!("train --resume --out run {setting}")).refused(&[part]);
    }
    let ended = home.run("train --resume --out run --batch 4 --arch llama --schedule cosine --seed 1");
    ended.success();
}

#[test]
fn numbers_that_leave_the_range_of_floats() {
    let home = Home::new();
    let ended = home.train("--steps 60 --lr 1000 --clip 0 --warmup 1 --save-every 1 --keep 3 --out run");
    ended.refused(&["is not finite, first in ", "lower learning rate or stronger clipping"]);
    // What was saved before is whole and finite.
    let done = *home.column("run/steps.csv").last().unwrap();
    let shown = home.run("inspect run").success().stdout;
    assert!(shown.contains(&format!(": step {done}, row")), "{shown}");
    assert!(!shown.contains("NaN") && !shown.contains("inf"), "{shown}");
}

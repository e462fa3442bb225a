//! A process killed in the middle of saving, at any moment: what it had said was saved is there, whole.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use selvedge_train::checkpoint::{Checkpoints, ManifestData, NamedTensor, SaveRequest, latest_good};
use selvedge_train::order::Order;

/// Names the folder to the child process, which is this test program again.
const FOLDER: &str = "SELVEDGE_TEST_KILL_FOLDER";
const VALUES: usize = 50_000;

fn request(step: u64) -> SaveRequest {
    let tensor = |name: &str| NamedTensor {
        name: name.into(),
        shape: vec![VALUES],
        data: vec![step as f32; VALUES].into(),
        range: 0..VALUES,
    };
    SaveRequest {
        manifest: ManifestData { step, ..ManifestData::default() },
        files: ["a", "b"].map(|file| (format!("{file}.safetensors"), vec![tensor(file)])).into(),
    }
}

/// Not a test of its own: what the child does, until it is killed.
#[test]
#[ignore = "run by the test below, in a process to be killed"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let checkpoints = Checkpoints::new(&folder, 2).unwrap();
    let first = checkpoints.latest_good().map_or(1, |found| found.manifest.state.step + 1);
    let mut out = std::io::stdout().lock();
    for step in first.. {
        checkpoints.save(&request(step)).unwrap();
        writeln!(out, "\nsaved {step}").unwrap();
        out.flush().unwrap();
    }
}

/// Lets a child save for a while, kills it, and returns the last step it said was saved.
fn run_and_kill(folder: &Path, after: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program can be started");
    std::thread::sleep(after);
    child.kill().expect("a child can be killed");
    let said =
        BufReader::new(child.stdout.take().expect("its output was asked for")).lines().map_while(Result::ok);
    let last = said.filter_map(|line| line.strip_prefix("saved ")?.parse().ok()).last();
    child.wait().expect("a child can be waited for");
    last
}

#[test]
fn what_was_said_to_be_saved_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checkpoints");
    let order = Order::new(1, 40);
    let mut newest = 0;
    for round in 0..40 {
        // From before the program has begun to some way into its saves, in steps of 2 ms, in mixed order.
        let said = run_and_kill(&folder, Duration::from_millis(2 * order.window(0, round)));
        let expected = said.unwrap_or(newest);
        match latest_good(&folder) {
            Ok(loaded) => {
                let step = loaded.manifest.state.step;
                // The one after may have been done but not yet said.
                assert!(step == expected || step == expected + 1, "round {round}: {step}, said {expected}");
                assert!(loaded.skipped.is_empty(), "a kill leaves nothing damaged under a final name");
                let mut values = vec![0.0; VALUES];
                loaded.file("b.safetensors").unwrap().copy_into("b", &[VALUES], &mut values).unwrap();
                assert!(values.iter().all(|&value| value == step as f32));
                newest = step;
            }
            Err(error) => assert_eq!(newest.max(said.unwrap_or(0)), 0, "round {round}: {error}"),
        }
    }
    assert!(newest > 20, "only {newest} saves in 40 rounds: the kills came before anything happened");
}

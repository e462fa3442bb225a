//! A disk that is full, or files that may not grow: an error that names the file, and the last checkpoint whole.

use std::io::Write as _;
use std::process::Command;

use crate::support::{Ended, Home, Running, TINY};

/// A shell in the home folder, with the binary as `$SELVEDGE`.
fn shell(home: &Home, program: &str, args: &[&str], script: &str) -> Ended {
    let mut command = Command::new(program);
    command
        .args(args)
        .arg(script)
        .current_dir(home.path("."))
        .env("SELVEDGE", env!("CARGO_BIN_EXE_selvedge"));
    Running::start(command).end()
}

#[test]
fn files_that_may_not_grow() {
    let home = Home::new();
    // Files of at most so many blocks of 512 bytes; a write beyond fails as on a full disk.
    let limited = |blocks: u32, rest: &str| {
        let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$SELVEDGE\" train {rest}");
        shell(&home, "sh", &["-c"], &line)
    };
    let train = format!("--data text.rs {TINY} --steps 30 --save-every 5 --out run");
    limited(40, &train).refused(&["cannot write run/train.tokens"]);
    assert!(!home.path("run").exists(), "{:?}", home.names("run"));

    // The token file fits, the optimizer's moments do not.
    let larger = train.replace("--vocab 300", "--vocab 1000");
    let ended = limited(400, &larger);
    ended.refused(&["cannot write run/checkpoints/", "optimizer.safetensors"]);
    assert_eq!(home.names("run/checkpoints"), [] as [&str; 0]);
    // With room again, it goes on from what there is: the start.
    let resumed = home.run("train --resume --out run --eval-windows 4").success();
    let whole = home.run(&format!("train {}", larger.replace("--out run", "--out whole"))).success();
    assert_eq!(resumed.digest(), whole.digest());
    assert_eq!(home.column("run/steps.csv"), (1..=30).collect::<Vec<_>>());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk() {
    let home = Home::new();
    let want = home.train("--steps 30 --save-every 5 --out whole").success().digest();
    std::fs::create_dir(home.path("disk")).unwrap();
    // A file system of our own that is gone with the last process in it.
    let within = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    if !shell(&home, "unshare", &within, "mount -t tmpfs -o size=1m none disk").status.success() {
        let skipped = "SKIPPED a_full_disk: no file system can be mounted here, so none can be filled\n";
        // Past the test runner, which keeps back what a passing test prints.
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return;
    }
    let train = format!("\"$SELVEDGE\" train --data text.rs {TINY} --steps 30 --save-every 5 --out disk/run");
    // No room for the tokens.
    let script = format!("mount -t tmpfs -o size=40k none disk && {train}; code=$?; ls -A disk; exit $code");
    let ended = shell(&home, "unshare", &within, &script);
    ended.refused(&["disk/run/", "free some space"]);
    assert_eq!(ended.stdout, "", "nothing may be left");

    // Room for some checkpoints only; then for more.
    let script = format!(
        "mount -t tmpfs -o size=1400k none disk && {train}; echo code $? >&2
         \"$SELVEDGE\" inspect disk/run >&2 || exit 9
         mount -o remount,size=20m none disk || exit 8
         \"$SELVEDGE\" train --resume --out disk/run --eval-windows 4 --threads 3"
    );
    let ended = shell(&home, "unshare", &within, &script).success();
    let first = ended.stderr.split("code 1\n").next().unwrap();
    assert!(first.len() < ended.stderr.len(), "{ended:#?}");
    let error = first.lines().last().unwrap();
    assert!(error.starts_with("error: cannot ") && error.contains("disk/run/"), "{error}");
    assert!(error.contains("free some space"), "{error}");
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    assert_eq!(ended.digest(), want);
}

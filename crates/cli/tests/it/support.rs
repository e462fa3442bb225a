//! What all tests use: a text, the binary under a deadline, and what it left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest life of a process: generous, since what is looked for is a hang, on machines however busy.
const DEADLINE: Duration = Duration::from_secs(120);

/// A model small enough that 30 steps take a fraction of a second.
pub(crate) const TINY: &str =
    "--layers 2 --channels 32 --heads 2 --context 32 --vocab 300 --batch 4 --eval-windows 4";

/// Splits a line of arguments at spaces.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

/// The next number of a linear congruential sequence.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// About `bytes` bytes of text that looks like Rust, another for each seed.
pub(crate) fn text(bytes: usize, seed: u64) -> String {
    const WORDS: [&str; 12] = [
        "count", "total", "items", "value", "index", "shape", "token", "batch", "loss", "norm", "row", "step",
    ];
    let mut state = seed;
    let mut word = || WORDS[next(&mut state) as usize % WORDS.len()];
    let mut text = String::with_capacity(bytes + 200);
    while text.len() < bytes {
        let (f, a, b, c) = (word(), word(), word(), word());
        text.push_str(&format!(
            "/// Returns the {a} of the {b}.\nfn {f}_{c}({a}: usize, {b}: usize) -> usize {{\n    let {c} = {a} + {};\n    {c} * {b}\n}}\n\n",
            f.len() + text.len() % 97,
        ));
    }
    text
}

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit code, if it ended by itself.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    #[track_caller]
    pub(crate) fn success(self) -> Ended {
        assert_eq!(self.code(), Some(0), "{self:#?}");
        self
    }

    /// The digest that training prints.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix("parameters "));
        let digest = line.unwrap_or_else(|| panic!("no digest: {self:#?}"));
        assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
        digest.to_owned()
    }

    /// Checks a refusal: exit code 1, no panic, and one line of error, the last, that holds every one of `parts`.
    #[track_caller]
    pub(crate) fn refused(&self, parts: &[&str]) {
        self.refused_with(1, parts);
    }

    /// The same with another exit code.
    #[track_caller]
    pub(crate) fn refused_with(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        let errors = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(errors == 1 && last.starts_with("error: "), "{self:#?}");
        for part in parts {
            assert!(last.contains(part), "{part:?} is not in {last:?}");
        }
    }
}

/// A process under way; killed if the test ends before it.
pub(crate) struct Running {
    pub(crate) child: Child,
    folder: TempDir,
    started: Instant,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(command: Command) -> Running {
        Running::start_with(command, Stdio::null())
    }

    /// With something on its standard input.
    #[track_caller]
    pub(crate) fn start_with(mut command: Command, input: impl Into<Stdio>) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        // Files, not pipes: nothing has to be read while it runs.
        command.stdin(input).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().unwrap();
        Running { child, folder, started: Instant::now() }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("err")).unwrap_or_default()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `seen` is true or the process has ended; says whether it was.
    #[track_caller]
    pub(crate) fn until(&mut self, mut seen: impl FnMut(&Running) -> bool) -> bool {
        while !seen(self) {
            if !self.is_running() {
                return false;
            }
            assert!(self.started.elapsed() < DEADLINE, "hangs: {}", self.said());
            std::thread::sleep(Duration::from_micros(300));
        }
        true
    }

    /// Sends a signal by the name `kill` knows.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success(), "kill -s {name} {id}");
    }

    /// `kill -9`. Says whether it was still running.
    pub(crate) fn kill(mut self) -> bool {
        let running = self.is_running();
        self.child.kill().unwrap();
        running && self.child.wait().unwrap().code().is_none()
    }

    /// The end, which must come.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.started.elapsed() < DEADLINE, "hangs: {}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        };
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap();
        Ended { status, stdout: read("out"), stderr: read("err") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A folder with a text, in which the binary runs.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    /// With `text.rs`, a text of 100 kB.
    pub(crate) fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("text.rs"), text(100_000, 1)).unwrap();
        Home { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary, to be run here.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
        command.current_dir(self.dir.path()).args(args);
        command
    }

    #[track_caller]
    pub(crate) fn start(&self, line: &str) -> Running {
        Running::start(self.command(words(line)))
    }

    /// Runs a line of arguments to the end.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.start(line).end()
    }

    /// Starts a tiny training from `text.rs` with further arguments.
    #[track_caller]
    pub(crate) fn start_train(&self, rest: &str) -> Running {
        self.start(&format!("train --data text.rs {TINY} {rest}"))
    }

    /// A tiny training from `text.rs` with further arguments, to the end.
    #[track_caller]
    pub(crate) fn train(&self, rest: &str) -> Ended {
        self.start_train(rest).end()
    }

    /// The digest of a run or checkpoint as `inspect --digest` prints it.
    #[track_caller]
    pub(crate) fn digest(&self, run: &str) -> String {
        self.run(&format!("inspect {run} --digest")).success().stdout.trim_end().to_owned()
    }

    /// The first column of a CSV file of a run.
    #[track_caller]
    pub(crate) fn column(&self, file: &str) -> Vec<u64> {
        let number = |line: &str| line.split(',').next().unwrap().parse().unwrap();
        self.read(file).lines().skip(1).map(number).collect()
    }

    /// Names in a folder, hidden ones too, sorted; none if it is not there.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }
}

/// Names in a folder, hidden ones too, sorted; none if it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

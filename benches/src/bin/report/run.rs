//! Starting programs, reading their lines of JSON, and saying how long it will take.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;

/// A program to start for one measurement.
#[derive(Debug)]
pub(crate) struct Job<K> {
    /// What the measurement is.
    pub(crate) key: K,
    /// The same for people.
    pub(crate) label: String,
    /// How long it takes, roughly.
    pub(crate) seconds: f64,
    pub(crate) command: Command,
}

/// How far the whole is.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    jobs: usize,
    /// Jobs begun.
    begun: usize,
    /// Sums of the guesses of jobs.
    total: f64,
    done: f64,
}

impl Progress {
    /// None done of jobs that are guessed to take so many seconds each.
    pub(crate) fn new(guesses: &[f64]) -> Self {
        let total = guesses.iter().sum();
        Self { began: Instant::now(), jobs: guesses.len(), begun: 0, total, done: 0.0 }
    }

    /// Runs the program and reads its standard output, one value a line.
    ///
    /// # Errors
    /// If it cannot start, does not succeed, or prints nothing or something else; with the program and what it printed.
    pub(crate) fn lines<K, T: DeserializeOwned>(&mut self, job: &mut Job<K>) -> anyhow::Result<Vec<T>> {
        let text = self.text(job)?;
        parse(&text, &shown(&job.command))
    }

    /// Runs the program and gives what it printed.
    ///
    /// # Errors
    /// If it cannot start or does not succeed.
    pub(crate) fn text<K>(&mut self, job: &mut Job<K>) -> anyhow::Result<String> {
        self.begun += 1;
        eprintln!("[{}/{}] {}; {}", self.begun, self.jobs, job.label, left(self.left()));
        let name = shown(&job.command);
        let output = job.command.stdin(Stdio::null()).output();
        self.done += job.seconds;
        let output = output.with_context(|| format!("cannot run `{name}`"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("`{name}` failed: {}, and printed:\n{}", output.status, tail(&format!("{text}{errors}")));
        }
        Ok(text)
    }

    /// Seconds left: what the guesses say, corrected by how they have been wrong so far.
    fn left(&self) -> f64 {
        let rate = if self.done > 0.0 { self.began.elapsed().as_secs_f64() / self.done } else { 1.0 };
        (self.total - self.done) * rate
    }
}

fn left(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("about {:.0} s left", seconds.max(1.0))
    } else {
        format!("about {:.0} min left", seconds / 60.0)
    }
}

/// A value of each line; `name` is the program's in errors.
fn parse<T: DeserializeOwned>(text: &str, name: &str) -> anyhow::Result<Vec<T>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let values: Vec<T> = lines
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("`{name}` printed no figures but {line:?}"))
        })
        .collect::<Result<_, _>>()?;
    ensure!(!values.is_empty(), "`{name}` printed nothing");
    Ok(values)
}

/// The command as one would type it, without the folder of its program.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// The last lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn job(script: &str) -> Job<()> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Job { key: (), label: "a test".into(), seconds: 1.0, command }
    }

    fn failure(script: &str) -> String {
        let error = Progress::new(&[1.0]).lines::<_, u32>(&mut job(script)).expect_err(script);
        format!("{error:#}")
    }

    #[test]
    fn each_line_is_a_value() {
        assert_eq!(Progress::new(&[1.0]).lines::<_, u32>(&mut job("echo 1; echo; echo 2")).unwrap(), [1, 2]);
    }

    #[test]
    fn errors_name_the_program_and_what_it_printed() {
        assert!(failure("echo words").contains("`sh -c echo words` printed no figures but \"words\""));
        assert!(failure("true").contains("printed nothing"));
        let failed = failure("echo 1; echo why >&2; exit 3");
        assert!(failed.contains("3") && failed.contains("why"), "{failed}");
        let mut absent = job("");
        absent.command = Command::new("/no/such/program");
        let error = Progress::new(&[1.0]).text(&mut absent).unwrap_err();
        assert!(error.to_string().contains("`program`"), "{error}");
    }

    #[test]
    fn what_is_left_follows_the_guesses() {
        let mut progress = Progress::new(&[100.0, 60.0]);
        assert_eq!(left(progress.left()), "about 3 min left");
        progress.done = 160.0;
        assert_eq!(left(progress.left()), "about 1 s left");
    }
}

//! Test programs in processes of their own, some at a time, each with a time limit.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// One run of a test program.
pub(crate) struct Job {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Where it runs, if not here.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) envs: Vec<(&'static str, String)>,
    pub(crate) limit: Duration,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

impl Job {
    /// One test of the program by its full path, with nothing of its output held back.
    pub(crate) fn one_test(program: &Path, test: &str, limit: Duration, log: PathBuf) -> Self {
        let args = ["--exact", test, "--nocapture", "--test-threads", "1"].map(str::to_owned).into();
        Self { program: program.to_owned(), args, folder: None, envs: Vec::new(), limit, log }
    }
}

/// How many processors there are to run jobs on.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    /// By a panic or an abort.
    Failed,
    /// Past its limit, or killed from outside (for memory, say): neither passed nor failed.
    Undecided,
}

/// A started process; dropped early, it ends with its owner.
struct Running {
    job: usize,
    child: Child,
    began: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the jobs, `most` of them at a time, and calls `ended` for each as it ends with its index, its end, its seconds
/// and its log.
pub(crate) fn run_all(jobs: &[Job], most: usize, mut ended: impl FnMut(usize, End, f64, &str)) -> Result<()> {
    let mut waiting = jobs.iter().enumerate();
    let mut running: Vec<Running> = Vec::new();
    loop {
        while running.len() < most
            && let Some((index, job)) = waiting.next()
        {
            running.push(Running { job: index, child: start(job)?, began: Instant::now() });
        }
        if running.is_empty() {
            return Ok(());
        }
        let mut still = Vec::new();
        for mut process in running {
            let job = &jobs[process.job];
            let status = process
                .child
                .try_wait()
                .with_context(|| format!("cannot wait for {}", job.program.display()))?;
            let elapsed = process.began.elapsed();
            let end = match status {
                Some(status) => end(status),
                None if elapsed >= job.limit => End::Undecided,
                None => {
                    still.push(process);
                    continue;
                }
            };
            let index = process.job;
            drop(process);
            let log = fs::read(&job.log).with_context(|| format!("cannot read {}", job.log.display()))?;
            ended(index, end, elapsed.as_secs_f64(), &String::from_utf8_lossy(&log));
        }
        running = still;
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(job: &Job) -> Result<Child> {
    let folder = job.log.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let log = File::create(&job.log).with_context(|| format!("cannot write {}", job.log.display()))?;
    let both = log.try_clone().with_context(|| format!("cannot write {}", job.log.display()))?;
    let mut command = Command::new(&job.program);
    command.args(&job.args);
    if let Some(folder) = &job.folder {
        command.current_dir(folder);
    }
    // Backtraces of loom's threads take longer than many a model.
    command.env("RUST_BACKTRACE", "0").envs(job.envs.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(log).stderr(both);
    command.spawn().with_context(|| format!("cannot run {}", job.program.display()))
}

#[cfg(unix)]
fn end(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt as _;
    /// The signals of a kill from outside: hang-up, interrupt, kill, terminate.
    const OUTSIDE: [i32; 4] = [1, 2, 9, 15];
    match status.signal() {
        Some(signal) if OUTSIDE.contains(&signal) => End::Undecided,
        _ if status.success() => End::Passed,
        _ => End::Failed,
    }
}

#[cfg(not(unix))]
fn end(status: ExitStatus) -> End {
    if status.success() { End::Passed } else { End::Failed }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A test program that does what the name of the test says.
    const PROGRAM: &str = "#!/bin/sh\necho \"$2 $WORD\"\ncase $2 in pass) ;; fail) exit 101 ;; abort) kill -ABRT $$ ;; \
                           hang) exec sleep 60 ;; killed) kill -KILL $$ ;; esac\n";

    #[test]
    fn every_way_to_end_is_told_apart() {
        let folder = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let expected = [
            ("pass", End::Passed),
            ("fail", End::Failed),
            ("hang", End::Undecided),
            ("abort", End::Failed),
            ("killed", End::Undecided),
        ];
        let job = |(test, _): (&str, End)| {
            let limit = Duration::from_millis(if test == "hang" { 100 } else { 10_000 });
            let job = Job::one_test(&program, test, limit, folder.join(test));
            Job { envs: vec![("WORD", "seen".into())], ..job }
        };
        let jobs = expected.map(job);
        let mut ends = [None; 5];
        let began = Instant::now();
        run_all(&jobs, 2, |at, end, _, log| {
            assert!(ends[at].replace(end).is_none(), "{} ended twice", jobs[at].args[1]);
            assert_eq!(log.trim(), format!("{} seen", jobs[at].args[1]));
        })
        .unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(ends, expected.map(|(_, end)| Some(end)));
        fs::remove_dir_all(&folder).unwrap();
    }
}

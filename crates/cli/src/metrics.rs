//! Figures of a run as CSV, one line a step or an evaluation; a resumed run goes on where its checkpoint was.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use selvedge_train::fs_atomic;

/// A CSV file whose first column counts steps.
///
/// Each line goes to the system at once: a checkpoint of a step must never be there without the step's line, or a
/// run that is killed and resumed has a gap.
#[derive(Debug)]
pub(crate) struct Metrics {
    out: File,
    path: PathBuf,
}

impl Metrics {
    /// Opens or begins the file, without the lines of steps after `done`: they are of a part of the run that a
    /// crash took back.
    pub(crate) fn open(path: &Path, header: &str, done: u64) -> anyhow::Result<Self> {
        let place = || format!("cannot write {}", path.display());
        let old = std::fs::read_to_string(path).unwrap_or_default();
        let kept = old.lines().skip(1).filter(|line| {
            let step = line.split(',').next().and_then(|step| step.parse::<u64>().ok());
            step.is_some_and(|step| step <= done)
        });
        let mut text = format!("{header}\n");
        for line in kept {
            text.push_str(line);
            text.push('\n');
        }
        fs_atomic::write(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).with_context(place)?;
        Ok(Metrics { out: file, path: path.to_owned() })
    }

    /// Appends a line.
    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        // In one piece, so that a kill leaves no half of it.
        let line = format!("{line}\n");
        self.out.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Two columns of a CSV file as points.
pub(crate) fn points(path: &Path, x: usize, y: usize) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let point = |line: &str| {
        let mut cells = line.split(',').map(|cell| cell.parse::<f64>().ok());
        let cells: Vec<Option<f64>> = cells.by_ref().collect();
        Some(((*cells.get(x)?)?, (*cells.get(y)?)?))
    };
    text.lines().skip(1).filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_file_loses_the_steps_that_were_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.csv");
        let mut metrics = Metrics::open(&path, "step,loss", 0).unwrap();
        for step in 1..=5 {
            metrics.line(&format!("{step},{}.5", step)).unwrap();
        }
        let mut metrics = Metrics::open(&path, "step,loss", 3).unwrap();
        metrics.line("4,9.5").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "step,loss\n1,1.5\n2,2.5\n3,3.5\n4,9.5\n");
        assert_eq!(points(&path, 0, 1)[3], (4.0, 9.5));
    }
}

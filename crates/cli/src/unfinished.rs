//! A run folder in the making: what is stopped or fails before the run is complete leaves nothing behind.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::run_folder::{RunFolder, TOKENIZER, TRAIN_TOKENS, VALID_TOKENS};

/// The files made before `run.json`. Dropped without [`complete`](Self::complete), it removes them, and the folder if
/// it made that.
#[derive(Debug)]
pub(crate) struct Unfinished {
    folder: PathBuf,
    made_folder: bool,
    complete: bool,
}

impl Unfinished {
    /// Makes the folder if need be, and clears away what a run that was killed at this stage left there.
    pub(crate) fn begin(folder: &RunFolder) -> anyhow::Result<Self> {
        let path = folder.path();
        let made_folder = !path.exists();
        fs::create_dir_all(path).with_context(|| {
            format!("cannot create the run folder {}; name another --out", path.display())
        })?;
        let unfinished = Unfinished { folder: path.to_owned(), made_folder, complete: false };
        unfinished.clear();
        Ok(unfinished)
    }

    /// The run is complete: its files stay.
    pub(crate) fn complete(mut self) {
        self.complete = true;
    }

    /// Removes the files and their temporary copies. What cannot be removed harms nobody: it is written anew.
    fn clear(&self) {
        let files = [TOKENIZER, TRAIN_TOKENS, VALID_TOKENS];
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let temporary = |file: &&str| {
                let middle =
                    name.strip_prefix(&format!(".{file}.")).and_then(|rest| rest.strip_suffix(".tmp"));
                middle.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
            };
            if files.contains(&&*name) || files.iter().any(temporary) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        self.clear();
        if self.made_folder {
            // Fails, rightly, if something else is in there.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_unfinished_run_goes_with_its_files_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ours = [TOKENIZER, ".train.tokens.123.tmp", VALID_TOKENS];
        for name in ours.into_iter().chain(["notes.txt", ".train.tokens.old.tmp"]) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let unfinished = Unfinished::begin(&RunFolder::new(dir.path())).unwrap();
        assert_eq!(names(dir.path()), [".train.tokens.old.tmp", "notes.txt"]);
        fs::write(dir.path().join(TRAIN_TOKENS), "x").unwrap();
        drop(unfinished);
        assert_eq!(names(dir.path()), [".train.tokens.old.tmp", "notes.txt"]);

        let made = dir.path().join("runs/a");
        drop(Unfinished::begin(&RunFolder::new(&made)).unwrap());
        assert!(!made.exists());
        let unfinished = Unfinished::begin(&RunFolder::new(&made)).unwrap();
        fs::write(made.join(TOKENIZER), "x").unwrap();
        unfinished.complete();
        assert_eq!(names(&made), [TOKENIZER]);
    }
}

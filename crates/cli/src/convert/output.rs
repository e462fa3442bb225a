//! A file or folder that appears whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use selvedge_train::fs_atomic::sync_dir;

use crate::published::COPIED;

/// What a folder may hold to be replaced: what converting writes.
const OURS: [&str; 3] = ["config.json", "generation_config.json", "model.safetensors"];

/// The output under its temporary name; dropped without [`commit`](Self::commit), it goes.
#[derive(Debug)]
pub(super) struct Output {
    to: PathBuf,
    temporary: PathBuf,
    is_folder: bool,
    force: bool,
}

impl Output {
    /// Makes sure that the output may be there, and makes the folder it is in.
    pub(super) fn begin(to: &Path, is_folder: bool, force: bool) -> anyhow::Result<Self> {
        let name =
            to.file_name().with_context(|| format!("--out {} names no file or folder", to.display()))?;
        // `models/x/` and `models/x` are the same.
        let to = to.with_file_name(name);
        let temporary = beside(&to, "tmp");
        let output = Output { to, temporary, is_folder, force };
        output.check()?;
        let above = output.above();
        fs::create_dir_all(above).with_context(|| format!("cannot make the folder {}", above.display()))?;
        // What another process of the same number left.
        remove(&output.temporary);
        if is_folder {
            fs::create_dir(&output.temporary).with_context(|| output.cannot_write())?;
        }
        Ok(output)
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// What failed, of an error of writing.
    pub(super) fn cannot_write(&self) -> String {
        format!("cannot write {}", self.to.display())
    }

    /// Gives the output its name.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        // Something may have come there meanwhile.
        self.check()?;
        if self.is_folder {
            sync_dir(&self.temporary).with_context(|| self.cannot_write())?;
        }
        let old = beside(&self.to, "old");
        let replaces = self.is_folder && self.to.exists();
        if replaces {
            fs::rename(&self.to, &old).with_context(|| format!("cannot replace {}", self.to.display()))?;
        }
        if let Err(error) = fs::rename(&self.temporary, &self.to) {
            if replaces {
                // As it was.
                let _ = fs::rename(&old, &self.to);
            }
            return Err(error).with_context(|| self.cannot_write());
        }
        sync_dir(self.above()).with_context(|| self.cannot_write())?;
        if replaces {
            remove(&old);
        }
        Ok(())
    }

    fn above(&self) -> &Path {
        match self.to.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        }
    }

    /// Refuses to write over what is not to be replaced.
    fn check(&self) -> anyhow::Result<()> {
        let shown = self.to.display();
        let Ok(about) = fs::symlink_metadata(&self.to) else { return Ok(()) };
        ensure!(self.force, "{shown} exists; name another --out, or give --force to replace it");
        match (about.is_dir(), self.is_folder) {
            (true, false) => bail!("{shown} is a folder, and a file is to be written; name another --out"),
            (false, true) => bail!("{shown} is a file, and a folder is to be written; name another --out"),
            (false, false) => return Ok(()),
            (true, true) => {}
        }
        for entry in fs::read_dir(&self.to).with_context(|| format!("cannot read {shown}"))? {
            let name = entry.with_context(|| format!("cannot read {shown}"))?.file_name();
            ensure!(
                OURS.iter().chain(&COPIED).any(|ours| name == *ours),
                "{shown} holds {} too, which would be lost; name another --out",
                name.display()
            );
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        remove(&self.temporary);
    }
}

/// A hidden name beside a file's.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(format!(".{}.{suffix}", std::process::id()));
    path.with_file_name(hidden)
}

/// Removes a file or folder. What cannot be removed harms nobody but by its size.
fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_and_folders_appear_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("deep/model.gguf"), dir.path().join("model/"));
        let output = Output::begin(&file, false, false).unwrap();
        fs::write(output.path(), "half").unwrap();
        drop(output);
        let output = Output::begin(&folder, true, false).unwrap();
        fs::write(output.path().join("config.json"), "half").unwrap();
        drop(output);
        assert_eq!(names(dir.path()), ["deep"]);
        assert!(names(&dir.path().join("deep")).is_empty());

        for (round, force) in [(0, false), (1, true)] {
            let output = Output::begin(&file, false, force).unwrap();
            fs::write(output.path(), [round]).unwrap();
            output.commit().unwrap();
            assert_eq!(fs::read(&file).unwrap(), [round]);
            let output = Output::begin(&folder, true, force).unwrap();
            fs::write(output.path().join("config.json"), [round]).unwrap();
            output.commit().unwrap();
            assert_eq!(fs::read(folder.join("config.json")).unwrap(), [round]);
        }
        assert_eq!(names(dir.path()), ["deep", "model"]);
        assert_eq!(names(&dir.path().join("deep")), ["model.gguf"]);
    }

    #[test]
    fn nothing_is_lost_that_was_not_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("model.gguf"), dir.path().join("model"));
        fs::write(&file, "old").unwrap();
        fs::create_dir(&folder).unwrap();
        let error =
            |to: &Path, is_folder, force| Output::begin(to, is_folder, force).unwrap_err().to_string();
        assert!(error(&file, false, false).contains("--force"));
        assert!(error(&folder, true, false).contains("--force"));
        assert!(error(&folder, false, true).contains("is a folder"));
        assert!(error(&file, true, true).contains("is a file"));
        fs::write(folder.join("thesis.tex"), "").unwrap();
        assert!(error(&folder, true, true).contains("thesis.tex"));
        assert!(error(Path::new("/"), true, true).contains("--out"));
        // What came there while the output was being written.
        let late = dir.path().join("late.gguf");
        let output = Output::begin(&late, false, false).unwrap();
        fs::write(output.path(), "new").unwrap();
        fs::write(&late, "other").unwrap();
        output.commit().unwrap_err();
        assert_eq!(fs::read_to_string(&late).unwrap(), "other");
        assert_eq!(names(dir.path()), ["late.gguf", "model", "model.gguf"]);
    }
}

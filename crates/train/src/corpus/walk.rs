//! Lists the files of all groups, in a fixed order, without following folders in circles.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Group, Options, Reason, Report};
use crate::Error;

/// A file to be read.
pub(super) struct Found {
    pub(super) group: Arc<str>,
    /// Name of the group's folder: tells versions of one package apart.
    pub(super) root: OsString,
    /// Path within the group.
    pub(super) path: PathBuf,
    /// Path to open.
    pub(super) absolute: PathBuf,
    /// Its size when it was listed.
    pub(super) bytes: u64,
    /// Named by the user, not found in a folder.
    pub(super) named: bool,
}

/// Lists all groups' files, group by group and folder by folder, each sorted by name.
pub(super) fn list(groups: &[Group], options: &Options, report: &mut Report) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut sorted: Vec<&Group> = groups.iter().collect();
    // By the folder's own name before its place: that differs between machines.
    sorted.sort_by_key(|group| (&group.name, group.root.file_name(), &group.root));
    for group in sorted {
        let root = &group.root;
        let name: Arc<str> = group.name.as_str().into();
        let folder = root.file_name().unwrap_or_default().to_os_string();
        let file = |path: PathBuf, absolute: PathBuf, bytes: u64, named: bool| Found {
            group: Arc::clone(&name),
            root: folder.clone(),
            path,
            absolute,
            bytes,
            named,
        };
        let metadata = fs::metadata(root).map_err(Error::io("read", root))?;
        if metadata.is_file() {
            report.seen(metadata.len());
            found.push(file(PathBuf::from(&folder), root.clone(), metadata.len(), true));
        } else if metadata.is_dir() {
            folder_files(root, options, report, |path, absolute, bytes| {
                found.push(file(path, absolute, bytes, false));
            })?;
        } else {
            return Err(Error::CorpusNotAFile { path: root.clone() });
        }
    }
    Ok(found)
}

/// Calls `take` with the path within `root`, the path to open and the size of every file to be read under it.
///
/// Links to files are followed, links to folders are not: so the walk cannot go in circles, and no text is found twice.
fn folder_files(
    root: &Path,
    options: &Options,
    report: &mut Report,
    mut take: impl FnMut(PathBuf, PathBuf, u64),
) -> Result<(), Error> {
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        let folder = root.join(&inside);
        let mut names: Vec<OsString> = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(Error::io("read", &folder))?;
        // Sorted, so that of several unreadable files every machine names the same.
        names.sort();
        let built = names.iter().any(|name| name == "Cargo.toml");
        for name in names {
            let (path, absolute) = (inside.join(&name), folder.join(&name));
            if name.as_encoded_bytes().starts_with(b".") {
                report.pass(Reason::Hidden);
                continue;
            }
            let link = fs::symlink_metadata(&absolute).map_err(Error::io("read", &absolute))?;
            if link.is_dir() {
                if name == "target" && (built || absolute.join("CACHEDIR.TAG").exists()) {
                    report.pass(Reason::BuildFolder);
                } else {
                    folders.push(path);
                }
                continue;
            }
            let metadata = match fs::metadata(&absolute) {
                Ok(metadata) => metadata,
                Err(_) if link.is_symlink() => {
                    // Leads nowhere or in a circle: the link is at fault, and there is no text behind it.
                    report.pass(Reason::DeadLink);
                    continue;
                }
                Err(source) => return Err(Error::Io { op: "read", path: absolute, source }),
            };
            if metadata.is_dir() {
                report.pass(Reason::LinkedFolder);
            } else if !metadata.is_file() {
                // Opening a pipe would wait for a writer that may never come.
                report.pass(Reason::NotAFile);
            } else {
                let bytes = metadata.len();
                report.seen(bytes);
                if !has_extension(&path, options.extensions.as_deref()) {
                    report.skip(Reason::Extension, bytes);
                } else if bytes > options.max_file_bytes {
                    report.skip(Reason::TooLarge, bytes);
                } else {
                    take(path, absolute, bytes);
                }
            }
        }
    }
    Ok(())
}

fn has_extension(path: &Path, wanted: Option<&[String]>) -> bool {
    wanted.is_none_or(|wanted| {
        path.extension().is_some_and(|found| wanted.iter().any(|want| found.eq_ignore_ascii_case(want)))
    })
}

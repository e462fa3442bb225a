//! From folders and files to training and validation documents, the same on every machine.
//!
//! What is found is sorted before anything is decided, every choice is a hash of names and the seed, and the threads only
//! read and judge files one by one. So the documents depend on the names, the contents and the options alone.

mod filter;
mod read;
mod report;
mod split;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
pub use filter::{Generated, GeneratedFilter};
pub use report::{Reason, Report, Tally};

/// What is held out for validation together: a package, as a rule.
///
/// Groups of one name are one group: give all versions of a package the same name, or near-copies of the training text
/// end up in the validation text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, the same on every machine.
    pub name: String,
    /// A folder, searched through, or a file, taken as it is.
    pub root: PathBuf,
}

/// What to take, and how much to hold out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Extensions (without the dot) of the files to take from folders; `None` takes every text file.
    pub extensions: Option<Vec<String>>,
    /// Share of the bytes to hold out for validation, above 0 and at most 0.5. Met as closely as whole groups (or, with
    /// one group, whole files) allow.
    pub holdout: f64,
    /// Seed of the choice of what is held out, and of what is taken under `max_bytes`.
    pub seed: u64,
    /// Larger files in folders are left out. A file named as a group's root is taken whatever its size.
    pub max_file_bytes: u64,
    /// Takes a sample of the files, of at most this many bytes.
    pub max_bytes: Option<u64>,
    /// Leaves out generated source files in folders.
    pub generated: Option<GeneratedFilter>,
    /// Threads that read, at least 1. Changes nothing but the time.
    pub threads: usize,
}

impl Default for Options {
    /// Every text file up to 16 MB, a twentieth held out, read by one thread.
    fn default() -> Self {
        Self {
            extensions: None,
            holdout: 0.05,
            seed: 0,
            max_file_bytes: 16 << 20,
            max_bytes: None,
            generated: None,
            threads: 1,
        }
    }
}

impl Options {
    /// Rust sources without generated tables: what the default corpus is made of.
    #[must_use]
    pub fn rust() -> Self {
        Self {
            extensions: Some(vec![String::from("rs")]),
            max_file_bytes: 1 << 20,
            generated: Some(GeneratedFilter::default()),
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), Error> {
        if !(self.holdout > 0.0 && self.holdout <= 0.5) {
            return Err(Error::setting("holdout", self.holdout, "above 0 and at most 0.5"));
        }
        if self.max_bytes == Some(0) {
            return Err(Error::setting("corpus size limit", 0, "at least 1 byte"));
        }
        Ok(())
    }
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Name of its group.
    pub group: Arc<str>,
    /// Path within the group's folder; the file's name, if the group is a file.
    pub path: PathBuf,
    /// The text.
    pub text: String,
}

/// Documents to train on and to validate with: no text is in both.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Training documents, by group and path.
    pub train: Vec<Document>,
    /// Validation documents, by group and path.
    pub valid: Vec<Document>,
    /// What was found, and what became of it.
    pub report: Report,
}

/// Gathers the documents of `groups`.
///
/// Whole groups are held out for validation; with one group, whole files; with one file, its last tenth (or `holdout`, if
/// that is more), cut at a line end. Of equal files one is kept. Hidden entries, build folders (`target`) and links to
/// folders are passed over; files that are not UTF-8 text are left out and counted in the report.
///
/// # Errors
/// [`Error::Setting`] for impossible options, [`Error::Io`] naming the first file or folder that cannot be read,
/// [`Error::CorpusNotAFile`] for a root that is neither file nor folder, [`Error::CorpusEmpty`] if nothing is left,
/// [`Error::CorpusTooSmall`] if there is too little to hold a part out.
///
/// ```
/// use selvedge_train::corpus::{Group, Options, gather};
/// # let dir = tempfile::tempdir()?;
/// # for (name, text) in [("a.txt", "one\n"), ("b.txt", "two\n"), ("c.bin", "\0")] {
/// #     std::fs::write(dir.path().join(name), text)?;
/// # }
/// let groups = [Group { name: "notes".into(), root: dir.path().into() }];
/// let corpus = gather(&groups, &Options::default())?;
/// assert_eq!((corpus.train.len(), corpus.valid.len()), (1, 1));
/// println!("{}", corpus.report); // 3 files, 9 bytes; training 1 (4 bytes), validation 1 (4 bytes); left out: binary 1 (1 byte)
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gather(groups: &[Group], options: &Options) -> Result<Corpus, Error> {
    options.check()?;
    let mut report = Report::default();
    let mut found = walk::list(groups, options, &mut report)?;
    if options.max_bytes.is_some() {
        // Any sample by rank of a hash is fair, and stays a sample of the larger one when the limit grows.
        found.sort_by_cached_key(|file| {
            split::rank(options.seed, &[&file.group, &file.path.to_string_lossy()])
        });
    }
    let (files, generated) = read::read(found, options, &mut report)?;
    let mut files = filter::drop_generated_groups(files, &generated, options.generated.as_ref(), &mut report);
    files.sort_by(|a, b| a.key().cmp(&b.key()));

    let mut seen = HashSet::with_capacity(files.len());
    files.retain(|file| {
        let first = seen.insert(file.digest);
        if !first {
            report.skip(Reason::Duplicate, file.text.len() as u64);
        }
        first
    });
    if files.is_empty() {
        return Err(Error::CorpusEmpty {
            path: groups.first().map(|group| group.root.clone()).unwrap_or_default(),
            roots: groups.len(),
            report: Box::new(report),
        });
    }
    let documents = files.into_iter().map(read::Text::into_document).collect();
    let (train, valid) = split::split(documents, options)?;
    report.close(&train, &valid);
    Ok(Corpus { train, valid, report })
}

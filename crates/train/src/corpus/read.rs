//! Reads the listed files, on several threads, and keeps what is text.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::filter::{Generated, GeneratedFilter};
use super::split::cut_before;
use super::walk::Found;
use super::{Document, Options, Reason, Report};
use crate::{Error, pool};

/// Files read between two looks at the size limit: bounds what is read in vain.
const AT_ONCE: usize = 1024;

/// A file that was read.
pub(super) struct Text {
    pub(super) group: Arc<str>,
    root: OsString,
    path: PathBuf,
    pub(super) text: String,
    pub(super) digest: blake3::Hash,
}

impl Text {
    pub(super) fn key(&self) -> (&str, &OsString, &Path) {
        (&self.group, &self.root, &self.path)
    }

    pub(super) fn into_document(self) -> Document {
        Document { group: self.group, path: self.path, text: self.text }
    }
}

/// A file left out for what is in it: it speaks against its group. A name or marker does not, for a package may well keep
/// one generated part apart from what people wrote.
pub(super) struct Dropped {
    pub(super) group: Arc<str>,
    pub(super) bytes: u64,
}

/// Reads files in the order of `found` until the size limit is reached.
pub(super) fn read(
    found: Vec<Found>,
    options: &Options,
    report: &mut Report,
) -> Result<(Vec<Text>, Vec<Dropped>), Error> {
    let limit = options.max_bytes.unwrap_or(u64::MAX);
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    let (mut taken, mut full) = (0, false);
    let mut found = found.into_iter();
    pool::scoped(options.threads, || -> Result<(), Error> {
        while !full {
            let part: Vec<Found> = found.by_ref().take(AT_ONCE).collect();
            if part.is_empty() {
                break;
            }
            // Collected in the order of `part`, so the first error is the first file's, not the fastest thread's.
            let read: Vec<Result<Judged, Error>> =
                part.into_par_iter().map(|file| judge(file, options.generated.as_ref())).collect();
            for judged in read {
                let mut text = match judged? {
                    Judged::Text(text) => text,
                    Judged::Skipped(reason, bytes) => {
                        report.skip(reason, bytes);
                        continue;
                    }
                    Judged::Generated(why, file) => {
                        report.skip(Reason::Generated(why), file.bytes);
                        if matches!(why, Generated::Table | Generated::LongLine) {
                            dropped.push(file);
                        }
                        continue;
                    }
                };
                if taken == 0 {
                    // Where the first file alone is over the limit, its beginning is better than nothing.
                    let end = cut_before(&text.text, usize::try_from(limit).unwrap_or(usize::MAX));
                    report.trim((text.text.len() - end) as u64);
                    text.text.truncate(end);
                    text.digest = blake3::hash(text.text.as_bytes());
                }
                let bytes = text.text.len() as u64;
                full |= bytes > limit - taken;
                if full {
                    report.skip(Reason::OverLimit, bytes);
                } else {
                    taken += bytes;
                    kept.push(text);
                }
            }
        }
        Ok(())
    })??;
    for file in found {
        report.skip(Reason::OverLimit, file.bytes);
    }
    Ok((kept, dropped))
}

enum Judged {
    Text(Text),
    Skipped(Reason, u64),
    Generated(Generated, Dropped),
}

fn judge(file: Found, generated: Option<&GeneratedFilter>) -> Result<Judged, Error> {
    let bytes = fs::read(&file.absolute).map_err(Error::io("read", &file.absolute))?;
    let length = bytes.len() as u64;
    if bytes.contains(&0) {
        return Ok(Judged::Skipped(Reason::Binary, length));
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Judged::Skipped(Reason::NotUtf8, length));
    };
    if text.trim().is_empty() {
        return Ok(Judged::Skipped(Reason::Blank, length));
    }
    if let Some(filter) = generated.filter(|_| !file.named)
        && let Some(why) = filter.judge(&file.path, &text)
    {
        return Ok(Judged::Generated(why, Dropped { group: file.group, bytes: length }));
    }
    let digest = blake3::hash(text.as_bytes());
    Ok(Judged::Text(Text { group: file.group, root: file.root, path: file.path, text, digest }))
}

//! Every way this crate fails, with the place, what was expected, what was found and what to do.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkpoint::{Damage, Skipped};
use crate::corpus::Report;

/// Failure of the data, checkpoint or training half of this crate.
///
/// Messages are one line and name a remedy where there is one. The system's own words are in
/// [`source`](std::error::Error::source), not in the message: print the chain to see both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {op} {}{}", path.display(), remedy(source))]
    Io {
        /// What was tried, as a verb: "read", "write", "rename".
        op: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A setting is outside the range in which it means anything.
    #[error("{name} is {value}, which is not possible: it must be {expected}")]
    Setting {
        /// The setting, as its flag or field is called.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would have been accepted.
        expected: &'static str,
    },

    /// A thread could not be started.
    #[error(transparent)]
    Spawn(#[from] selvedge_sync::SpawnError),

    /// A pool of threads could not be started.
    #[error("cannot start {threads} threads; use fewer threads, or raise the process limit")]
    Pool {
        /// How many were asked for.
        threads: usize,
        /// Why not.
        source: rayon::ThreadPoolBuildError,
    },

    /// A team of threads could not be made.
    #[error(transparent)]
    Team(#[from] selvedge_sync::TeamError),

    /// The model's configuration, weights or tokens do not fit.
    #[error(transparent)]
    Model(#[from] selvedge_model::Error),

    /// A data-parallel worker panicked.
    #[error("worker {worker} panicked in step {step}: {message}; the last checkpoint is intact")]
    WorkerPanicked {
        /// The step.
        step: u64,
        /// Which worker, from 0.
        worker: usize,
        /// What it said.
        message: String,
    },

    /// A thread made no progress for longer than the deadline.
    #[error(
        "{who} made no progress in {phase:?} for {silent_for:.0?} (step {step}); the last checkpoint is intact: resume from it, or raise the deadline if the machine is merely slow"
    )]
    Stalled {
        /// The step.
        step: u64,
        /// The thread.
        who: String,
        /// What it was doing.
        phase: &'static str,
        /// For how long it was silent.
        silent_for: Duration,
    },

    /// A loss or gradient that is not a number.
    #[error(
        "step {step}: {what} is not finite, first in {tensor} (loss {loss}); parameters are unchanged: resume from the last checkpoint with a lower learning rate or stronger clipping"
    )]
    NonFinite {
        /// The step.
        step: u64,
        /// Gradient or parameters.
        what: &'static str,
        /// First weight, in memory order, that has such an element.
        tensor: String,
        /// Mean loss of the step, in nats a token.
        loss: f64,
    },

    /// Workers saw different parameters.
    #[error(
        "step {step}: workers saw different parameters, R = {divergence}; this is a defect of the program"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// ½·Σ|xᵢ − yᵢ| over the worker farthest from worker 0.
        divergence: f64,
    },

    /// A shard's gradient was missing, doubled or of another step.
    #[error(transparent)]
    Reduce(#[from] selvedge_sync::ReduceError),

    /// The process is a fork of the one that made the threads.
    #[error(transparent)]
    Region(selvedge_sync::RegionError),

    /// A checkpoint was made by a run with another configuration.
    #[error("checkpoint {}: {field} is {found}, this run has {expected}; resume with the settings it was made with", path.display())]
    CheckpointConfig {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// In the checkpoint.
        found: String,
        /// In this run.
        expected: String,
    },

    /// The owner asked for the work to end.
    #[error("cancelled")]
    Cancelled,

    /// The file does not begin as a token file does.
    #[error(
        "{} is not a token file: it begins with {found:02x?}; give a file written by the tokenize step, or the text itself as data",
        path.display()
    )]
    TokenMagic {
        /// The file.
        path: PathBuf,
        /// Its first eight bytes.
        found: [u8; 8],
    },

    /// A token file of another format version.
    #[error(
        "token file {} has format version {found}, this program reads {expected}; tokenize the text again",
        path.display()
    )]
    TokenVersion {
        /// The file.
        path: PathBuf,
        /// The version in its header.
        found: u32,
        /// The version this program reads and writes.
        expected: u32,
    },

    /// The header's own checksum does not fit its fields.
    #[error(
        "the header of token file {} is damaged (its checksum at byte {offset} does not fit); tokenize the text again",
        path.display()
    )]
    TokenHeader {
        /// The file.
        path: PathBuf,
        /// Where the checksum lies, in bytes from the start.
        offset: u64,
    },

    /// A header field holds a value no writer makes.
    #[error(
        "token file {}, byte {offset}: {field} is {found}, expected {expected}; tokenize the text again",
        path.display()
    )]
    TokenField {
        /// The file.
        path: PathBuf,
        /// Where the field lies, in bytes from the start.
        offset: u64,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The value the rest of the header calls for.
        expected: u64,
    },

    /// The file is shorter or longer than its header says.
    #[error(
        "token file {} is {found} bytes long, its header calls for {expected}; it was cut short or added to: tokenize the text again",
        path.display()
    )]
    TokenLength {
        /// The file.
        path: PathBuf,
        /// Length by the header, in bytes.
        expected: u64,
        /// Length on disk, in bytes.
        found: u64,
    },

    /// The tokens are not those that were written.
    #[error(
        "the tokens of {} are damaged: digest {found}, expected {expected}; tokenize the text again",
        path.display()
    )]
    TokenDigest {
        /// The file.
        path: PathBuf,
        /// The digest in the header, in hexadecimal.
        expected: String,
        /// The digest of the tokens, in hexadecimal.
        found: String,
    },

    /// A token id outside the vocabulary.
    #[error(
        "token file {}, byte {offset}: token id {id} is not below the vocabulary size {vocab}; tokenize the text again",
        path.display()
    )]
    TokenId {
        /// The file.
        path: PathBuf,
        /// Where the id lies (or would lie), in bytes from the start.
        offset: u64,
        /// The id.
        id: u32,
        /// The vocabulary size in the header.
        vocab: u32,
    },

    /// A read past the last token.
    #[error("tokens {start}..{} of {} do not exist: it holds {tokens}", start.saturating_add(*count), path.display())]
    TokenRange {
        /// The file.
        path: PathBuf,
        /// First token asked for.
        start: u64,
        /// How many were asked for.
        count: u64,
        /// How many the file holds.
        tokens: u64,
    },

    /// The token file was made for a vocabulary of another size.
    #[error(
        "token file {} has a vocabulary of {found}, the model or tokenizer one of {expected}; tokenize with the tokenizer of this run",
        path.display()
    )]
    TokenVocab {
        /// The file.
        path: PathBuf,
        /// Vocabulary size wanted.
        expected: u32,
        /// Vocabulary size in the header.
        found: u32,
    },

    /// The token file was made by another tokenizer.
    #[error(
        "token file {} was made by tokenizer {found}, this run has {expected}; tokenize with the tokenizer of this run",
        path.display()
    )]
    TokenTokenizer {
        /// The file.
        path: PathBuf,
        /// Digest of the run's tokenizer, in hexadecimal.
        expected: String,
        /// Digest in the header, in hexadecimal.
        found: String,
    },

    /// Not one window of the wanted length fits into the data.
    #[error(
        "{} holds {tokens} tokens, too few for one window of context {context} (it needs {}); use more data or a shorter context",
        path.display(),
        context.saturating_add(1)
    )]
    ContextTooLong {
        /// The token file.
        path: PathBuf,
        /// How many tokens it holds.
        tokens: u64,
        /// The context asked for, in tokens.
        context: u64,
    },

    /// A loader thread ended before its work did: a panic, as a rule.
    #[error("data loader thread {thread} died: {message}")]
    LoaderDied {
        /// Which thread, from 0.
        thread: usize,
        /// What it said.
        message: String,
    },

    /// A loader thread did not deliver within the deadline.
    #[error(
        "data loader thread {thread} delivered nothing for {deadline:?}; is the disk that holds the token file responding?"
    )]
    LoaderStalled {
        /// Which thread, from 0.
        thread: usize,
        /// How long the consumer waited.
        deadline: Duration,
    },

    /// The loader has already reported the error that ended it.
    #[error("the data loader has ended after an earlier error; start a new one")]
    LoaderEnded,

    /// No example has an answer that fits.
    #[error(
        "none of the {examples} examples has an answer within {context} tokens; use a longer context, or data with answers"
    )]
    NoExamples {
        /// How many there are.
        examples: usize,
        /// Tokens of a row.
        context: usize,
    },

    /// A line of a file of examples is none.
    #[error("{}, line {line}: {what}; expected {expected}", path.display())]
    ExampleLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
        /// What would have been accepted.
        expected: &'static str,
    },

    /// A corpus root is a pipe, socket or device.
    #[error("{} is neither a file nor a folder; give one of the two as data", path.display())]
    CorpusNotAFile {
        /// The root.
        path: PathBuf,
    },

    /// Nothing that was found is text to train on.
    #[error("no text to train on in {} (of {roots} given): {report}; give a file or folder with text", path.display())]
    CorpusEmpty {
        /// The first root; empty if none was given.
        path: PathBuf,
        /// How many roots were given.
        roots: usize,
        /// Why each file was left out.
        report: Box<Report>,
    },

    /// A lone file too short to hold a part of it out.
    #[error("{} holds {bytes} bytes, too few to hold a part out for validation; use more text", path.display())]
    CorpusTooSmall {
        /// The file, as named within its group.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },

    /// A tensor to be saved does not fit its buffer, or its name is taken.
    #[error(
        "cannot save tensor {tensor} of shape {shape:?} in {file}: it lies at {range:?} of {buffer} values, or another tensor there has its name"
    )]
    SaveTensor {
        /// The file it was to be in.
        file: String,
        /// Its name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Where its values were to lie in the buffer.
        range: Range<usize>,
        /// How many values the buffer has.
        buffer: usize,
    },

    /// A file to be saved has a name that is taken, hidden or no plain name.
    #[error("cannot save a checkpoint file as {file:?}: give each file a plain name of its own")]
    SaveName {
        /// The name.
        file: String,
    },

    /// The manifest could not be turned into JSON.
    #[error("cannot write the manifest of a checkpoint")]
    SaveManifest {
        /// Why not.
        source: serde_json::Error,
    },

    /// A file of a checkpoint is not as it was written.
    #[error("checkpoint file {} is damaged: {damage}; use another checkpoint", path.display())]
    CheckpointDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },

    /// A folder has no whole checkpoint.
    #[error(
        "no whole checkpoint in {}{}; begin a new run, or resume from another folder",
        dir.display(),
        passed_over(skipped)
    )]
    NoCheckpoint {
        /// The folder.
        dir: PathBuf,
        /// Those that are not whole.
        skipped: Vec<Skipped>,
    },

    /// A checkpoint has no tensor of a name.
    #[error(
        "{} holds no tensor {tensor}; it was saved by a model of another architecture or size: use the run's own configuration",
        path.display()
    )]
    TensorMissing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },

    /// A tensor of a checkpoint has another shape or type than the model's.
    #[error(
        "tensor {tensor} in {} is {dtype} of shape {found:?}, the model's is F32 of shape {expected:?}: use the run's own configuration",
        path.display()
    )]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// The type in the file.
        dtype: String,
    },

    /// The thread that saves checkpoints did not finish within the deadline.
    #[error("saving a checkpoint takes longer than {deadline:?}; is the disk responding?")]
    CheckpointStalled {
        /// How long was waited.
        deadline: Duration,
    },

    /// The thread that saves checkpoints ended before its work did: a panic, as a rule.
    #[error("the thread that saves checkpoints died: {message}")]
    CheckpointWriterDied {
        /// What it said.
        message: String,
    },
}

impl Error {
    /// An [`Error::Io`] of `op` on `path`, for `map_err`.
    pub(crate) fn io(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { op, path: path.as_ref().to_path_buf(), source }
    }

    /// An [`Error::Setting`].
    pub(crate) fn setting(name: &'static str, value: impl fmt::Display, expected: &'static str) -> Self {
        Self::Setting { name, value: value.to_string(), expected }
    }
}

/// What the user can do about the common answers of a file system.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full or the quota used up; free some space or choose a folder on another disk"
        }
        io::ErrorKind::PermissionDenied => ": no permission; change the permissions or choose another path",
        io::ErrorKind::NotFound => ": there is no such file or folder; check the path",
        io::ErrorKind::ReadOnlyFilesystem => ": the file system is read-only; choose another folder",
        io::ErrorKind::NotADirectory => ": a part of the path is a file, not a folder; check the path",
        io::ErrorKind::IsADirectory => ": it is a folder, not a file; check the path",
        _ => "",
    }
}

/// The first of the damaged checkpoints, for a message of one line.
fn passed_over(skipped: &[Skipped]) -> String {
    match skipped {
        [] => String::new(),
        [only] => format!(" ({only})"),
        [first, rest @ ..] => format!(" ({first}; and {} more)", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn io_message_names_operation_path_and_remedy_and_keeps_the_source() {
        let error = Error::io("write", "/x/params.safetensors")(io::Error::from(io::ErrorKind::StorageFull));
        let text = error.to_string();
        assert!(text.starts_with("cannot write /x/params.safetensors: the disk is full"), "{text}");
        assert!(text.contains("free some space"), "{text}");
        assert!(error.source().is_some());
    }
}

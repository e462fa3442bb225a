//! What can go wrong, with the data needed to find and mend it.

use std::path::PathBuf;

use crate::TokenId;

/// Everything that training, loading, saving or decoding can report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The wanted vocabulary cannot hold even the 256 bytes and the special tokens.
    #[error("a vocabulary of {wanted} is too small: 256 bytes and the special tokens need at least {least}")]
    VocabularyTooSmall {
        /// Entries asked for.
        wanted: usize,
        /// Fewest entries that would do.
        least: usize,
    },
    /// More entries than [`MAX_VOCABULARY`](crate::MAX_VOCABULARY).
    #[error("a vocabulary of {wanted} is too large: the limit is {limit}")]
    VocabularyTooLarge {
        /// Entries asked for or found.
        wanted: usize,
        /// Most entries allowed.
        limit: usize,
    },
    /// The documents to train on hold no text at all.
    #[error("nothing to train on: every document is empty")]
    EmptyCorpus,
    /// The distinct pretokens of the corpus do not fit 32-bit positions.
    #[error(
        "the corpus has {bytes} bytes of distinct pretokens, the limit is {limit}: train on a sample of it"
    )]
    CorpusTooVaried {
        /// Bytes of distinct pretokens, one separator each included.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// A special token that cannot be used.
    #[error("special token {name:?} {problem}")]
    SpecialToken {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: SpecialProblem,
    },
    /// A token id that the vocabulary does not have.
    #[error("token {id} at position {position} is not in the vocabulary (ids are below {vocab_size})")]
    UnknownToken {
        /// The id.
        id: TokenId,
        /// Its index in the sequence.
        position: usize,
        /// One more than the largest id.
        vocab_size: usize,
    },
    /// A byte without a token of its own: some texts could not be encoded.
    #[error("the vocabulary has no token for the single byte {byte:#04x}")]
    MissingByte {
        /// The byte.
        byte: u8,
    },
    /// An ordinary token that cannot be used.
    #[error("token {id} {problem}")]
    Token {
        /// Its id.
        id: TokenId,
        /// What is wrong with it.
        problem: TokenProblem,
    },
    /// A merge that cannot be used.
    #[error("merge {index} of tokens {left} and {right} {problem}")]
    Merge {
        /// Its place in the list, from 0.
        index: usize,
        /// Id of the left part.
        left: TokenId,
        /// Id of the right part.
        right: TokenId,
        /// What is wrong with it.
        problem: MergeProblem,
    },
    /// The vocabulary can be put together in too many ways: no real one comes near.
    #[error("the vocabulary's tokens split into more than {limit} pairs of tokens")]
    TooManyPairs {
        /// Most pairs allowed.
        limit: usize,
    },
    /// Not JSON, cut short, or not of the expected shape.
    #[error("not a whole tokenizer file: line {line}, column {column}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's own words.
        source: serde_json::Error,
    },
    /// JSON, but of something else.
    #[error("the file's format is {found:?}, not {expected:?}")]
    Format {
        /// The `format` field as found.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Written by a later release.
    #[error("the file has version {found}, this release reads version {known}: update selvedge-tokenizer")]
    Version {
        /// Version of the file.
        found: u64,
        /// Version this release reads and writes.
        known: u64,
    },
    /// The content is not what was written.
    #[error("the file is damaged: it says checksum {stored:?}, its content has {computed:?}")]
    Checksum {
        /// As the file has it.
        stored: String,
        /// As computed from the content.
        computed: String,
    },
    /// A pretokenizer that this release does not know.
    #[error("unknown pretokenizer {name:?}: known are {}", known_pretokenizers())]
    Pretokenizer {
        /// The name as found.
        name: String,
    },
    /// A tokenizer of another kind, or one that does something to texts that this crate does not do.
    #[error(
        "the {part} {found:?} is not supported: only byte-level BPE is, with the pretokenizers known here"
    )]
    Unsupported {
        /// Which part of the tokenizer.
        part: &'static str,
        /// What it is, or the beginning of it.
        found: String,
    },
    /// A tokenizer that a format has no words for.
    #[error("this tokenizer cannot be written as {format}: {what}")]
    NotWritable {
        /// The format.
        format: &'static str,
        /// What it lacks.
        what: String,
    },
    /// A part of a tokenizer file that contradicts the format.
    #[error("the field {field} of the tokenizer is not as its format says: {found:?}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it holds, or the beginning of it.
        found: String,
    },
    /// A merge of something that is no token.
    #[error("merge {index}, {text:?}, is not of two tokens of the vocabulary")]
    MergeText {
        /// Its place in the list, from 0.
        index: usize,
        /// As the file has it.
        text: String,
    },
    /// As many tokens as types of tokens are needed.
    #[error("the vocabulary has {tokens} tokens, but {types} types of tokens")]
    TokenTypes {
        /// How many tokens there are.
        tokens: usize,
        /// How many types there are.
        types: usize,
    },
    /// The vocabulary does not say which token ends a text.
    #[error(
        "which token ends a text is not known: name one that the vocabulary has (looked for {looked_for})"
    )]
    NoEndOfText {
        /// What was looked for.
        looked_for: String,
    },
    /// Larger than any real tokenizer file.
    #[error("{bytes} bytes are too many for a tokenizer file: the limit is {limit}")]
    FileTooLarge {
        /// Size found.
        bytes: u64,
        /// Most bytes read.
        limit: u64,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that does not hold a usable tokenizer; the source says where and why.
    #[error("cannot load a tokenizer from {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong inside it.
        source: Box<Error>,
    },
}

fn known_pretokenizers() -> String {
    crate::Pretokenizer::all().map(crate::Pretokenizer::name).collect::<Vec<_>>().join(", ")
}

/// What is wrong with a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecialProblem {
    /// Its name is empty.
    #[error("has an empty name")]
    Empty,
    /// Its name is longer than a token may be.
    #[error("has a name longer than {} bytes", crate::MAX_TOKEN_BYTES)]
    TooLong,
    /// Another special token has the same name.
    #[error("is listed twice")]
    Duplicate,
    /// Another token has the same id.
    #[error("has an id that another token has")]
    IdTaken,
    /// Its id is [`MAX_VOCABULARY`](crate::MAX_VOCABULARY) or more.
    #[error("has an id of {} or more", crate::MAX_VOCABULARY)]
    IdTooLarge,
    /// It is said to be an ordinary token as well, and is not, or is special.
    #[error("is said to be an ordinary token as well, but no ordinary token has its id, or it is special")]
    NotOrdinary,
    /// Every vocabulary needs it, and this one has not got it.
    #[error("is missing: every vocabulary needs it, to mark where a document ends")]
    Missing,
}

/// What is wrong with an ordinary token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// It stands for no bytes.
    #[error("is empty")]
    Empty,
    /// Its bytes are not written as pairs of hexadecimal digits.
    #[error("is not written in hexadecimal")]
    NotHex,
    /// It is longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    #[error("is longer than {} bytes", crate::MAX_TOKEN_BYTES)]
    TooLong,
    /// Another token stands for the same bytes.
    #[error("has the same bytes as token {0}")]
    Duplicate(TokenId),
    /// Another token has the same id.
    #[error("is listed twice")]
    IdTaken,
    /// Its id is [`MAX_VOCABULARY`](crate::MAX_VOCABULARY) or more.
    #[error("has an id of {} or more", crate::MAX_VOCABULARY)]
    IdTooLarge,
}

/// What is wrong with a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeProblem {
    /// It uses a token that no earlier merge makes.
    #[error("uses a token that no earlier merge makes")]
    Undefined,
    /// Its token would be longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    #[error("makes a token longer than {} bytes", crate::MAX_TOKEN_BYTES)]
    TooLong,
    /// Its token exists already.
    #[error("makes the same bytes as token {0}")]
    Duplicate(TokenId),
    /// It uses a token that is special, or not made of bytes, or not there.
    #[error("uses what is not an ordinary token")]
    NotOrdinary,
    /// The bytes of both together are not a token.
    #[error("makes bytes that are not a token")]
    NoToken,
}

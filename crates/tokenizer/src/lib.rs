//! Byte-level BPE: train, encode, decode.
//!
//! A [`Tokenizer`] turns text into token ids and back, without loss for any bytes. It is immutable and `Send + Sync`: every
//! method takes `&self`, there is no lock and no hidden global, and a clone is one reference count. It is trained by a
//! [`Trainer`], loaded from its own file format, built from a published list of ranks, or read from what published models
//! come with: a `tokenizer.json` ([`Tokenizer::from_hugging_face`]) or a GGUF file ([`Tokenizer::from_gguf`]); both are
//! written as well ([`Tokenizer::to_hugging_face`], [`Tokenizer::to_gguf`]).
//!
//! # Stages
//!
//! | stage | modules | what it does |
//! | --- | --- | --- |
//! | 0. added tokens | `added` | for published models: finds tokens with names in the text, before anything is cut |
//! | 1. pretokenize | `pretokenize` | cuts text into pretokens: words, numbers, signs, blanks; hand-written, no regex |
//! | 2. look up | `cache` | a bounded table, one per caller, answers for short pretokens met before |
//! | 3. merge | `merge`, `pairs` | otherwise joins bytes into tokens, lowest id or rank first: a scan for short pretokens, a heap for long ones |
//! | decode | `decode` | ids to bytes, all at once or as a stream that never cuts a character |
//! | train | `train` | counts pretokens on all cores, then learns one merge after another |
//! | keep | `vocab`, `distinct`, `file` | the checked vocabulary, and its file |
//! | published models | `published` | reads the vocabularies of others |
//! | conversations | [`chat`] | renders the chat templates of others |
//!
//! # What is promised
//!
//! - Encoding never fails, and `decode(encode(text)) == text` for any bytes. Published models may break the latter as their
//!   makers' own tokenizers do: where a vocabulary lacks a byte ([`Tokenizer::missing_bytes`]), where a text is normalized
//!   first (Qwen's), where an added token takes the blanks beside it.
//! - Special tokens never come out of ordinary text: `<|endoftext|>` typed by a user is encoded as those 13 characters.
//!   Programs put [`Tokenizer::special`] ids where they want them, or call [`Tokenizer::encode_with_specials`] for a prompt
//!   made from a template. (One exception: a published vocabulary may have a token for bytes that it lacks.)
//! - The same documents give the same tokenizer, in whatever order and on however many threads they are counted; encoding
//!   a batch gives what encoding one by one gives.
//! - Work is at most `n log n` in the length of a text, whatever the text; memory per caller is bounded.
//! - A vocabulary from a file is checked in full: damaged or hostile files are errors, never panics.
//!
//! ```
//! use selvedge_tokenizer::{Tokenizer, Trainer};
//!
//! let trainer = Trainer { vocab_size: 300, ..Trainer::default() };
//! let tokenizer = trainer.train(["the cat sat on the mat, the rat sat on the cat"], |_| {})?;
//! let ids = tokenizer.encode("the cat sat");
//! assert!(ids.len() < "the cat sat".len());
//! assert_eq!(tokenizer.decode(&ids)?, b"the cat sat");
//! # Ok::<(), selvedge_tokenizer::Error>(())
//! ```

mod added;
mod cache;
pub mod chat;
mod decode;
mod distinct;
mod encode;
mod error;
mod file;
mod merge;
mod pairs;
mod pretokenize;
mod published;
mod tokenizer;
mod train;
mod vocab;

pub use cache::Cache;
pub use decode::Decoder;
pub use error::{Error, MergeProblem, SpecialProblem, TokenProblem};
pub use pretokenize::{Pretokenizer, Split};
pub use published::{GgufTokens, GgufVocabulary};
pub use tokenizer::Tokenizer;
pub use train::{Progress, Trainer};

/// A token's number.
pub type TokenId = u32;

/// The special token that ends a document; every vocabulary has it.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Ids are below this: 2²⁰.
pub const MAX_VOCABULARY: usize = 1 << 20;

/// No token stands for more bytes than this. (The longest of the published vocabularies are runs of 128 blanks.)
pub const MAX_TOKEN_BYTES: usize = 512;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

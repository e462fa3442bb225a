//! What can go wrong with a model that came from outside, and with what is asked of it.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that makes no model.
    #[error("model configuration: {field} = {value} {rule}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it must satisfy.
        rule: &'static str,
    },
    /// A weights file lacks a tensor.
    #[error("{}: no tensor {name:?}; this file does not hold a model of the configuration asked for", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: tensor {name:?} has shape {found:?}, the configuration says {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape of the configuration.
        expected: Vec<usize>,
    },
    /// A tensor has another element type than f32.
    #[error("{}: tensor {name:?} has type {found}, expected F32", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The type in the file.
        found: String,
    },
    /// More tokens than the model's context.
    #[error("{tokens} tokens do not fit the model's context of {context}; shorten the text")]
    ContextExceeded {
        /// Tokens asked for, those before included.
        tokens: usize,
        /// The model's limit.
        context: usize,
    },
    /// A token the model does not have.
    #[error(
        "token {token} is outside the vocabulary of {vocab}; is this the tokenizer the model was trained with?"
    )]
    TokenOutsideVocabulary {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// No room for another sequence.
    #[error("all {sequences} sequences of the batch are in use; remove one, or make the batch larger")]
    BatchFull {
        /// How many the batch was made for.
        sequences: usize,
    },
    /// A sequence of a batch that no token was given for.
    #[error("feed {index} has no tokens, so that no logits follow; leave it out")]
    EmptyFeed {
        /// Which of those given.
        index: usize,
    },
    /// More keys and values than can be addressed.
    #[error("caches of {sequences} sequences of {context} positions are beyond any memory; ask for fewer")]
    CacheTooLarge {
        /// Sequences asked for.
        sequences: usize,
        /// Positions of each.
        context: usize,
    },
    /// The score of a first token was asked for.
    #[error(
        "the first token of a sequence has nothing before it, so that no model says how likely it is; begin with the token that stands before a text"
    )]
    NothingBefore,
    /// A token whose probability is no number.
    #[error(
        "the log-probability of token {token} at position {position} is not finite; are the model's parameters damaged?"
    )]
    Score {
        /// The token.
        token: u32,
        /// Its place in the sequence.
        position: usize,
    },
    /// A setting of sampling outside its range.
    #[error("sampling: {field} = {value} {rule}")]
    Sampling {
        /// Name of the field.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it must satisfy.
        rule: &'static str,
    },
    /// Another number of logits than the sampler was made for.
    #[error(
        "{found} logits for a sampler over a vocabulary of {vocab}; make the sampler with the model's vocabulary"
    )]
    LogitsLength {
        /// Logits given.
        found: usize,
        /// Size of the sampler's vocabulary.
        vocab: usize,
    },
    /// A logit from which nothing can be drawn.
    #[error(
        "the logit of token {token} is {value}, neither finite nor −∞; are the model's parameters damaged?"
    )]
    Logit {
        /// The first such token.
        token: u32,
        /// NaN or +∞.
        value: f32,
    },
    /// Every logit is −∞, by itself or by its bias.
    #[error("no token can be chosen: all logits are −∞; ban fewer tokens")]
    AllTokensBanned,
    /// No token that is allowed has a logit above −∞.
    #[error(
        "none of the tokens that are allowed can be chosen: their logits are −∞, or there are none; allow more, or ban fewer"
    )]
    NoTokenAllowed,
    /// A set of tokens of another size.
    #[error(
        "{found} words of allowed tokens for a vocabulary of {vocab}; there must be {words}, of 32 tokens each"
    )]
    MaskLength {
        /// Words given.
        found: usize,
        /// Words that there must be.
        words: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A stop string without characters.
    #[error("stop string {index} is empty and would end every text at once; leave it out")]
    EmptyStopString {
        /// Its place in the list.
        index: usize,
    },
}

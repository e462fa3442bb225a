//! What can go wrong with a text or questions that a model is measured by.

use std::path::PathBuf;

/// Errors of measuring a model by a text or by questions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The model refused tokens.
    #[error(transparent)]
    Model(#[from] selvedge_model::Error),
    /// Chunks that leave nothing to score, or nothing before it.
    #[error("chunks of {context} tokens are too short: they must have at least {least}")]
    ShortChunks {
        /// Tokens of a chunk.
        context: usize,
        /// What would do.
        least: usize,
    },
    /// Chunks that the model has no room for.
    #[error(
        "chunks of {context} tokens do not fit the model's context of {most}; use a --context of at most {most}"
    )]
    LongChunks {
        /// Tokens of a chunk.
        context: usize,
        /// Most that fit.
        most: usize,
    },
    /// Fewer tokens than one chunk.
    #[error(
        "the text has {tokens} tokens, fewer than one chunk of {context}: take a longer text or a shorter --context"
    )]
    ShortText {
        /// Tokens of the text, those before it included.
        tokens: usize,
        /// Tokens of a chunk.
        context: usize,
    },
    /// A line that is no JSON.
    #[error("{}, line {line}: not JSON; each line must be one object, as in {example}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// A good line.
        example: &'static str,
        /// What the reader of JSON says.
        source: serde_json::Error,
    },
    /// A field of a question that is missing or says something impossible.
    #[error("{}, line {line}: {field} {problem}; a line looks like {example}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
        /// A good line.
        example: &'static str,
    },
    /// A file without a question.
    #[error("{} holds no questions: it must have a line for each, as {example}", path.display())]
    NoQuestions {
        /// The file.
        path: PathBuf,
        /// A good line.
        example: &'static str,
    },
    /// A question that the model has no room for.
    #[error(
        "line {line}: an answer of {tokens} tokens does not fit a context of {context}; use a longer --context, or leave the question out"
    )]
    LongAnswer {
        /// The line, from 1.
        line: usize,
        /// Tokens of the longest answer.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// An answer in which the vocabulary finds no token.
    #[error("line {line}: answer {answer} has no tokens in the model's vocabulary; leave the question out")]
    EmptyAnswer {
        /// The line, from 1.
        line: usize,
        /// Which of the answers, from 0.
        answer: usize,
    },
    /// A text from which fewer questions can be made than were asked for.
    #[error(
        "the text has places for {places} questions, {count} were asked for: take a longer text or fewer questions"
    )]
    FewPlaces {
        /// Questions that can be made.
        places: u64,
        /// Questions asked for.
        count: u64,
    },
}

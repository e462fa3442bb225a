//! `selvedge eval --choices` and `--last-word`: questions answered by likelihood.

use std::path::Path;

use selvedge_model::Scorer;
use selvedge_sync::CancelToken;
use selvedge_tensor::Context;
use selvedge_train::evaluate::{
    ChoiceResult, LastWordResult, MeasureError, Question, Room, Share, read_choices, read_last_words,
};
use serde::Serialize;

use crate::eval::pace::Pace;
use crate::eval::subject::Subject;
use crate::eval::{or_not, print_json, stopped};
use crate::file::read;
use crate::say::{remark, result};

/// Room for a question unless `--context` says otherwise.
pub(crate) const ROOM: usize = 2048;

#[derive(Serialize)]
struct ShareLine {
    value: f64,
    standard_error: Option<f64>,
    confidence_95: (f64, f64),
}

impl From<Share> for ShareLine {
    fn from(share: Share) -> Self {
        ShareLine {
            value: share.value(),
            standard_error: share.standard_error(),
            confidence_95: share.interval(),
        }
    }
}

#[derive(Serialize)]
struct ChoicesLine<'a> {
    measure: &'static str,
    model: &'a str,
    file: String,
    questions: u64,
    cut: u64,
    accuracy: ShareLine,
    accuracy_by_bytes: ShareLine,
}

#[derive(Serialize)]
struct LastWordLine<'a> {
    measure: &'static str,
    model: &'a str,
    file: String,
    questions: u64,
    cut: u64,
    tokens: u64,
    accuracy: ShareLine,
    perplexity: f64,
    perplexity_standard_error: Option<f64>,
}

/// Which of some endings the model holds likeliest.
pub(crate) fn choices(
    cx: &mut Context,
    subject: &Subject,
    scorer: &mut Scorer<'_>,
    path: &Path,
    is_json: bool,
    cancel: &CancelToken,
) -> anyhow::Result<()> {
    let questions = read_choices(path, &read(path, u64::MAX)?)?;
    let mut found = ChoiceResult::default();
    ask(&questions, ["question", "questions"], cancel, |choices| {
        let question = question(subject, scorer, &choices.context, &choices.endings, choices.line)?;
        let bytes: Vec<usize> = choices.endings.iter().map(String::len).collect();
        found.add(&question, &question.answers(cx, scorer)?, &bytes, choices.label);
        Ok(found.accuracy)
    })?;
    say_cut(found.cut);
    if is_json {
        return print_json(&ChoicesLine {
            measure: "choices",
            model: &subject.name,
            file: path.display().to_string(),
            questions: found.accuracy.count,
            cut: found.cut,
            accuracy: found.accuracy.into(),
            accuracy_by_bytes: found.accuracy_by_bytes.into(),
        });
    }
    result!(
        "accuracy {}; by bytes {}; over {} questions",
        in_words(found.accuracy),
        in_words(found.accuracy_by_bytes),
        found.accuracy.count
    )
}

/// Which last words the model would write.
pub(crate) fn last_word(
    cx: &mut Context,
    subject: &Subject,
    scorer: &mut Scorer<'_>,
    path: &Path,
    is_json: bool,
    cancel: &CancelToken,
) -> anyhow::Result<()> {
    let questions = read_last_words(path, &read(path, u64::MAX)?)?;
    let mut found = LastWordResult::default();
    ask(&questions, ["text", "texts"], cancel, |word| {
        let target = std::slice::from_ref(&word.target);
        let question = question(subject, scorer, &word.context, target, word.line)?;
        for answer in question.answers(cx, scorer)? {
            found.add(&question, &answer);
        }
        Ok(found.accuracy)
    })?;
    say_cut(found.cut);
    if is_json {
        return print_json(&LastWordLine {
            measure: "last_word",
            model: &subject.name,
            file: path.display().to_string(),
            questions: found.accuracy.count,
            cut: found.cut,
            tokens: found.tokens,
            accuracy: found.accuracy.into(),
            perplexity: found.perplexity(),
            perplexity_standard_error: found.perplexity_error(),
        });
    }
    result!(
        "accuracy {}, perplexity {:.3} {} a word, over {} last words of {} tokens",
        in_words(found.accuracy),
        found.perplexity(),
        or_not(found.perplexity_error(), 3),
        found.accuracy.count,
        found.tokens
    )
}

/// Asks questions, one after the other until it is interrupted; `each` counts one and gives how many were answered rightly so far.
fn ask<Q>(
    questions: &[Q],
    [one, all]: [&'static str; 2],
    cancel: &CancelToken,
    mut each: impl FnMut(&Q) -> anyhow::Result<Share>,
) -> anyhow::Result<()> {
    let mut pace = Pace::new(one, questions.len() as u64);
    let mut done = 0;
    for question in questions {
        let right = each(question)?;
        done = right.count;
        pace.at(done, done, all, &format!("{:.1} % right", 100.0 * right.value()), false);
        if cancel.is_cancelled() {
            break;
        }
    }
    drop(pace);
    stopped(done as usize, questions.len(), all);
    Ok(())
}

/// A question in tokens.
fn question(
    subject: &Subject,
    scorer: &Scorer<'_>,
    context: &str,
    answers: &[String],
    line: usize,
) -> Result<Question, MeasureError> {
    let Subject { tokenizer, prefix, .. } = subject;
    let room = Room { prefix, start: tokenizer.end_of_text(), context: scorer.capacity() - 1 };
    let wholes: Vec<_> = answers.iter().map(|answer| tokenizer.encode(joined(context, answer))).collect();
    Question::new(room, &tokenizer.encode(context), &wholes, line)
}

/// A context and an answer, with a space between them where there is no white space.
fn joined(context: &str, answer: &str) -> String {
    let is_apart = context.is_empty()
        || context.ends_with(char::is_whitespace)
        || answer.starts_with(char::is_whitespace);
    format!("{context}{}{answer}", if is_apart { "" } else { " " })
}

/// A share with how far it may be off.
fn in_words(share: Share) -> String {
    let (low, high) = share.interval();
    format!(
        "{:.2} % {} (95 % confidence: {:.2} to {:.2} %)",
        100.0 * share.value(),
        or_not(share.standard_error().map(|error| 100.0 * error), 2),
        100.0 * low,
        100.0 * high
    )
}

fn say_cut(cut: u64) {
    if cut > 0 {
        remark!("{cut} questions were too long for the context: their first tokens were left out");
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn a_space_stands_between_where_there_is_none() {
        assert_eq!(joined("the", "door"), "the door");
        assert_eq!(joined("the ", "door"), "the door");
        assert_eq!(joined("the", "\n  door"), "the\n  door");
        assert_eq!(joined("", "door"), "door");
    }
}

//! Questions made from a text that a model has not seen: a pure function of the text, the number and the seed.

use std::ops::Range;

use selvedge_model::CounterRng;

use super::{Choices, LastWord};
use crate::evaluate::MeasureError;
use crate::order::Order;

/// Words before an answer.
const CONTEXT: usize = 48;
/// Words of an ending.
const ENDING: usize = 12;
/// Endings of a question.
const ENDINGS: usize = 4;
/// Places tried for each wrong ending before the question is given up.
const TRIES: u64 = 64;
/// How much the length of a wrong ending may differ from that of the right one: a part of so many.
const LIKE: usize = 5;
/// Letters of a last word at the least.
const LETTERS: usize = 3;

/// Questions with four endings of twelve words, the right one as it follows in the text, the others from elsewhere in it and
/// about as long. Contexts are 48 words as they stand, and right endings do not overlap.
///
/// # Errors
/// [`MeasureError::FewPlaces`] where the text is too short, or has too few passages that differ.
pub fn make_choices(text: &str, count: u64, seed: u64) -> Result<Vec<Choices>, MeasureError> {
    let words = words(text);
    let places = words.len().saturating_sub(CONTEXT) / ENDING;
    let question = |place: u64| {
        let first = CONTEXT + place as usize * ENDING;
        choices(text, &words, first, &CounterRng::new(seed, place.wrapping_add(1)))
    };
    pick(places as u64, count, seed, question)
}

/// Questions for a last word: a word of letters that is among the 48 before it too, so that a reader can know it.
///
/// # Errors
/// As [`make_choices`].
pub fn make_last_words(text: &str, count: u64, seed: u64) -> Result<Vec<LastWord>, MeasureError> {
    let words = words(text);
    let places = words.len().saturating_sub(CONTEXT);
    pick(places as u64, count, seed, |place| last_word(text, &words, CONTEXT + place as usize))
}

/// The first `count` questions at places in the order of the seed.
fn pick<Q>(
    places: u64,
    count: u64,
    seed: u64,
    question: impl Fn(u64) -> Option<Q>,
) -> Result<Vec<Q>, MeasureError> {
    let mut found = Vec::new();
    if places > 0 {
        let order = Order::new(seed, places);
        let all = (0..places).filter_map(|index| question(order.window(0, index)));
        found.extend(all.take(usize::try_from(count).unwrap_or(usize::MAX)));
    }
    match found.len() as u64 {
        0 => Err(MeasureError::FewPlaces { places: 0, count }),
        made if made < count => Err(MeasureError::FewPlaces { places: made, count }),
        _ => Ok(found),
    }
}

/// Where the words of a text lie: what stands between white space.
fn words(text: &str) -> Vec<Range<usize>> {
    let base = text.as_ptr() as usize;
    let place = |word: &str| {
        let start = word.as_ptr() as usize - base;
        start..start + word.len()
    };
    text.split_whitespace().map(place).collect()
}

/// A question whose right ending begins with word `first`; none where there are too few other passages.
fn choices(text: &str, words: &[Range<usize>], first: usize, rng: &CounterRng) -> Option<Choices> {
    let end = first + ENDING;
    let cut = words[first - 1].end;
    let right = &text[words[first].start..words[end - 1].end];
    let mut wrong: Vec<&str> = Vec::new();
    for attempt in 1..=TRIES * (ENDINGS as u64 - 1) {
        if wrong.len() == ENDINGS - 1 {
            break;
        }
        let start = (rng.at(attempt) % words.len() as u64) as usize;
        let Some(other) = passage(words, start, right.len()) else { continue };
        let is_apart = other.end <= words[first - CONTEXT].start || other.start >= words[end - 1].end;
        let other = &text[other];
        if is_apart && other != right && !wrong.contains(&other) {
            wrong.push(other);
        }
    }
    if wrong.len() < ENDINGS - 1 {
        return None;
    }
    let label = (rng.at(0) % ENDINGS as u64) as usize;
    wrong.insert(label, right);
    // White space before an ending is that of the right one for all.
    let space = &text[cut..words[first].start];
    let endings = wrong.iter().map(|ending| format!("{space}{ending}")).collect();
    let context = text[words[first - CONTEXT].start..cut].to_owned();
    Some(Choices { context, endings, label, line: 0 })
}

/// The whole words from `start` on that together are nearest to `len` bytes, if they are near.
fn passage(words: &[Range<usize>], start: usize, len: usize) -> Option<Range<usize>> {
    let from = words[start].start;
    let off = |word: &&Range<usize>| (word.end - from).abs_diff(len);
    // Lengths grow: once they are past, they do not come back.
    let ends = words[start..].iter().scan(false, |is_past, word| {
        let was_past = std::mem::replace(is_past, word.end - from >= len);
        (!was_past).then_some(word)
    });
    let last = ends.min_by_key(off)?;
    (off(&last) <= len / LIKE).then_some(from..last.end)
}

/// A question for word `at`; none where it is not of letters, or not among those before it.
fn last_word(text: &str, words: &[Range<usize>], at: usize) -> Option<LastWord> {
    let of = |range: &Range<usize>| text[range.clone()].trim_end_matches(|c: char| !c.is_alphanumeric());
    let word = of(&words[at]);
    let before = &words[at - CONTEXT..at];
    let is_word = word.chars().all(char::is_alphabetic) && word.chars().count() >= LETTERS;
    if !is_word || !before.iter().any(|other| of(other) == word) {
        return None;
    }
    let (from, cut) = (before[0].start, before[CONTEXT - 1].end);
    let target = text[cut..words[at].start + word.len()].to_owned();
    Some(LastWord { context: text[from..cut].to_owned(), target, line: 0 })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Words of several lengths, now and then with a comma or a new line.
    fn text(count: u64, seed: u64) -> String {
        let rng = CounterRng::new(seed, 7);
        let word = |i: u64| {
            let length = 1 + rng.at(3 * i) % 9;
            let letter =
                |at: u64| char::from(b'a' + (rng.at(3 * i + 1).rotate_left(8 * at as u32) % 4) as u8);
            let mut word: String = (0..length).map(letter).collect();
            word.push_str(match rng.at(3 * i + 2) % 9 {
                0 => ", ",
                1 => ".\n\n",
                _ => " ",
            });
            word
        };
        (0..count).map(word).collect()
    }

    #[test]
    fn right_endings_follow_in_the_text_and_wrong_ones_stand_elsewhere_in_it() {
        let text = text(3000, 1);
        let questions = make_choices(&text, 100, 5).unwrap();
        assert_eq!(questions.len(), 100);
        let mut labels = [0; ENDINGS];
        let mut seen = HashSet::new();
        for Choices { context, endings, label, .. } in &questions {
            assert_eq!(context.split_whitespace().count(), CONTEXT);
            let right = &endings[*label];
            assert!(text.contains(&format!("{context}{right}")));
            assert_eq!(right.split_whitespace().count(), ENDING);
            assert_eq!(endings.iter().collect::<HashSet<_>>().len(), ENDINGS);
            for ending in endings {
                assert!(text.contains(ending.trim_start()) && !context.contains(ending.trim_start()));
                assert!(ending.len().abs_diff(right.len()) <= right.len() / LIKE, "{ending:?} {right:?}");
            }
            labels[*label] += 1;
            assert!(seen.insert(context), "a place twice");
        }
        assert!(labels.iter().all(|&count| count > 10), "{labels:?}");
        assert_eq!(make_choices(&text, 100, 5).unwrap(), questions);
        assert_ne!(make_choices(&text, 100, 6).unwrap(), questions);
        assert_eq!(make_choices(&text, 30, 5).unwrap(), questions[..30]);
    }

    #[test]
    fn last_words_are_of_letters_and_were_there_before() {
        let text = text(4000, 2);
        let questions = make_last_words(&text, 50, 1).unwrap();
        for LastWord { context, target, .. } in &questions {
            assert!(text.contains(&format!("{context}{target}")));
            let word = target.trim_start();
            assert!(
                word.chars().all(char::is_alphabetic) && word.len() >= LETTERS && word.len() < target.len()
            );
            assert!(context.contains(word));
        }
        assert_eq!(make_last_words(&text, 50, 1).unwrap(), questions);
        assert_ne!(make_last_words(&text, 50, 2).unwrap(), questions);
    }

    #[test]
    fn a_text_that_is_too_short_says_how_many_it_has() {
        let error = make_choices(&text(200, 1), 1000, 1).unwrap_err();
        assert!(matches!(error, MeasureError::FewPlaces { places: 1..=12, count: 1000 }), "{error}");
        for text in ["", "   ", "one two three"] {
            let error = make_choices(text, 1, 1).unwrap_err();
            assert!(matches!(error, MeasureError::FewPlaces { places: 0, count: 1 }), "{error}");
            assert!(make_last_words(text, 0, 1).is_err());
        }
        // Nothing but one passage over and over: there is no wrong ending.
        assert!(make_choices(&"word ".repeat(5000), 1, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
        #[test]
        fn any_text_is_taken(pieces in prop::collection::vec("[a-zé漢\u{2003} .,\n]{1,12}", 0..200), seed: u64) {
            let text = pieces.concat();
            for question in make_choices(&text, 3, seed).into_iter().flatten() {
                let whole = format!("{}{}", question.context, question.endings[question.label]);
                prop_assert!(text.contains(&whole));
            }
            for question in make_last_words(&text, 3, seed).into_iter().flatten() {
                let whole = format!("{}{}", question.context, question.target);
                prop_assert!(text.contains(&whole));
            }
        }
    }
}

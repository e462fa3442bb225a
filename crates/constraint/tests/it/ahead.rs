//! Masks from the thread are those that constraints give when asked.

use selvedge_constraint::{Ahead, Constraint, Error, Grammar};

use crate::support::{draw, tokenizer, vocabulary};

#[test]
fn the_thread_gives_the_masks_of_each_text() {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let grammars = [
        Grammar::json().unwrap(),
        Grammar::regex("[a-z]{1,20}").unwrap(),
        Grammar::choice(&["yes", "no"]).unwrap(),
        Grammar::json().unwrap(),
    ];
    let constraints = || -> Vec<_> {
        grammars.iter().map(|grammar| Constraint::new(&vocabulary, grammar).unwrap()).collect()
    };
    let mut direct = constraints();
    let mut ahead = Ahead::start(constraints()).unwrap();
    assert_eq!(ahead.texts(), 4);
    let mut state = 5;
    for _ in 0..80 {
        let live: Vec<usize> = (0..4).filter(|&text| !direct[text].finished()).collect();
        // All are under way before the first is asked for.
        for &text in &live {
            let token = draw(direct[text].mask().unwrap(), &tokenizer, &mut state);
            direct[text].accept(token).unwrap();
            ahead.accept(text, token).unwrap();
        }
        for &text in live.iter().rev() {
            assert_eq!(ahead.mask(text).unwrap(), direct[text].mask().unwrap());
            assert_eq!(ahead.finished(text).unwrap(), direct[text].finished());
        }
    }
    assert!(direct[2].finished());
}

#[test]
fn wrong_tokens_and_texts_are_errors() {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let constraint = Constraint::new(&vocabulary, &Grammar::choice(&["ab"]).unwrap()).unwrap();
    let mut ahead = Ahead::start(vec![constraint]).unwrap();
    assert!(matches!(ahead.accept(0, b'b'.into()), Err(Error::NotAllowed { token: 98 })));
    assert!(matches!(ahead.mask(1), Err(Error::NoSuchText { index: 1, texts: 1 })));
    ahead.accept(0, b'a'.into()).unwrap();
    ahead.accept(0, b'b'.into()).unwrap();
    assert!(ahead.finished(0).unwrap());
    ahead.accept(0, tokenizer.end_of_text()).unwrap();
    assert!(ahead.finished(0).unwrap());
    Ahead::start(Vec::new()).unwrap();
}

/// The thread is at work, and what it has done is not asked for any more.
#[test]
fn it_can_be_dropped_at_any_time() {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let grammar = Grammar::json().unwrap();
    for texts in [1, 7] {
        let start = || {
            let constraints = (0..texts).map(|_| Constraint::new(&vocabulary, &grammar).unwrap());
            Ahead::start(constraints.collect()).unwrap()
        };
        drop(start());
        let mut ahead = start();
        for text in 0..texts {
            ahead.accept(text, b'{'.into()).unwrap();
        }
    }
}

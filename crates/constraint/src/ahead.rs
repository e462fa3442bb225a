//! Masks computed on a thread of their own while the model's forward runs.
//!
//! The thread owns the constraints. It is sent the tokens that were chosen and sends back masks, through two channels of which
//! each has room for all that can be under way: so neither side waits for room, and nothing is locked.

use std::fmt;

use selvedge_sync::{OwnedThread, Receiver, Sender, bounded, resting};

use crate::constraint::Constraint;
use crate::error::Error;
use crate::mask::Mask;

/// What can be said of the next token of a text.
struct Step {
    mask: Mask,
    may_end: bool,
    finished: bool,
}

/// What follows a text: a [`Constraint`], or what stands for it in tests.
trait Follow: Send + 'static {
    /// Goes on with the token, if there is one.
    fn step(&mut self, token: Option<u32>) -> Result<Step, Error>;
}

impl Follow for Constraint {
    fn step(&mut self, token: Option<u32>) -> Result<Step, Error> {
        token.map_or(Ok(()), |token| self.accept(token))?;
        let (finished, may_end) = (self.finished(), self.may_end()?);
        Ok(Step { mask: self.mask()?.clone(), may_end, finished })
    }
}

/// The thread's answer for a text.
type Answer = (usize, Result<Step, Error>);

/// Where a text is.
enum State {
    /// The thread is at it.
    Under,
    Known(Step),
    /// Why, until somebody was told.
    Failed(Option<Error>),
}

/// The masks of several texts, computed on one thread while the caller does something else.
///
/// Between [`accept`](Self::accept) and [`mask`](Self::mask) the model's forward has its place. Masks are those that the
/// constraints give when they are asked directly. The thread ends with this value, which joins it.
pub struct Ahead {
    // In the order in which they are dropped: the thread ends when nobody sends any more.
    tokens: Sender<(usize, u32)>,
    answers: Receiver<Answer>,
    texts: Vec<State>,
    thread: Option<OwnedThread<()>>,
    /// How the thread ended, if it did before its time.
    lost: Option<selvedge_sync::ThreadPanicked>,
}

impl Ahead {
    /// Starts the thread, and on it the first mask of each text.
    ///
    /// # Errors
    /// [`Error::Spawn`].
    pub fn start(constraints: Vec<Constraint>) -> Result<Self, Error> {
        Self::follow(constraints)
    }

    fn follow<F: Follow>(mut followers: Vec<F>) -> Result<Self, Error> {
        // A text has at most one token or one mask under way. A channel of nothing there is not.
        let room = followers.len().max(1);
        let (tokens, mut inbox) = bounded::<(usize, u32)>(room);
        let (mut outbox, answers) = bounded::<Answer>(room);
        let texts = followers.iter().map(|_| State::Under).collect();
        let thread = OwnedThread::spawn("masks", move || {
            for (text, follower) in followers.iter_mut().enumerate() {
                if outbox.send((text, follower.step(None))).is_err() {
                    return;
                }
            }
            loop {
                let resting = resting("a token");
                let Ok((text, token)) = inbox.recv() else { return };
                drop(resting);
                if outbox.send((text, followers[text].step(Some(token)))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Ahead { tokens, answers, texts, thread: Some(thread), lost: None })
    }

    /// How many texts there are.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// The tokens that may come next in a text, waiting for them if need be.
    ///
    /// # Errors
    /// Those of [`Constraint::mask`] and [`Constraint::accept`], once, and [`Error::Failed`] from then on;
    /// [`Error::Thread`] if the thread panicked; [`Error::NoSuchText`].
    pub fn mask(&mut self, text: usize) -> Result<&Mask, Error> {
        self.known(text).map(|step| &step.mask)
    }

    /// Whether a text is complete and nothing but its end can follow, waiting for that if need be.
    ///
    /// # Errors
    /// Those of [`Ahead::mask`].
    pub fn finished(&mut self, text: usize) -> Result<bool, Error> {
        self.known(text).map(|step| step.finished)
    }

    /// Whether a text may end where it is, waiting for that if need be.
    ///
    /// # Errors
    /// Those of [`Ahead::mask`].
    pub fn may_end(&mut self, text: usize) -> Result<bool, Error> {
        self.known(text).map(|step| step.may_end)
    }

    /// The tokens to choose from; none where a text is [finished](Self::finished).
    ///
    /// # Errors
    /// Those of [`Ahead::mask`].
    pub fn open(&mut self, text: usize) -> Result<Option<&Mask>, Error> {
        self.known(text).map(|step| (!step.finished).then_some(&step.mask))
    }

    /// Goes on with a token of the mask: has the next mask computed, and returns at once.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for another token; the text is then where it was. Those of [`Ahead::mask`].
    pub fn accept(&mut self, text: usize, token: u32) -> Result<(), Error> {
        if !self.known(text)?.mask.contains(token) {
            return Err(Error::NotAllowed { token });
        }
        if self.tokens.send((text, token)).is_err() {
            return Err(self.gone());
        }
        self.texts[text] = State::Under;
        Ok(())
    }

    fn known(&mut self, text: usize) -> Result<&Step, Error> {
        if text >= self.texts.len() {
            return Err(Error::NoSuchText { index: text, texts: self.texts.len() });
        }
        while let State::Under = self.texts[text] {
            let Ok((of, answer)) = self.answers.recv() else { return Err(self.gone()) };
            self.texts[of] = match answer {
                Ok(step) => State::Known(step),
                Err(error) => State::Failed(Some(error)),
            };
        }
        match &mut self.texts[text] {
            State::Known(step) => Ok(step),
            State::Failed(error) => Err(error.take().unwrap_or(Error::Failed { index: text })),
            State::Under => Err(Error::Failed { index: text }),
        }
    }

    /// Why the thread is gone.
    fn gone(&mut self) -> Error {
        if let Some(Err(panicked)) = self.thread.take().map(OwnedThread::join) {
            self.lost = Some(panicked);
        }
        match &self.lost {
            Some(panicked) => Error::Thread(panicked.clone()),
            // It ends by itself only when this value does.
            None => Error::Broken { tokens: 0, reason: "the thread has ended".to_owned() },
        }
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives empty masks until it is sent a token that means something else.
    struct Planted;

    impl Follow for Planted {
        fn step(&mut self, token: Option<u32>) -> Result<Step, Error> {
            match token {
                Some(1) => Err(Error::Stuck),
                Some(2) => panic!("planted"),
                _ => Ok(Step { mask: Mask::new(vec![u32::MAX], 32), may_end: false, finished: false }),
            }
        }
    }

    #[test]
    fn a_failure_is_told_to_whoever_asks_for_the_text() {
        let mut ahead = Ahead::follow(vec![Planted, Planted]).unwrap();
        ahead.accept(0, 1).unwrap();
        ahead.accept(1, 3).unwrap();
        ahead.mask(1).unwrap();
        assert!(matches!(ahead.mask(0), Err(Error::Stuck)));
        assert!(matches!(ahead.accept(0, 3), Err(Error::Failed { index: 0 })));
        ahead.accept(1, 3).unwrap();
        ahead.mask(1).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_of_all_texts_that_are_under_way() {
        let mut ahead = Ahead::follow(vec![Planted, Planted]).unwrap();
        ahead.mask(1).unwrap();
        ahead.accept(0, 2).unwrap();
        for _ in 0..2 {
            let error = ahead.mask(0).unwrap_err();
            assert!(matches!(&error, Error::Thread(panicked) if panicked.message == "planted"), "{error}");
        }
        assert!(matches!(ahead.accept(1, 3), Err(Error::Thread(_))));
    }
}

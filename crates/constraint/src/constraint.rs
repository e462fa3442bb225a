//! One text that is being written, and which tokens may come next.

use std::fmt;
use std::panic::AssertUnwindSafe;

use llguidance::api::StopReason;
use llguidance::{TokenParser, panic_utils};

use crate::error::{Error, brief};
use crate::grammar::Grammar;
use crate::mask::Mask;
use crate::vocabulary::Vocabulary;

/// Follows one text through a grammar, token by token.
///
/// What one text takes is its own: one that is too costly fails no other. So there are no clones, which would share the states
/// of a lexer and what may still be spent on them.
pub struct Constraint {
    parser: TokenParser,
    vocabulary: Vocabulary,
    /// Of the place where the text is, once it was asked for.
    mask: Option<Mask>,
    /// Tokens accepted.
    tokens: usize,
    /// Nothing but the end of the text can follow.
    finished: bool,
    /// Of a parser that gave up: why.
    broken: Option<String>,
}

impl Constraint {
    /// At the beginning of a text of `grammar`.
    ///
    /// # Errors
    /// [`Error::Grammar`] for a grammar beyond the limits.
    pub fn new(vocabulary: &Vocabulary, grammar: &Grammar) -> Result<Self, Error> {
        let parser = vocabulary.factory().create_parser_from_init_default(grammar.init());
        let mut parser =
            parser.map_err(|error| Error::Grammar { kind: grammar.kind(), reason: brief(&error) })?;
        parser.start_without_prompt();
        let vocabulary = vocabulary.clone();
        Ok(Constraint { parser, vocabulary, mask: None, tokens: 0, finished: false, broken: None })
    }

    /// The tokens that may come next. Those that end a text are among them exactly where the text may end; once it has
    /// [finished](Self::finished), there are no others.
    ///
    /// # Errors
    /// [`Error::Stuck`], [`Error::TooCostly`], [`Error::Broken`].
    pub fn mask(&mut self) -> Result<&Mask, Error> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None if self.finished => self.ends(),
            None => {
                let set = self.guarded(TokenParser::compute_mask)?;
                Mask::new(set.into(), self.vocabulary.size())
            }
        };
        Ok(self.mask.insert(mask))
    }

    /// Goes on with a token of the mask.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for another token; the text is then where it was. Those of [`mask`](Self::mask), which is computed
    /// if it is not known.
    pub fn accept(&mut self, token: u32) -> Result<(), Error> {
        if !self.mask()?.contains(token) {
            return Err(Error::NotAllowed { token });
        }
        self.finished = self.vocabulary.ends().contains(&token)
            || self.guarded(|parser| {
                parser.consume_token(token)?;
                parser.check_stop()
            })?;
        self.tokens += 1;
        self.mask = None;
        Ok(())
    }

    /// Whether the text is complete and nothing but its end can follow.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Whether the text may end where it is.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn may_end(&mut self) -> Result<bool, Error> {
        Ok(self.finished || self.guarded(|parser| Ok(parser.is_accepting()))?)
    }

    /// The tokens that end a text.
    fn ends(&self) -> Mask {
        let size = self.vocabulary.size();
        let mut words = vec![0; size.div_ceil(32)];
        for &end in self.vocabulary.ends() {
            words[end as usize / 32] |= 1 << (end % 32);
        }
        Mask::new(words, size)
    }

    /// Calls the parser, which must not be called again once it has failed.
    fn guarded<R>(
        &mut self,
        call: impl FnOnce(&mut TokenParser) -> Result<R, anyhow::Error>,
    ) -> Result<R, Error> {
        let tokens = self.tokens;
        if let Some(reason) = &self.broken {
            return Err(Error::Broken { tokens, reason: reason.clone() });
        }
        let parser = &mut self.parser;
        panic_utils::catch_unwind(AssertUnwindSafe(|| call(parser))).map_err(|error| {
            let reason = brief(&error);
            self.broken = Some(reason.clone());
            match self.parser.stop_reason() {
                StopReason::NoExtensionBias => Error::Stuck,
                StopReason::LexerTooComplex | StopReason::ParserTooComplex => {
                    Error::TooCostly { tokens, reason }
                }
                _ => Error::Broken { tokens, reason },
            }
        })
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint")
            .field("tokens", &self.tokens)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

//! A conversation with a model: what was said, and which of it the model has read.

use std::time::{Duration, Instant};

use selvedge_constraint::{Ahead, Constraint, Grammar, Vocabulary};
use selvedge_model::{Generator, Sampler, Sampling, StopStrings};
use selvedge_sync::CancelToken;
use selvedge_tensor::Context;
use selvedge_tokenizer::Tokenizer;
use selvedge_tokenizer::chat::{self, ChatTemplate, Content, Conversation, DateTime, Message};

use crate::generate::{vocabulary, without_missing};

/// Tokens of a prompt that are read before somebody looks whether to stop.
const CHUNK: usize = 256;

/// Why a message has no answer. The conversation is then as it was before.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "the conversation has {tokens} tokens with this message, and there is room for {context}: /reset begins anew, --context N makes more room if the model has it"
    )]
    Full { tokens: usize, context: usize },
    #[error("{}", reasons(.0))]
    Template(#[from] chat::Error),
    #[error(transparent)]
    Model(#[from] selvedge_model::Error),
    #[error(transparent)]
    Tokenizer(#[from] selvedge_tokenizer::Error),
    #[error(transparent)]
    Constraint(#[from] selvedge_constraint::Error),
}

/// An error with its causes.
fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By the model, or at a text that was to end it.
    Turn,
    /// At the most tokens asked for.
    Length,
    /// With the context full.
    Context,
    /// By the person.
    Cancelled,
}

/// What an answer took.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) end: End,
    /// It was cut off before it was what it must be.
    pub(super) incomplete: bool,
    /// Tokens read for it, and the time that took.
    pub(super) read: (usize, Duration),
    /// Tokens written, and the time that took.
    pub(super) written: (usize, Duration),
}

/// How answers are written.
pub(super) struct Settings {
    pub(super) sampling: Sampling,
    pub(super) stop: StopStrings,
    pub(super) max_tokens: usize,
}

pub(super) struct Session<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
    conversation: Conversation,
    settings: Settings,
    /// Tokens that end an answer.
    ends: Vec<u32>,
    /// What the generator has read.
    fed: Vec<u32>,
    /// What every answer must be. Each has a constraint of its own, so that one that fails is the last of nothing.
    constraint: Option<(Vocabulary, Grammar)>,
}

impl<'a> Session<'a> {
    /// A conversation of nothing, with the special tokens and variables of `conversation`. Answers end with one of `ends`,
    /// or with what the template puts behind one.
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        template: &'a ChatTemplate,
        conversation: Conversation,
        mut ends: Vec<u32>,
        settings: Settings,
    ) -> Self {
        ends.extend(end_of_turn(tokenizer, template, &conversation));
        Session { tokenizer, template, conversation, settings, ends, fed: Vec::new(), constraint: None }
    }

    /// Has every answer be of a grammar, written by a model of `vocab` rows.
    pub(super) fn constrain(
        &mut self,
        grammar: Grammar,
        vocab: usize,
    ) -> Result<(), selvedge_constraint::Error> {
        let vocabulary = vocabulary(self.tokenizer, vocab, &self.ends)?;
        Constraint::new(&vocabulary, &grammar)?;
        self.constraint = Some((vocabulary, grammar));
        Ok(())
    }

    /// Begins anew; what the model was told beforehand stays.
    pub(super) fn reset(&mut self) {
        self.conversation.messages.retain(|message| message.role == "system");
    }

    /// Begins anew with another system message, or with none.
    pub(super) fn set_system(&mut self, text: &str) {
        self.conversation.messages.clear();
        if !text.is_empty() {
            self.conversation.messages.push(Message::new("system", text));
        }
    }

    /// All that was said: roles and texts.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.conversation.messages.iter().map(|message| match &message.content {
            Content::Text(text) => (message.role.as_str(), text.as_str()),
            _ => (message.role.as_str(), ""),
        })
    }

    /// Says something and hands the answer to `show` as it comes, in whole characters. An answer without a token is as if
    /// nothing had been said.
    ///
    /// # Errors
    /// Those of `show`. What the model refuses is inside.
    pub(super) fn answer(
        &mut self,
        cx: &mut Context,
        generator: &mut Generator<'_>,
        text: &str,
        cancel: &CancelToken,
        show: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<Answer, Refused>> {
        let before = self.conversation.messages.len();
        self.conversation.messages.push(Message::new("user", text));
        let prompt = match self.prompt(generator.context()) {
            Ok(prompt) => prompt,
            Err(refused) => {
                self.conversation.messages.truncate(before);
                return Ok(Err(refused));
            }
        };
        let mut written = String::new();
        let answer = self.write(cx, generator, &prompt, cancel, &mut written, show)?;
        match &answer {
            Ok(answer) if answer.written.0 > 0 => {
                self.conversation.messages.push(Message::new("assistant", written));
            }
            _ => self.conversation.messages.truncate(before),
        }
        Ok(answer)
    }

    /// The tokens of the conversation up to where an answer begins. Templates that ask for the time are told UTC: neither the
    /// standard library nor those that are here know the local zone.
    fn prompt(&mut self, context: usize) -> Result<Vec<u32>, Refused> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.conversation.now = Some(DateTime::from_unix(now.map_or(0, |since| since.as_secs())));
        self.conversation.add_generation_prompt = true;
        let tokens = self.tokenizer.encode_with_specials(self.template.render(&self.conversation)?);
        if tokens.len() >= context {
            return Err(Refused::Full { tokens: tokens.len(), context });
        }
        Ok(if tokens.is_empty() { vec![self.tokenizer.end_of_text()] } else { tokens })
    }

    fn write(
        &mut self,
        cx: &mut Context,
        generator: &mut Generator<'_>,
        prompt: &[u32],
        cancel: &CancelToken,
        written: &mut String,
        mut show: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<Answer, Refused>> {
        let mut sampler = match self.sampler(generator, prompt) {
            Ok(sampler) => sampler,
            Err(refused) => return Ok(Err(refused)),
        };
        let masks = self.constraint.as_ref().map(|(vocabulary, grammar)| {
            Constraint::new(vocabulary, grammar).and_then(|constraint| Ahead::start(vec![constraint]))
        });
        let mut masks = match masks.transpose() {
            Ok(masks) => masks,
            Err(error) => return Ok(Err(error.into())),
        };
        // Of what the model has read, all that is still so; one token must be read for there to be logits.
        let same = self.fed.iter().zip(prompt).take_while(|(fed, token)| fed == token).count();
        let same = same.min(prompt.len() - 1);
        self.fed.truncate(same);
        generator.truncate(same);
        let started = Instant::now();
        let (mut answer, mut end) = ((0, Duration::ZERO), None);
        let mut pieces = prompt[same..].chunks(CHUNK).peekable();
        let mut pending: Vec<u32> = Vec::new();
        while let Some(piece) = pieces.next() {
            if cancel.is_cancelled() {
                end = Some(End::Cancelled);
                break;
            }
            if pieces.peek().is_none() {
                pending = piece.to_vec();
            } else if let Err(error) = self.feed(cx, generator, piece) {
                return Ok(Err(error));
            }
        }
        let mut read = (self.fed.len() - same, started.elapsed());
        let mut writing = Instant::now();
        let (mut decoder, mut stop) = (self.tokenizer.decoder(), self.settings.stop.clone());
        let (mut text, mut safe) = (String::new(), String::new());
        while end.is_none() {
            if let Err(error) = self.feed(cx, generator, &pending) {
                return Ok(Err(error));
            }
            if answer.0 == 0 {
                read = (self.fed.len() - same, started.elapsed());
                writing = Instant::now();
            }
            let token = match choose(&mut sampler, masks.as_mut(), generator.logits(), self.fed.len() as u64)
            {
                Ok(Some(token)) => token,
                Ok(None) => {
                    end = Some(End::Turn);
                    break;
                }
                Err(refused) => return Ok(Err(refused)),
            };
            answer.0 += 1;
            if self.ends.contains(&token) {
                end = Some(End::Turn);
                break;
            }
            if let Some(masks) = &mut masks
                && let Err(error) = masks.accept(0, token)
            {
                return Ok(Err(error.into()));
            }
            text.clear();
            safe.clear();
            if let Err(error) = decoder.push(token, &mut text) {
                return Ok(Err(error.into()));
            }
            if stop.push(&text, &mut safe).is_some() {
                end = Some(End::Turn);
            }
            written.push_str(&safe);
            show(&safe)?;
            pending = vec![token];
            end = end.or(if answer.0 >= self.settings.max_tokens {
                Some(End::Length)
            } else if self.fed.len() >= generator.context() {
                Some(End::Context)
            } else if cancel.is_cancelled() {
                Some(End::Cancelled)
            } else {
                None
            });
        }
        text.clear();
        safe.clear();
        decoder.finish(&mut text);
        stop.push(&text, &mut safe);
        stop.finish(&mut safe);
        written.push_str(&safe);
        show(&safe)?;
        answer.1 = writing.elapsed();
        let end = end.unwrap_or(End::Turn);
        let incomplete = match &mut masks {
            Some(masks) if matches!(end, End::Length | End::Context) => match masks.may_end(0) {
                Ok(complete) => !complete,
                Err(error) => return Ok(Err(error.into())),
            },
            _ => false,
        };
        Ok(Ok(Answer { end, incomplete, read, written: answer }))
    }

    fn feed(
        &mut self,
        cx: &mut Context,
        generator: &mut Generator<'_>,
        tokens: &[u32],
    ) -> Result<(), Refused> {
        generator.feed(cx, tokens)?;
        self.fed.extend(tokens);
        Ok(())
    }

    fn sampler(&self, generator: &Generator<'_>, prompt: &[u32]) -> Result<Sampler, Refused> {
        let settings = without_missing(self.settings.sampling.clone(), self.tokenizer, generator.vocab());
        let mut sampler = Sampler::new(settings, generator.vocab())?;
        sampler.prompt(prompt)?;
        Ok(sampler)
    }
}

/// The next token; none where what must be written is written.
fn choose(
    sampler: &mut Sampler,
    masks: Option<&mut Ahead>,
    logits: &[f32],
    position: u64,
) -> Result<Option<u32>, Refused> {
    let choice = match masks.map(|masks| masks.open(0)).transpose()? {
        Some(Some(mask)) => sampler.sample_among(logits, mask.words(), position)?,
        Some(None) => return Ok(None),
        None => sampler.sample(logits, position)?,
    };
    Ok(Some(choice.token))
}

/// The special token that a template puts behind an answer.
fn end_of_turn(tokenizer: &Tokenizer, template: &ChatTemplate, about: &Conversation) -> Option<u32> {
    const MARK: &str = "Seven";
    let messages = vec![Message::new("user", "Three and four?"), Message::new("assistant", MARK)];
    let conversation = Conversation {
        messages,
        now: Some(DateTime::from_unix(0)),
        add_generation_prompt: false,
        ..about.clone()
    };
    let text = template.render(&conversation).ok()?;
    let (_, behind) = text.rsplit_once(MARK)?;
    let first = *tokenizer.encode_with_specials(behind).first()?;
    tokenizer.special_tokens().any(|(_, id)| id == first).then_some(first)
}

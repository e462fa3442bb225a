//! Chat templates: a conversation as the prompt that a model was trained on.
//!
//! A model comes with a template in Jinja, in its `tokenizer_config.json` or as `tokenizer.chat_template` of a GGUF file.
//! [`ChatTemplate::render`] gives what `apply_chat_template` of transformers gives. Templates are programs from a file:
//! steps, nesting, the bytes moved and the prompt's length are limited, and each limit is an error of its own.

mod budget;
mod clock;
mod conversation;
mod edits;
mod engine;
mod error;
mod lex;
mod methods;
mod python;
mod rewrite;

use std::io;

use minijinja::{Environment, Value};

pub use clock::DateTime;
pub use conversation::{Content, Conversation, Json, Message};
pub use error::Error;

/// No template is longer, in bytes. (The longest of the published ones have 17 thousand.)
pub const MAX_TEMPLATE: usize = 1 << 18;

/// No line of a template is longer, in bytes, and it has no more lines: the engine's parser counts so far.
const MAX_LINE: usize = u16::MAX as usize;

/// No prompt is longer, in bytes.
pub const MAX_PROMPT: usize = 1 << 26;

/// Steps of the engine that one rendering may take.
const MAX_STEPS: u64 = 10_000_000;

/// Bytes that a rendering may move: so many, and so many for each byte of the conversation.
const FREE_WORK: u64 = 1 << 26;
const WORK_PER_BYTE: u64 = 256;

const NAME: &str = "chat";

/// A model's chat template, parsed and checked.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    engine: Environment<'static>,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// If it is too long, is not Jinja, uses another template, or a name that begins with `__selvedge`.
    pub fn new(source: &str) -> Result<Self, Error> {
        if source.len() > MAX_TEMPLATE {
            return Err(Error::TooLarge { bytes: source.len(), limit: MAX_TEMPLATE });
        }
        if source.contains(rewrite::RESERVED) {
            return Err(Error::Reserved { name: rewrite::RESERVED.to_owned() });
        }
        let mut engine = engine::environment(MAX_STEPS);
        let mut read = |source: String| {
            let longest = source.split('\n').map(str::len).max().unwrap_or(0);
            let bytes = longest.max(source.matches('\n').count());
            if bytes >= MAX_LINE {
                return Err(Error::LongLine { bytes, limit: MAX_LINE });
            }
            let syntax = |error: minijinja::Error| Error::Syntax {
                line: error.line().unwrap_or(0),
                source: Box::new(error),
            };
            engine.add_template_owned(NAME, source).map_err(syntax)
        };
        rewrite::check_chains(source)?;
        // Once as it is, so that only what is well-formed is rewritten.
        let plain = rewrite::without_generation(source);
        read(plain.clone().into_owned())?;
        read(rewrite::rewrite(&plain)?)?;
        Ok(Self { engine })
    }

    /// The prompt for a conversation. Names of special tokens in it stand for these tokens:
    /// [`encode_with_specials`](crate::Tokenizer::encode_with_specials) encodes it.
    ///
    /// # Errors
    /// If the template refuses the conversation ([`Error::Raised`]), fails on it, or exceeds a limit.
    pub fn render(&self, conversation: &Conversation) -> Result<String, Error> {
        let (mut context, bytes) = conversation.context();
        let budget = FREE_WORK.saturating_add(bytes.saturating_mul(WORK_PER_BYTE));
        context.insert(budget::BUDGET.to_owned(), Value::from(budget));
        if let Some(now) = conversation.now {
            context.insert(engine::NOW.to_owned(), Value::from_object(now));
        }
        let mut prompt = Prompt { bytes: Vec::new(), full: false };
        let template = self.engine.get_template(NAME).map_err(|error| error::rendering(error, MAX_STEPS))?;
        match template.render_captured_to(context, &mut prompt) {
            _ if prompt.full => Err(Error::Output { limit: MAX_PROMPT }),
            Err(error) => Err(error::rendering(error, MAX_STEPS)),
            Ok(_) => Ok(String::from_utf8_lossy(&prompt.bytes).into_owned()),
        }
    }
}

/// Output that ends at a limit.
struct Prompt {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_PROMPT - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! `selvedge chat`: a conversation with a published model, at a terminal or through a pipe.

mod command;
mod input;
mod lines;
mod save;
mod session;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_model::{Generator, StopStrings};
use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::{Context, Isa};
use selvedge_tokenizer::chat::{ChatTemplate, MAX_TEMPLATE};
use selvedge_train::settings::Dtype;

use crate::args::{ChatArgs, DtypeArg};
use crate::memory::Caches;
use crate::published::{ChatFormat, Published};
use crate::say::{remark, result};
use crate::{INTERRUPTED, file, signals};
use command::{HELP, Input as Said};
use input::{Event, Input};
use lines::Whole;
use session::{Answer, End, Session, Settings};

pub(crate) fn run(args: &ChatArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    // Before a model is read for nothing.
    let settings = Settings {
        sampling: args.sampling.settings(),
        stop: StopStrings::new(args.sampling.stop.clone())?,
        max_tokens: args.max_tokens as usize,
    };
    settings.sampling.validate()?;
    let grammar = args.constraint.grammar()?;
    let isa: Isa = args.resources.isa.parse()?;
    let mut input = Input::open(args.history.as_deref())?;
    signals::exit_at_once(!input.is_terminal())?;
    let dtype: Dtype = args.dtype.unwrap_or(DtypeArg::F32).into();
    let mut cx = Context::new(Team::new(args.resources.threads())?, isa).with_precision(dtype.into());
    let published = Published::open(&args.model, args.context as usize)?;
    let format = published.chat_format()?;
    let template = template(args, &format)?;
    let conversation = format.conversation()?;
    let ends = [&published.ends[..], &format.ends].concat();
    let mut session = Session::new(&published.tokenizer, &template, conversation, ends, settings);
    if let Some(grammar) = grammar {
        session.constrain(grammar, published.config.vocab)?;
    }
    session.set_system(args.system.as_deref().unwrap_or_default());
    let caches = Caches::one(&cx, "a shorter --context, --weights of fewer bits");
    published.with_weights(&mut cx, args.weights, caches, |cx, model, weights| {
        let generator = &mut Generator::with_weights(cx, model, weights);
        if input.is_terminal() {
            remark!("{}: /help lists commands, Ctrl-D ends", args.model.display());
        }
        talk(cx, generator, &mut session, &mut input, cancel)
    })
}

/// The template to use: the one that was given, or the model's.
fn template(args: &ChatArgs, format: &ChatFormat) -> anyhow::Result<ChatTemplate> {
    if let Some(path) = &args.template {
        let text = file::read_utf8(path, MAX_TEMPLATE as u64)?;
        return ChatTemplate::new(&text).with_context(|| format!("cannot use {}", path.display()));
    }
    let text = format.template.as_ref().with_context(|| {
        format!(
            "{} has no chat template: use a model that was made for conversations, give a template with --template FILE, or continue texts with `selvedge generate`",
            args.model.display()
        )
    })?;
    ChatTemplate::new(text)
        .with_context(|| format!("cannot use the chat template of {}", args.model.display()))
}

fn talk(
    cx: &mut Context,
    generator: &mut Generator<'_>,
    session: &mut Session<'_>,
    input: &mut Input,
    cancel: &CancelToken,
) -> anyhow::Result<ExitCode> {
    loop {
        // What was asked to stop has stopped.
        cancel.take_flag();
        let said = match input.next()? {
            Event::End => return Ok(ExitCode::SUCCESS),
            Event::Interrupted => return Ok(ExitCode::from(INTERRUPTED)),
            Event::Text(Whole::Block(text)) => Said::Message(text),
            Event::Text(Whole::Line(line)) => match Said::parse(&line) {
                Ok(said) => said,
                Err(error) => {
                    remark!("{error}");
                    continue;
                }
            },
        };
        match said {
            Said::Message(text) if text.trim().is_empty() => {}
            Said::Message(text) => {
                let mut out = std::io::stdout().lock();
                let mut shown = false;
                let answer = session.answer(cx, generator, &text, cancel, |piece| {
                    shown |= !piece.is_empty();
                    write!(out, "{piece}").and_then(|()| out.flush()).context("cannot write the answer")
                })?;
                drop(out);
                match answer {
                    Ok(answer) => {
                        result!("")?;
                        report(&answer, generator.context());
                    }
                    Err(refused) => {
                        if shown {
                            result!("")?;
                        }
                        remark!("no answer: {refused}");
                    }
                }
            }
            Said::System(text) => {
                session.set_system(&text);
                remark!(
                    "a new conversation{}",
                    if text.is_empty() { "" } else { ", with this system message" }
                );
            }
            Said::Reset => {
                session.reset();
                remark!("a new conversation");
            }
            Said::Save { path, replace } => match save::save(session, &path, replace) {
                Ok(()) => remark!("saved to {}", path.display()),
                Err(error) => remark!("not saved: {error:#}"),
            },
            Said::Help => remark!("{HELP}"),
            Said::Quit => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// How fast it was, and why it ended if the model did not end it.
fn report(answer: &Answer, context: usize) {
    let speed = |(tokens, time): (usize, Duration)| {
        format!("{tokens} tokens, {:.1} a second", tokens as f64 / time.as_secs_f64().max(1e-9))
    };
    let early = if answer.incomplete { ", before it was what it must be" } else { "" };
    let why = match answer.end {
        End::Turn => String::new(),
        End::Length => format!("; cut off at --max-tokens{early}"),
        End::Cancelled => "; stopped".to_owned(),
        End::Context => {
            format!("; cut off{early}, for the context of {context} tokens is full: /reset begins anew")
        }
    };
    remark!("[read {}; wrote {}{why}]", speed(answer.read), speed(answer.written));
}

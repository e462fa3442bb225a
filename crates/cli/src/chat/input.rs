//! Where messages come from: a person at a terminal, with editing and history, or a pipe.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use super::lines::{Lines, Whole};

/// Longest line of a pipe, in bytes.
const LONGEST: u64 = 16 << 20;

/// Lines that a history keeps.
const REMEMBERED: usize = 1000;

/// What came.
pub(super) enum Event {
    Text(Whole),
    /// Ctrl-C at the prompt, twice.
    Interrupted,
    /// The end of the input.
    End,
}

pub(super) enum Input {
    Terminal(Box<Terminal>),
    Pipe,
}

pub(super) struct Terminal {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

impl Input {
    /// The standard input.
    pub(super) fn open(history: Option<&Path>) -> anyhow::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Input::Pipe);
        }
        // Where answers go into a file, prompts do not.
        let behavior = if io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config =
            Config::builder().max_history_size(REMEMBERED)?.auto_add_history(true).behavior(behavior);
        let mut editor =
            DefaultEditor::with_config(config.build()).context("cannot read from the terminal")?;
        if let Some(path) = history.filter(|path| path.exists()) {
            editor
                .load_history(path)
                .with_context(|| format!("cannot read the history {}", path.display()))?;
        }
        Ok(Input::Terminal(Box::new(Terminal { editor, history: history.map(Path::to_owned) })))
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal(_))
    }

    /// The next message or command.
    pub(super) fn next(&mut self) -> anyhow::Result<Event> {
        match self {
            Input::Terminal(terminal) => terminal.next(),
            Input::Pipe => {
                let mut lines = Lines::default();
                while let Some(line) = read_line()? {
                    if let Some(whole) = lines.push(&line) {
                        return Ok(Event::Text(whole));
                    }
                }
                Ok(lines.finish().map_or(Event::End, Event::Text))
            }
        }
    }
}

impl Terminal {
    fn next(&mut self) -> anyhow::Result<Event> {
        let mut lines = Lines::default();
        let mut interrupted = false;
        loop {
            match self.editor.readline(if lines.is_open() { "… " } else { "> " }) {
                Ok(line) => {
                    if let Some(whole) = lines.push(&line) {
                        self.keep()?;
                        return Ok(Event::Text(whole));
                    }
                    interrupted = false;
                }
                Err(ReadlineError::Interrupted) if interrupted => return Ok(Event::Interrupted),
                Err(ReadlineError::Interrupted) => {
                    lines.clear();
                    interrupted = true;
                    crate::say::remark!("Ctrl-C once more, or Ctrl-D, ends the program");
                }
                Err(ReadlineError::Eof) => return Ok(lines.finish().map_or(Event::End, Event::Text)),
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        match &self.history {
            Some(path) => self
                .editor
                .save_history(path)
                .with_context(|| format!("cannot write the history {}", path.display())),
            None => Ok(()),
        }
    }
}

/// A line of the standard input, without its end.
fn read_line() -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let mut input = io::stdin().lock().take(LONGEST);
    let read = input.read_line(&mut line).context("cannot read from standard input")?;
    if read == 0 {
        return Ok(None);
    }
    if !line.ends_with('\n') && read as u64 == LONGEST {
        anyhow::bail!("a line of standard input is longer than {LONGEST} bytes");
    }
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

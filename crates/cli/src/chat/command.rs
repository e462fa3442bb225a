//! What a person may type: messages, and commands that begin with a slash.

use std::path::PathBuf;

/// Shown by `/help`.
pub(super) const HELP: &str = "\
/system TEXT   what the model is told beforehand; the conversation begins anew
/reset         begin anew (also /clear)
/save FILE     write the conversation: a list of messages, or one line for fine-tuning if the name ends in .jsonl
/save! FILE    the same over a file that is there
/help          this list
/quit          end (also Ctrl-D)
A backslash at the end of a line goes on to the next; lines between \"\"\" and \"\"\" are one message.
Ctrl-C ends an answer or clears the line; twice ends the program.";

/// A line that was understood.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    Message(String),
    System(String),
    Reset,
    Save { path: PathBuf, replace: bool },
    Help,
    Quit,
}

/// Why a line was not understood.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Misunderstood {
    #[error("there is no command {0}: /help lists them; a blank before it makes it a message")]
    Unknown(String),
    #[error("{0} needs the name of a file")]
    NoFile(&'static str),
}

impl Input {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Result<Input, Misunderstood> {
        if !line.starts_with('/') {
            return Ok(Input::Message(line.to_owned()));
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let save = |name, replace| match rest {
            "" => Err(Misunderstood::NoFile(name)),
            path => Ok(Input::Save { path: PathBuf::from(path), replace }),
        };
        match word {
            "/system" => Ok(Input::System(rest.to_owned())),
            "/reset" | "/clear" => Ok(Input::Reset),
            "/save" => save("/save", false),
            "/save!" => save("/save!", true),
            "/help" | "/?" => Ok(Input::Help),
            "/quit" | "/exit" | "/bye" => Ok(Input::Quit),
            _ => Err(Misunderstood::Unknown(word.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let read = |line: &str| Input::parse(line).unwrap();
        assert_eq!(read("a / b"), Input::Message("a / b".to_owned()));
        assert_eq!(read(" /usr/bin"), Input::Message(" /usr/bin".to_owned()));
        assert_eq!(read("/system  be brief "), Input::System("be brief".to_owned()));
        assert_eq!(read("/system"), Input::System(String::new()));
        assert_eq!(read("/clear"), Input::Reset);
        let path = PathBuf::from("a b.json");
        assert_eq!(read("/save a b.json"), Input::Save { path: path.clone(), replace: false });
        assert_eq!(read("/save! a b.json"), Input::Save { path, replace: true });
        assert_eq!(Input::parse("/save "), Err(Misunderstood::NoFile("/save")));
        assert_eq!(Input::parse("/usr/bin x"), Err(Misunderstood::Unknown("/usr/bin".to_owned())));
    }
}

//! Arguments of a command: flags and values taken out by name, and whatever is left over refused.

use std::ffi::{OsStr, OsString};
use std::fmt;

/// A command line that asks for something that is not there; the process ends with code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The arguments of one command that nobody has taken yet.
pub(crate) struct Args {
    command: &'static str,
    left: Vec<OsString>,
}

impl Args {
    pub(crate) fn new(command: &'static str, args: Vec<OsString>) -> Self {
        Self { command, left: args }
    }

    /// Whether the flag `name` is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.left.iter().position(|arg| arg == name);
        at.map(|at| self.left.remove(at)).is_some()
    }

    /// The value of the option `name`, given as `name VALUE` or `name=VALUE`.
    ///
    /// # Errors
    /// [`Usage`] if the option ends the line.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<OsString>, Usage> {
        let Some(at) = position(&self.left, name) else { return Ok(None) };
        let option = self.left.remove(at);
        if let Some(value) = option.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('=')) {
            return Ok(Some(value.into()));
        }
        if at == self.left.len() {
            return Err(Usage(format!("`{name}` of `cargo xtask {}` needs a value after it", self.command)));
        }
        Ok(Some(self.left.remove(at)))
    }

    /// Refuses what nobody has taken.
    ///
    /// # Errors
    /// [`Usage`] with the first argument that is left.
    pub(crate) fn finish(self) -> Result<(), Usage> {
        let Some(first) = self.left.first() else { return Ok(()) };
        let (command, first) = (self.command, first.to_string_lossy());
        Err(Usage(format!("`cargo xtask {command}` takes no `{first}` (see `cargo xtask {command} --help`)")))
    }
}

/// Whether `args`, which belong to another program, name the option as `name`, `name VALUE` or `name=VALUE`.
pub(crate) fn names(args: &[OsString], name: &str) -> bool {
    position(args, name).is_some()
}

fn position(args: &[OsString], name: &str) -> Option<usize> {
    let named = |arg: &OsStr| {
        let rest = arg.as_encoded_bytes().strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    };
    args.iter().take_while(|arg| *arg != "--").position(|arg| named(arg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::new("loom", list(text))
    }

    fn list(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn flags_and_values_stand_in_any_order() {
        for text in ["--smoke --only team", "--only team --smoke", "--only=team --smoke"] {
            let mut args = args(text);
            assert!(args.flag("--smoke"));
            assert!(!args.flag("--smoke"));
            assert_eq!(args.value("--only").unwrap(), Some("team".into()));
            args.finish().unwrap();
        }
    }

    #[test]
    fn a_missing_value_and_leftovers_are_named() {
        assert!(args("--only").value("--only").unwrap_err().to_string().contains("`--only`"));
        assert!(args("--onyl x").finish().unwrap_err().to_string().contains("`--onyl`"));
        // A longer name that starts alike is not the option.
        assert_eq!(args("--only-one x").value("--only").unwrap(), None);
    }

    #[test]
    fn options_of_another_program_are_seen_in_both_forms() {
        assert!(names(&list("--steps 3 --data x.txt"), "--data"));
        assert!(names(&list("--data=x.txt"), "--data"));
        assert!(!names(&list("--dataset x --steps 3"), "--data"));
        assert!(!names(&list("-- --data"), "--data"));
    }
}

//! Build runner: every chore of this workspace as one command, `cargo xtask COMMAND`.
//!
//! It knows cargo and the file tree and depends on no crate of the workspace, so it builds in seconds and works when
//! they do not build.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod apt;
mod args;
mod arm;
mod bench;
mod binary;
mod cargo;
mod checker;
mod ci;
mod corpus;
mod fuzz;
mod goldens;
mod loom;
mod mutants;
mod process;
mod race;
mod shuttle;
mod table;
mod test;
mod tidy;

use crate::args::Usage;
use std::ffi::OsString;
use std::process::ExitCode;

/// One command: its name, its summary in the list, its own help, and what it does with the arguments after its name.
struct Command {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(Vec<OsString>) -> anyhow::Result<ExitCode>,
}

/// All commands, in the order of `--help`.
const COMMANDS: &[Command] = &[
    binary::TRAIN,
    binary::GENERATE,
    binary::CHECK,
    binary::MODEL,
    test::COMMAND,
    loom::COMMAND,
    shuttle::COMMAND,
    race::COMMAND,
    arm::COMMAND,
    fuzz::COMMAND,
    bench::COMMAND,
    tidy::COMMAND,
    goldens::COMMAND,
    ci::COMMAND,
];

/// The exit code of a command line that asks for something that is not there.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(name) = args.next() else {
        eprint!("{}", help());
        return ExitCode::from(USAGE);
    };
    match dispatch(&name.to_string_lossy(), args.collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<Usage>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(name: &str, args: Vec<OsString>) -> anyhow::Result<ExitCode> {
    if is_help(name) {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
        let text = format!("no command `{name}`; there are {} (see `cargo xtask --help`)", names.join(", "));
        return Err(Usage(text).into());
    };
    if args.first().is_some_and(|first| is_help(&first.to_string_lossy())) {
        print!("{}", command.help);
        return Ok(ExitCode::SUCCESS);
    }
    (command.run)(args)
}

fn is_help(arg: &str) -> bool {
    matches!(arg, "--help" | "-h")
}

/// The list of commands.
fn help() -> String {
    let mut text = String::from(
        "Build runner of this workspace.\n\nUsage: cargo xtask COMMAND [ARGS...]\n\nCommands:\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:<10}{}\n", command.name, command.summary));
    }
    text.push_str(
        "\n`cargo xtask COMMAND --help` says more about one of them.\n\n\
         Examples:\n  \
         cargo xtask train                          train a small model on the sources of the dependencies\n  \
         cargo xtask generate \"fn main() {\"         continue a text with the newest model\n  \
         cargo xtask ci                             everything that must hold before a change goes in\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_a_usage_error_that_names_the_known_ones() {
        let error = dispatch("trian", Vec::new()).unwrap_err();
        assert!(error.is::<Usage>());
        let text = error.to_string();
        assert!(text.contains("`trian`") && text.contains("train") && text.contains("--help"), "{text}");
    }

    #[test]
    fn every_command_explains_itself_with_examples() {
        for command in COMMANDS {
            assert!(help().contains(command.summary));
            let usage = format!("Usage: cargo xtask {}", command.name);
            assert!(command.help.contains(&usage), "{}", command.name);
            assert!(command.help.contains("Examples:"), "{}", command.name);
            assert!(command.help.ends_with('\n'), "{}", command.name);
        }
    }

    #[test]
    fn commands_that_take_no_such_argument_say_so() {
        for name in ["tidy", "ci", "loom", "shuttle", "race", "fuzz", "bench", "goldens"] {
            let error = dispatch(name, vec!["--nonsense".into()]).unwrap_err();
            assert!(error.is::<Usage>(), "{name}: {error:#}");
            assert!(error.to_string().contains("--nonsense"), "{name}: {error:#}");
        }
    }
}

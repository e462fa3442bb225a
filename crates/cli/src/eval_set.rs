//! `selvedge eval-set`: makes questions for `eval` from a text.

use std::process::ExitCode;

use selvedge_train::evaluate::{make_choices, make_last_words};
use selvedge_train::fs_atomic;
use serde::Serialize;

use crate::eval::args::{EvalSetArgs, Kind};
use crate::file::read_text;
use crate::say::remark;

pub(crate) fn run(args: &EvalSetArgs) -> anyhow::Result<ExitCode> {
    let text = read_text(&args.text)?;
    let lines = match args.kind {
        Kind::Choices => json_lines(&make_choices(&text, args.count, args.seed)?)?,
        Kind::LastWord => json_lines(&make_last_words(&text, args.count, args.seed)?)?,
    };
    fs_atomic::write(&args.out, &lines)?;
    remark!("{} questions into {}", args.count, args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// An object a line.
fn json_lines(questions: &[impl Serialize]) -> anyhow::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for question in questions {
        serde_json::to_writer(&mut lines, question)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

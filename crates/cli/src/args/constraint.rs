//! What a text must be.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use selvedge_constraint::Grammar;

use crate::file::read_utf8;

/// What the text must be: no token is taken that leads elsewhere.
#[derive(Debug, Args)]
#[command(next_help_heading = "Constraint")]
pub(crate) struct ConstraintArgs {
    /// JSON of this schema: a file, or the schema itself, which begins with a brace
    #[arg(long, value_name = "FILE_OR_JSON", conflicts_with_all = ["json", "regex", "choice"])]
    pub(crate) json_schema: Option<String>,
    /// A JSON object
    #[arg(long, conflicts_with_all = ["regex", "choice"])]
    pub(crate) json: bool,
    /// A text that this regular expression matches as a whole
    #[arg(long, value_name = "PATTERN", conflicts_with = "choice")]
    pub(crate) regex: Option<String>,
    /// One of the texts that are given so; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) choice: Vec<String>,
}

impl ConstraintArgs {
    /// The grammar that was asked for.
    pub(crate) fn grammar(&self) -> anyhow::Result<Option<Grammar>> {
        if let Some(given) = &self.json_schema {
            return schema(given).map(Some);
        }
        if self.json {
            return Ok(Some(Grammar::json().context("--json")?));
        }
        if let Some(pattern) = &self.regex {
            return Grammar::regex(pattern).map(Some).context("--regex");
        }
        if self.choice.is_empty() {
            return Ok(None);
        }
        Grammar::choice(&self.choice).map(Some).context("--choice")
    }
}

fn schema(given: &str) -> anyhow::Result<Grammar> {
    if given.trim_start().starts_with('{') {
        return Grammar::json_schema(given).context("--json-schema");
    }
    let text = read_utf8(Path::new(given), Grammar::MAX_TEXT as u64)
        .context("--json-schema takes a file, or a schema that begins with a brace")?;
    Grammar::json_schema(&text).with_context(|| format!("--json-schema {given}"))
}

/// A token's id and what is added to its logit.
pub(crate) fn bias(given: &str) -> Result<(u32, f32), String> {
    let wrong = || "give a token's id and a number, as in 42=-1.5 or 42=-inf".to_owned();
    let (token, bias) = given.split_once('=').ok_or_else(wrong)?;
    Ok((token.parse().map_err(|_| wrong())?, bias.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_an_id_and_a_number() {
        assert_eq!(bias("42=-1.5"), Ok((42, -1.5)));
        assert_eq!(bias("0=-inf"), Ok((0, f32::NEG_INFINITY)));
        for wrong in ["42", "=1", "a=1", "-1=1", "42=", "42=x", "4294967296=1"] {
            assert!(bias(wrong).is_err(), "{wrong}");
        }
    }
}

//! JSON schemas: their text, and what would make them costly.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind};
use crate::limits::{MAX_DEPTH, MAX_REFERENCES};

/// What may stand between tokens of JSON. Unbounded, a model of little use may write blanks for ever.
const BLANKS: &str = r" |\n[ \t]{0,32}";

/// The schema with our options in it.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // The place is told apart.
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason).to_owned();
        Error::NotJson { line: error.line(), column: error.column(), reason }
    })?;
    let mut references = BTreeSet::new();
    walk(&schema, MAX_DEPTH, &mut references)?;
    let mut fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return Err(unusable("`false` is satisfied by no JSON")),
        _ => return Err(unusable("it is neither an object nor a boolean")),
    };
    fields.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": BLANKS }));
    Ok(Value::Object(fields))
}

fn unusable(reason: &str) -> Error {
    Error::Grammar { kind: Kind::JsonSchema, reason: reason.to_owned() }
}

/// Collects where references lead to.
fn walk<'a>(value: &'a Value, depth: usize, references: &mut BTreeSet<&'a str>) -> Result<(), Error> {
    let kind = Kind::JsonSchema;
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => {
            return Err(Error::TooDeep { kind, limit: MAX_DEPTH });
        }
        Value::Array(items) => items.iter().try_for_each(|item| walk(item, depth - 1, references))?,
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                references.insert(target);
                if references.len() > MAX_REFERENCES {
                    return Err(Error::TooManyNames { kind, names: "places for `$ref`", limit: MAX_REFERENCES });
                }
            }
            fields.values().try_for_each(|field| walk(field, depth - 1, references))?;
        }
        _ => {}
    }
    Ok(())
}

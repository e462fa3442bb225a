//! Values written as Python writes them: `str`, `repr`, and `json.dumps`.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::budget::{MAX_DEPTH, charge};
use super::error::Stop;

/// `str(value)`; what is not defined is empty.
pub(super) fn text(state: &State, value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        charge(state, text.len())?;
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    if !value.is_undefined() {
        repr(state, value, 0, &mut out)?;
    }
    Ok(out)
}

/// `repr(value)`. Characters other than control characters are taken for printable ones.
fn repr(state: &State, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    descend(state, depth)?;
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => number(value, out),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            charge(state, text.len())?;
            quoted(text, out);
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(state, &key, depth + 1, out)?;
                out.push_str(": ");
                repr(state, &value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(state, &item, depth + 1, out)?;
            }
            out.push(']');
        }
        kind => return Err(unwritable(kind)),
    }
    Ok(())
}

fn descend(state: &State, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Stop::Depth(MAX_DEPTH).into());
    }
    charge(state, 8)
}

fn unwritable(kind: ValueKind) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value of kind {kind} cannot be written as text"))
}

fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if character == quote => out.extend(['\\', quote]),
            _ if character.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push(quote);
}

fn number(value: &Value, out: &mut String) {
    if value.is_integer() {
        out.push_str(&value.to_string());
    } else if let Ok(float) = f64::try_from(value.clone()) {
        out.push_str(&float_text(float));
    }
}

/// `repr(float)`: the shortest digits, in the notation that Python chooses.
fn float_text(float: f64) -> String {
    if !float.is_finite() {
        let name = if float.is_nan() { "nan" } else { "inf" };
        return if float < 0.0 { format!("-{name}") } else { name.to_owned() };
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        format!("{float:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
    }
}

/// How `json.dumps` writes.
pub(super) struct Style {
    /// Blanks, or other text, before each item for each level; on one line if absent.
    pub(super) indent: Option<String>,
    /// Between items.
    pub(super) comma: String,
    /// Between a key and its value.
    pub(super) colon: String,
    /// Whether other characters than ASCII are escaped.
    pub(super) ascii: bool,
    /// Whether maps are written in the order of their keys.
    pub(super) sorted: bool,
}

/// `json.dumps(value)`.
pub(super) fn json(state: &State, value: &Value, style: &Style) -> Result<String, Error> {
    let mut out = String::new();
    write_json(state, value, style, 0, &mut out)?;
    Ok(out)
}

fn write_json(
    state: &State,
    value: &Value,
    style: &Style,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    descend(state, depth)?;
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(float) if !value.is_integer() && !float.is_finite() => out.push_str(if float.is_nan() {
                "NaN"
            } else if float > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }),
            _ => number(value, out),
        },
        ValueKind::String => write_string(state, value.as_str().unwrap_or_default(), style, out)?,
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sorted {
                keys.sort();
            }
            out.push('{');
            for (index, key) in keys.iter().enumerate() {
                separate(state, style, index, depth + 1, out)?;
                match key.kind() {
                    ValueKind::String => {
                        write_string(state, key.as_str().unwrap_or_default(), style, out)?;
                    }
                    ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                        out.push('"');
                        write_json(state, key, style, depth + 1, out)?;
                        out.push('"');
                    }
                    kind => return Err(unwritable(kind)),
                }
                out.push_str(&style.colon);
                write_json(state, &value.get_item(key)?, style, depth + 1, out)?;
            }
            close(state, style, keys.len(), depth, '}', out)?;
        }
        // `json.dumps` refuses what is not a list, such as ranges and generators.
        ValueKind::Seq => {
            out.push('[');
            let mut items = 0;
            for (index, item) in value.try_iter()?.enumerate() {
                separate(state, style, index, depth + 1, out)?;
                write_json(state, &item, style, depth + 1, out)?;
                items = index + 1;
            }
            close(state, style, items, depth, ']', out)?;
        }
        kind => return Err(unwritable(kind)),
    }
    Ok(())
}

fn separate(state: &State, style: &Style, index: usize, depth: usize, out: &mut String) -> Result<(), Error> {
    if index > 0 {
        charge(state, style.comma.len())?;
        out.push_str(&style.comma);
    }
    line(state, style, depth, out)
}

fn close(
    state: &State,
    style: &Style,
    items: usize,
    depth: usize,
    bracket: char,
    out: &mut String,
) -> Result<(), Error> {
    if items > 0 {
        line(state, style, depth, out)?;
    }
    out.push(bracket);
    Ok(())
}

fn line(state: &State, style: &Style, depth: usize, out: &mut String) -> Result<(), Error> {
    if let Some(indent) = &style.indent {
        charge(state, indent.len().saturating_mul(depth))?;
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
    Ok(())
}

fn write_string(state: &State, text: &str, style: &Style, out: &mut String) -> Result<(), Error> {
    charge(state, text.len())?;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if character < ' ' || (style.ascii && character > '~') => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    Ok(())
}

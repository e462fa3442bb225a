//! How much a template may do: bytes that it moves, and how deeply it nests values.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::error::Stop;

/// Values nest at most this deep. (JSON's reader stops at 128, templates need half a dozen.)
pub(super) const MAX_DEPTH: usize = 130;

/// The variable that says how many bytes a rendering may move; templates cannot name it.
pub(super) const BUDGET: &str = "__selvedge_budget";

/// Where what is left of it is kept.
const LEFT: &str = "budget";

/// Counts `bytes` that are about to be copied, compared or written.
pub(super) fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    let limit = || state.lookup(BUDGET).and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0);
    let left = state.get_temp(LEFT).and_then(|left| u64::try_from(left).ok()).unwrap_or_else(limit);
    let left = u64::try_from(bytes).ok().and_then(|bytes| left.checked_sub(bytes));
    let left = left.ok_or_else(|| Stop::Work(limit()))?;
    state.set_temp(LEFT, Value::from(left));
    Ok(())
}

/// Counts a value as an operand: all of a string, and in a list or map each item and some of each string.
pub(super) fn charge_value(state: &State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => charge(state, text.len()),
        None => walk(state, value, 0),
    }
}

fn walk(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Stop::Depth(MAX_DEPTH).into());
    }
    match value.kind() {
        ValueKind::String => charge(state, 1 + value.as_str().map_or(0, str::len) / 64),
        ValueKind::Map => {
            charge(state, 1)?;
            for key in value.try_iter()? {
                charge(state, 1)?;
                walk(state, &value.get_item(&key)?, depth + 1)?;
            }
            Ok(())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            charge(state, 1)?;
            value.try_iter()?.try_for_each(|item| walk(state, &item, depth + 1))
        }
        _ => charge(state, 1),
    }
}

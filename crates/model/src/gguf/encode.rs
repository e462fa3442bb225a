//! Numbers, strings and values as bytes, and the checks that [`decode`](super::decode) will make of them.

use super::{Array, MAX_DEPTH, MAX_STRING_BYTES, Problem, Value};

pub(super) fn string(text: &str, limit: u64, out: &mut Vec<u8>) -> Result<(), Problem> {
    let found = text.len() as u64;
    if found > limit {
        return Err(Problem::Limit { found, limit });
    }
    out.extend(found.to_le_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

/// A string that is the name of something.
pub(super) fn name(text: &str, limit: u64, out: &mut Vec<u8>) -> Result<(), Problem> {
    if text.is_empty() { Err(Problem::Empty) } else { string(text, limit, out) }
}

/// The kind of a value and the value.
pub(super) fn value(value: &Value, out: &mut Vec<u8>) -> Result<(), Problem> {
    out.extend(value.kind().id().to_le_bytes());
    match value {
        Value::U8(x) => out.push(*x),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::String(text) => string(text, MAX_STRING_BYTES, out)?,
        Value::Array(array) => elements(array, 1, out)?,
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
    Ok(())
}

/// An array that lies in `depth − 1` others.
fn elements(array: &Array, depth: usize, out: &mut Vec<u8>) -> Result<(), Problem> {
    out.extend(array.kind().id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => many(v, i8::to_le_bytes, out),
        Array::U16(v) => many(v, u16::to_le_bytes, out),
        Array::I16(v) => many(v, i16::to_le_bytes, out),
        Array::U32(v) => many(v, u32::to_le_bytes, out),
        Array::I32(v) => many(v, i32::to_le_bytes, out),
        Array::F32(v) => many(v, f32::to_le_bytes, out),
        Array::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
        Array::String(v) => v.iter().try_for_each(|text| string(text, MAX_STRING_BYTES, out))?,
        Array::Array(_) if depth == MAX_DEPTH => return Err(Problem::Depth { limit: MAX_DEPTH }),
        Array::Array(v) => v.iter().try_for_each(|inner| elements(inner, depth + 1, out))?,
        Array::U64(v) => many(v, u64::to_le_bytes, out),
        Array::I64(v) => many(v, i64::to_le_bytes, out),
        Array::F64(v) => many(v, f64::to_le_bytes, out),
    }
    Ok(())
}

fn many<const N: usize, T: Copy>(numbers: &[T], to: fn(T) -> [u8; N], out: &mut Vec<u8>) {
    out.extend(numbers.iter().flat_map(|&number| to(number)));
}

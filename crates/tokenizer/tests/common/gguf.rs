//! The metadata of a GGUF file, for files that are trusted: just enough to get at a vocabulary.

use std::collections::HashMap;

#[derive(Debug)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Self>),
    Other,
}

impl Value {
    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { panic!("not a string: {self:?}") }
    }

    pub(crate) fn number(&self) -> i64 {
        if let Self::Number(number) = self { *number } else { panic!("not a number: {self:?}") }
    }

    pub(crate) fn list(&self) -> &[Self] {
        if let Self::List(list) = self { list } else { panic!("not a list: {self:?}") }
    }
}

pub(crate) fn metadata(file: &[u8]) -> HashMap<String, Value> {
    let mut rest =
        file.strip_prefix(b"GGUF\x03\0\0\0").or_else(|| file.strip_prefix(b"GGUF\x02\0\0\0")).unwrap();
    let _tensors = number(&mut rest, 8);
    let count = number(&mut rest, 8);
    let mut entry = || {
        let key = string(&mut rest);
        let kind = number(&mut rest, 4);
        (key, value(&mut rest, kind))
    };
    (0..count).map(|_| entry()).collect()
}

fn take<'f>(rest: &mut &'f [u8], len: usize) -> &'f [u8] {
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    head
}

/// A little-endian number that is not negative.
fn number(rest: &mut &[u8], len: usize) -> i64 {
    take(rest, len).iter().rev().fold(0, |value, &byte| value << 8 | i64::from(byte))
}

fn string(rest: &mut &[u8]) -> String {
    let len = usize::try_from(number(rest, 8)).unwrap();
    String::from_utf8(take(rest, len).to_vec()).unwrap()
}

/// The format's numbers for types: 0 to 5 are integers of 1, 2 and 4 bytes, 6 a float, 7 a boolean, 8 a string, 9 an array,
/// 10 and 11 integers of 8 bytes, 12 a double.
fn value(rest: &mut &[u8], kind: i64) -> Value {
    match kind {
        0 | 1 | 7 => Value::Number(number(rest, 1)),
        2 | 3 => Value::Number(number(rest, 2)),
        4 | 5 => Value::Number(number(rest, 4)),
        10 | 11 => Value::Number(number(rest, 8)),
        6 | 12 => {
            take(rest, if kind == 6 { 4 } else { 8 });
            Value::Other
        }
        8 => Value::Text(string(rest)),
        9 => {
            let kind = number(rest, 4);
            let len = number(rest, 8);
            Value::List((0..len).map(|_| value(rest, kind)).collect())
        }
        _ => panic!("no such type: {kind}"),
    }
}

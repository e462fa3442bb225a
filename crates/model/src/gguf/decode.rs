//! Numbers, strings and values out of bytes, each held against the bytes that are left before it is made.

use super::{Array, Field, FormatError, Kind, MAX_DEPTH, MAX_STRING_BYTES, Problem, Strings, Value};

/// What is wrong, and where, before it is known what was being read.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) problem: Problem,
}

impl Fault {
    /// Says what was being read.
    pub(super) fn in_field(self, field: Field) -> FormatError {
        FormatError { offset: self.offset, field, problem: self.problem }
    }
}

/// A place in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// A fault where the cursor is.
    pub(super) fn fault(&self, problem: Problem) -> Fault {
        Fault { offset: self.offset(), problem }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.bytes[self.at..].first_chunk() {
            Some(array) => {
                self.at += N;
                Ok(*array)
            }
            None => Err(self.truncated(N as u64)),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// The number of entries that follow, at most `limit`, of which each takes `least` bytes or more.
    pub(super) fn count(&mut self, least: u64, limit: u64) -> Result<usize, Fault> {
        let offset = self.offset();
        let count = self.u64()?;
        let left = self.left();
        let problem = if count > limit {
            Problem::Limit { found: count, limit }
        } else if count > left / least {
            Problem::Count { count, least, left }
        } else {
            // At most `left`, which is a length in memory.
            return Ok(count as usize);
        };
        Err(Fault { offset, problem })
    }

    /// A string of at most `limit` bytes.
    pub(super) fn string(&mut self, limit: u64) -> Result<&'a str, Fault> {
        let offset = self.offset();
        let len = self.u64()?;
        if len > limit {
            return Err(Fault { offset, problem: Problem::Limit { found: len, limit } });
        }
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|error| Fault {
            offset: self.offset() - len,
            problem: Problem::Utf8 { valid: error.valid_up_to() },
        })
    }

    /// A string that is the name of something.
    pub(super) fn name(&mut self, limit: u64) -> Result<&'a str, Fault> {
        let offset = self.offset();
        match self.string(limit)? {
            "" => Err(Fault { offset, problem: Problem::Empty }),
            name => Ok(name),
        }
    }

    /// The kind of a value and the value.
    pub(super) fn value(&mut self) -> Result<Value, Fault> {
        Ok(match self.kind()? {
            Kind::U8 => Value::U8(self.array().map(u8::from_le_bytes)?),
            Kind::I8 => Value::I8(self.array().map(i8::from_le_bytes)?),
            Kind::U16 => Value::U16(self.array().map(u16::from_le_bytes)?),
            Kind::I16 => Value::I16(self.array().map(i16::from_le_bytes)?),
            Kind::U32 => Value::U32(self.u32()?),
            Kind::I32 => Value::I32(self.array().map(i32::from_le_bytes)?),
            Kind::F32 => Value::F32(self.array().map(f32::from_le_bytes)?),
            Kind::Bool => Value::Bool(self.bool()?),
            Kind::String => Value::String(self.string(MAX_STRING_BYTES)?.to_owned()),
            Kind::Array => Value::Array(self.elements(1)?),
            Kind::U64 => Value::U64(self.u64()?),
            Kind::I64 => Value::I64(self.array().map(i64::from_le_bytes)?),
            Kind::F64 => Value::F64(self.array().map(f64::from_le_bytes)?),
        })
    }

    /// An array that lies in `depth − 1` others.
    fn elements(&mut self, depth: usize) -> Result<Array, Fault> {
        let offset = self.offset();
        let kind = self.kind()?;
        if kind == Kind::Array && depth == MAX_DEPTH {
            return Err(Fault { offset, problem: Problem::Depth { limit: MAX_DEPTH } });
        }
        let count = self.count(kind.least_bytes(), u64::MAX)?;
        Ok(match kind {
            Kind::U8 => Array::U8(self.many(count, u8::from_le_bytes)?),
            Kind::I8 => Array::I8(self.many(count, i8::from_le_bytes)?),
            Kind::U16 => Array::U16(self.many(count, u16::from_le_bytes)?),
            Kind::I16 => Array::I16(self.many(count, i16::from_le_bytes)?),
            Kind::U32 => Array::U32(self.many(count, u32::from_le_bytes)?),
            Kind::I32 => Array::I32(self.many(count, i32::from_le_bytes)?),
            Kind::F32 => Array::F32(self.many(count, f32::from_le_bytes)?),
            Kind::Bool => Array::Bool((0..count).map(|_| self.bool()).collect::<Result<_, _>>()?),
            // Elements that may take more memory than their least bytes: none of it ahead of what is read.
            Kind::String => Array::String(self.strings(count)?),
            Kind::Array => {
                Array::Array((0..count).map(|_| self.elements(depth + 1)).collect::<Result<_, _>>()?)
            }
            Kind::U64 => Array::U64(self.many(count, u64::from_le_bytes)?),
            Kind::I64 => Array::I64(self.many(count, i64::from_le_bytes)?),
            Kind::F64 => Array::F64(self.many(count, f64::from_le_bytes)?),
        })
    }

    /// `count` numbers of N bytes.
    fn many<const N: usize, T>(&mut self, count: usize, from: fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
        let bytes = self.take((count as u64).saturating_mul(N as u64))?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|number| from(*number)).collect())
    }

    fn strings(&mut self, count: usize) -> Result<Strings, Fault> {
        let mut strings = Strings::default();
        for _ in 0..count {
            strings.push(self.string(MAX_STRING_BYTES)?);
        }
        Ok(strings)
    }

    fn kind(&mut self) -> Result<Kind, Fault> {
        let offset = self.offset();
        let found = self.u32()?;
        Kind::from_id(found).ok_or(Fault { offset, problem: Problem::Kind { found } })
    }

    fn bool(&mut self) -> Result<bool, Fault> {
        let offset = self.offset();
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(Fault { offset, problem: Problem::Bool { found } }),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Fault> {
        let taken = usize::try_from(len).ok().and_then(|len| self.bytes[self.at..].get(..len));
        match taken {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(self.truncated(len)),
        }
    }

    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn truncated(&self, needed: u64) -> Fault {
        self.fault(Problem::Truncated { needed, left: self.left() })
    }
}

//! Keys and their values.

use super::{Array, KeyError, Kind, Strings, Value, names};

/// Values by key, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Places in `entries`, by key.
    order: Vec<usize>,
}

impl Metadata {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of the entries of a file; of a key that occurs twice, the place of its second entry and its name.
    pub(super) fn of(mut entries: Vec<(String, Value)>) -> Result<Self, (usize, String)> {
        match names::sort(&entries, key) {
            Ok(order) => Ok(Self { entries, order }),
            Err(second) => Err((second, entries.swap_remove(second).0)),
        }
    }

    /// Sets a key, and returns what it was before.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) -> Option<Value> {
        let key = key.into();
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[self.order[at]].1, value)),
            Err(at) => {
                self.order.insert(at, self.entries.len());
                self.entries.push((key, value));
                None
            }
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.find(key).ok()?;
        Some(&self.entries[self.order[at]].1)
    }

    /// Keys and values, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A text.
    ///
    /// # Errors
    /// [`KeyError::Missing`], or [`KeyError::Kind`] if the value is of another kind; so with all that follow.
    pub fn string(&self, key: &str) -> Result<&str, KeyError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            other => Err(wrong(key, Kind::String, other)),
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// As [`string`](Self::string).
    pub fn bool(&self, key: &str) -> Result<bool, KeyError> {
        match self.value(key)? {
            Value::Bool(value) => Ok(*value),
            other => Err(wrong(key, Kind::Bool, other)),
        }
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// As [`string`](Self::string).
    pub fn f32(&self, key: &str) -> Result<f32, KeyError> {
        match self.value(key)? {
            Value::F32(value) => Ok(*value),
            other => Err(wrong(key, Kind::F32, other)),
        }
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// As [`string`](Self::string).
    pub fn f64(&self, key: &str) -> Result<f64, KeyError> {
        match self.value(key)? {
            Value::F64(value) => Ok(*value),
            other => Err(wrong(key, Kind::F64, other)),
        }
    }

    /// An integer of any width that is not negative.
    ///
    /// # Errors
    /// As [`string`](Self::string), and [`KeyError::Range`] if it is negative.
    pub fn u64(&self, key: &str) -> Result<u64, KeyError> {
        self.integer(key, Kind::U64)
    }

    /// An integer of any width that fits 32 bits and is not negative: most sizes are such.
    ///
    /// # Errors
    /// As [`string`](Self::string), and [`KeyError::Range`] if it does not fit.
    pub fn u32(&self, key: &str) -> Result<u32, KeyError> {
        self.integer(key, Kind::U32)
    }

    /// An integer of any width that fits 64 bits with a sign.
    ///
    /// # Errors
    /// As [`string`](Self::string), and [`KeyError::Range`] if it does not fit.
    pub fn i64(&self, key: &str) -> Result<i64, KeyError> {
        self.integer(key, Kind::I64)
    }

    /// An array of any kind.
    ///
    /// # Errors
    /// As [`string`](Self::string).
    pub fn array(&self, key: &str) -> Result<&Array, KeyError> {
        match self.value(key)? {
            Value::Array(array) => Ok(array),
            other => Err(wrong(key, Kind::Array, other)),
        }
    }

    /// An array of strings.
    ///
    /// # Errors
    /// As [`string`](Self::string), and [`KeyError::Elements`] if it is an array of something else.
    pub fn array_strings(&self, key: &str) -> Result<&Strings, KeyError> {
        match self.array(key)? {
            Array::String(strings) => Ok(strings),
            other => Err(wrong_elements(key, Kind::String, other)),
        }
    }

    /// An array of numbers of 32 bits.
    ///
    /// # Errors
    /// As [`array_strings`](Self::array_strings).
    pub fn array_f32(&self, key: &str) -> Result<&[f32], KeyError> {
        match self.array(key)? {
            Array::F32(numbers) => Ok(numbers),
            other => Err(wrong_elements(key, Kind::F32, other)),
        }
    }

    /// An array of truth values.
    ///
    /// # Errors
    /// As [`array_strings`](Self::array_strings).
    pub fn array_bool(&self, key: &str) -> Result<&[bool], KeyError> {
        match self.array(key)? {
            Array::Bool(values) => Ok(values),
            other => Err(wrong_elements(key, Kind::Bool, other)),
        }
    }

    /// An array of integers of any width.
    ///
    /// # Errors
    /// As [`array_strings`](Self::array_strings), and [`KeyError::Range`] if one does not fit 64 bits with a sign.
    pub fn array_i64(&self, key: &str) -> Result<Vec<i64>, KeyError> {
        Ok(match self.array(key)? {
            Array::U8(v) => v.iter().copied().map(i64::from).collect(),
            Array::I8(v) => v.iter().copied().map(i64::from).collect(),
            Array::U16(v) => v.iter().copied().map(i64::from).collect(),
            Array::I16(v) => v.iter().copied().map(i64::from).collect(),
            Array::U32(v) => v.iter().copied().map(i64::from).collect(),
            Array::I32(v) => v.iter().copied().map(i64::from).collect(),
            Array::I64(v) => v.clone(),
            Array::U64(v) => v
                .iter()
                .map(|&x| i64::try_from(x))
                .collect::<Result<_, _>>()
                .map_err(|_| KeyError::Range { key: key.to_owned(), expected: Kind::I64 })?,
            other => return Err(wrong_elements(key, Kind::I64, other)),
        })
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: Kind) -> Result<T, KeyError> {
        let value = match self.value(key)? {
            Value::U8(x) => i128::from(*x),
            Value::I8(x) => i128::from(*x),
            Value::U16(x) => i128::from(*x),
            Value::I16(x) => i128::from(*x),
            Value::U32(x) => i128::from(*x),
            Value::I32(x) => i128::from(*x),
            Value::U64(x) => i128::from(*x),
            Value::I64(x) => i128::from(*x),
            other => return Err(wrong(key, expected, other)),
        };
        T::try_from(value).map_err(|_| KeyError::Range { key: key.to_owned(), expected })
    }

    fn value(&self, key: &str) -> Result<&Value, KeyError> {
        self.get(key).ok_or_else(|| KeyError::Missing { key: key.to_owned() })
    }

    fn find(&self, wanted: &str) -> Result<usize, usize> {
        names::find(&self.entries, &self.order, key, wanted)
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

/// Makes `None` of a missing key, where a file may leave it out.
///
/// # Errors
/// All but [`KeyError::Missing`].
pub fn optional<T>(value: Result<T, KeyError>) -> Result<Option<T>, KeyError> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(KeyError::Missing { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

fn key(entry: &(String, Value)) -> &str {
    &entry.0
}

fn wrong(key: &str, expected: Kind, found: &Value) -> KeyError {
    KeyError::Kind { key: key.to_owned(), expected, found: found.kind() }
}

fn wrong_elements(key: &str, expected: Kind, found: &Array) -> KeyError {
    KeyError::Elements { key: key.to_owned(), expected, found: found.kind() }
}

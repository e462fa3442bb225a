//! Typed access to the fields of a JSON object; whatever is wrong is an error that names the field.

use serde_json::{Map, Value};

use super::Error;

/// An object of a configuration file. A field that is null counts as absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Name of the object, if it is itself a field.
    within: Option<&'static str>,
}

/// The object that `json` holds.
pub(super) fn parse(json: &[u8]) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(json).map_err(Error::Json)
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Fields { map, within: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// Whether the field is there at all, null or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The error that `name` does not satisfy `rule`.
    pub(super) fn wrong(&self, name: &str, rule: &'static str) -> Error {
        const MOST: usize = 60;
        let field = match self.within {
            Some(within) => format!("{within}.{name}"),
            None => name.to_owned(),
        };
        let mut found = self.map.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string);
        if let Some((end, _)) = found.char_indices().nth(MOST) {
            found.truncate(end);
            found.push('…');
        }
        Error::Field { field, found, rule }
    }

    fn typed<T>(
        &self,
        name: &str,
        rule: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(name).map(|value| read(value).ok_or_else(|| self.wrong(name, rule))).transpose()
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<usize>, Error> {
        self.typed(name, "must be a whole number that is not negative", |value| {
            value.as_u64().and_then(|value| usize::try_from(value).ok())
        })
    }

    pub(super) fn needed_size(&self, name: &str) -> Result<usize, Error> {
        self.size(name)?.ok_or_else(|| self.wrong(name, "is needed; a whole number"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        self.typed(name, "must be a number", Value::as_f64)
    }

    pub(super) fn needed_number(&self, name: &str) -> Result<f64, Error> {
        self.number(name)?.ok_or_else(|| self.wrong(name, "is needed; a number"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.typed(name, "must be true or false", Value::as_bool)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.typed(name, "must be a string", Value::as_str)
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>, Error> {
        self.typed(name, "must be a list of strings", |value| {
            value.as_array()?.iter().map(Value::as_str).collect()
        })
    }

    pub(super) fn object(&self, name: &'static str) -> Result<Option<Fields<'a>>, Error> {
        let map = self.typed(name, "must be an object", Value::as_object)?;
        Ok(map.map(|map| Fields { map, within: Some(name) }))
    }

    pub(super) fn token(&self, name: &str) -> Result<Option<u32>, Error> {
        self.typed(name, "must be a token id", token)
    }

    /// One token or a list of them.
    pub(super) fn tokens(&self, name: &str) -> Result<Vec<u32>, Error> {
        let read = |value: &Value| match value.as_array() {
            Some(list) => list.iter().map(token).collect(),
            None => token(value).map(|token| vec![token]),
        };
        Ok(self.typed(name, "must be a token id or a list of them", read)?.unwrap_or_default())
    }
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|value| u32::try_from(value).ok())
}

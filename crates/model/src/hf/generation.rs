//! `generation_config.json`: how a model's makers want text to be sampled from it.

use serde_json::{Map, Value, json};

use super::Error;
use super::fields::{Fields, parse};

/// What such a file says; whatever it leaves open is `None`, or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Tokens that end one, any of them.
    pub eos: Vec<u32>,
    /// Whether tokens are drawn, not the likeliest taken.
    pub do_sample: Option<bool>,
    /// What logits are divided by.
    pub temperature: Option<f64>,
    /// Only the likeliest tokens that together have this probability are considered.
    pub top_p: Option<f64>,
    /// Only the likeliest so many are considered; 0 considers all.
    pub top_k: Option<usize>,
    /// What logits of tokens that occurred are divided by (multiplied, if negative).
    pub repetition_penalty: Option<f64>,
}

impl Generation {
    /// Reads a `generation_config.json`. Fields beside these are not looked at.
    ///
    /// # Errors
    /// [`Error::Json`], and [`Error::Field`] naming a field of the wrong type or outside its range.
    pub fn read(json: &[u8]) -> Result<Generation, Error> {
        Generation::from_fields(&Fields::new(&parse(json)?))
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Generation, Error> {
        let within = |name: &str, rule: &'static str, good: fn(f64) -> bool| match fields.number(name)? {
            Some(value) if !good(value) => Err(fields.wrong(name, rule)),
            value => Ok(value),
        };
        Ok(Generation {
            bos: fields.token("bos_token_id")?,
            eos: fields.tokens("eos_token_id")?,
            do_sample: fields.flag("do_sample")?,
            temperature: within("temperature", "must not be negative", |x| x >= 0.0)?,
            top_p: within("top_p", "must be from 0 to 1", |x| (0.0..=1.0).contains(&x))?,
            top_k: fields.size("top_k")?,
            repetition_penalty: within("repetition_penalty", "must be positive", |x| x > 0.0)?,
        })
    }

    /// Its fields as transformers names them.
    pub(super) fn to_fields(&self) -> Map<String, Value> {
        let eos = match self.eos[..] {
            [] => Value::Null,
            [one] => json!(one),
            ref many => json!(many),
        };
        let fields = [
            ("bos_token_id", json!(self.bos)),
            ("eos_token_id", eos),
            ("do_sample", json!(self.do_sample)),
            ("temperature", json!(self.temperature)),
            ("top_p", json!(self.top_p)),
            ("top_k", json!(self.top_k)),
            ("repetition_penalty", json!(self.repetition_penalty)),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_or_many_are_read_and_what_is_written_reads_back() {
        let one =
            Generation::read(br#"{"eos_token_id": 2, "top_k": 50, "transformers_version": "5"}"#).unwrap();
        assert_eq!(one, Generation { eos: vec![2], top_k: Some(50), ..Generation::default() });
        let many = br#"{"bos_token_id": 1, "eos_token_id": [7, 9], "do_sample": true, "temperature": 0.6,
            "top_p": 0.9, "repetition_penalty": 1.1, "max_length": null}"#;
        let many = Generation::read(many).unwrap();
        assert_eq!((many.bos, &many.eos[..], many.temperature), (Some(1), &[7, 9][..], Some(0.6)));
        for generation in [one, many, Generation::default()] {
            let text = serde_json::to_vec(&generation.to_fields()).unwrap();
            assert_eq!(Generation::read(&text).unwrap(), generation);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, named) in [
            (r#"{"eos_token_id": -1}"#, "eos_token_id"),
            (r#"{"eos_token_id": [1, "2"]}"#, "eos_token_id"),
            (r#"{"bos_token_id": 4294967296}"#, "bos_token_id"),
            (r#"{"temperature": -0.5}"#, "temperature"),
            (r#"{"top_p": 1.5}"#, "top_p"),
            (r#"{"top_k": -1}"#, "top_k"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
        ] {
            let error = Generation::read(json.as_bytes()).unwrap_err();
            assert!(matches!(&error, Error::Field { field, .. } if field == named), "{error}");
        }
        assert!(matches!(Generation::read(b"[1]"), Err(Error::Json(_))));
    }
}

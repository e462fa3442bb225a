//! JSON schemas: their text, and what would make them costly.
//!
//! Most of what a schema may cost is bounded where it is compiled. Here is what is not: numbers whose arithmetic overflows, and
//! patterns that are read as others than they are, or must hold at once. What follows a place of a text that n patterns share is a product of n factors, each as
//! large as its pattern has alternatives.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value, json};

use super::place::Place;
use super::regex;
use crate::error::{Error, Kind};
use crate::limits::{
    MAX_DEPTH, MAX_FACTORS, MAX_NUMBER, MAX_PATTERN_PROPERTIES, MAX_PATTERN_PROPERTY, MAX_REFERENCES,
};

/// What may stand between tokens of JSON. Unbounded, a model of little use may write blanks for ever.
const BLANKS: &str = r" |\n[ \t]{0,32}";
/// Keywords that put a schema in the place of another, or beside it.
const APPLICATORS: [&str; 4] = ["allOf", "anyOf", "oneOf", "$ref"];
/// Keywords beside which an applicator is alone.
const NO_RESTRICTION: [&str; 12] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "description",
    "examples",
    "readOnly",
    "title",
    "type",
    "writeOnly",
];

/// The schema with our options in it.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // The place is told apart.
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason).to_owned();
        Error::NotJson { line: error.line(), column: error.column(), reason }
    })?;
    let mut survey = Survey::default();
    survey.walk(&schema, None, MAX_DEPTH)?;
    survey.follow(&schema)?;
    survey.check()?;
    let mut fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return Err(unusable("`false` is satisfied by no JSON".to_owned())),
        _ => return Err(unusable("it is neither an object nor a boolean".to_owned())),
    };
    fields.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": BLANKS }));
    Ok(Value::Object(fields))
}

fn unusable(reason: String) -> Error {
    Error::Grammar { kind: Kind::JsonSchema, reason }
}

/// Patterns and formats, each once, with an estimate of their alternatives.
type Factors<'a> = BTreeMap<&'a str, u64>;

/// What was met on the way through a schema.
#[derive(Default)]
struct Survey<'a> {
    /// Where references lead to.
    references: BTreeSet<&'a str>,
    /// Patterns of names.
    names: BTreeSet<&'a str>,
    /// Patterns of texts by the name of the property that they are below; by none, they may be of any.
    factors: BTreeMap<Option<&'a str>, Factors<'a>>,
    /// Whether several schemas must hold at once anywhere.
    conjunction: bool,
    /// Where it is.
    place: Place<'a>,
    /// Definitions that it is in: a reference leads to those that are used.
    definitions: usize,
}

impl<'a> Survey<'a> {
    fn walk(&mut self, value: &'a Value, property: Option<&'a str>, depth: usize) -> Result<(), Error> {
        match value {
            Value::Array(_) | Value::Object(_) if depth == 0 => {
                Err(Error::TooDeep { kind: Kind::JsonSchema, limit: MAX_DEPTH })
            }
            Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                self.place.push_index(index);
                self.walk(item, property, depth - 1)?;
                self.place.pop();
                Ok(())
            }),
            Value::Object(fields) => self.object(fields, property, depth),
            Value::Number(number) => in_range(number),
            _ => Ok(()),
        }
    }

    fn object(
        &mut self,
        fields: &'a Map<String, Value>,
        property: Option<&'a str>,
        depth: usize,
    ) -> Result<(), Error> {
        if let Some(Value::String(target)) = fields.get("$ref") {
            self.references.insert(target);
        }
        if let Some(Value::Number(number)) = fields.get("multipleOf") {
            let digits = number.to_string();
            if digits.bytes().filter(u8::is_ascii_digit).count() > 6 || digits.contains(['e', 'E']) {
                return Err(unusable(format!("multipleOf {digits} has too many digits: 6 are understood")));
            }
        }
        let mut here = Factors::new();
        if let Some(Value::String(pattern)) = fields.get("pattern") {
            self.place.push_key("pattern");
            self.pattern(pattern)?;
            self.place.pop();
            here.insert(pattern, pattern.len() as u64 + 16);
        }
        if let Some(Value::String(format)) = fields.get("format") {
            here.insert(format, 8);
        }
        at_once([&here])?;
        self.factors.entry(property).or_default().extend(here);
        let applied = APPLICATORS.iter().filter(|keyword| fields.contains_key(**keyword)).count();
        let beside = fields.keys().any(|keyword| {
            !APPLICATORS.contains(&keyword.as_str()) && !NO_RESTRICTION.contains(&keyword.as_str())
        });
        let several = fields.get("allOf").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        let both = fields.contains_key("properties") && fields.contains_key("patternProperties");
        self.conjunction |= several || both || applied > 1 || (applied == 1 && beside);
        for (keyword, field) in fields {
            self.place.push_key(keyword);
            match keyword.as_str() {
                "properties" | "patternProperties" => self.named(keyword, field, depth - 1)?,
                "$defs" | "definitions" => {
                    self.definitions += 1;
                    self.named(keyword, field, depth - 1)?;
                    self.definitions -= 1;
                }
                "additionalProperties" => self.walk(field, None, depth - 1)?,
                "enum" | "const" | "default" | "examples" => data(field, depth - 1)?,
                _ => self.walk(field, property, depth - 1)?,
            }
            self.place.pop();
        }
        Ok(())
    }

    /// The schemas of an object whose names are no keywords.
    fn named(&mut self, keyword: &str, field: &'a Value, depth: usize) -> Result<(), Error> {
        let Value::Object(schemas) = field else {
            return Err(unusable(format!("`{keyword}` is not an object")));
        };
        for (name, schema) in schemas {
            if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
                return Err(unusable(format!(
                    "`{keyword}` has a value that is neither an object nor a boolean"
                )));
            }
            self.place.push_key(name);
            if keyword == "patternProperties" {
                if name.len() > MAX_PATTERN_PROPERTY {
                    return Err(unusable(format!(
                        "a pattern of names has {} bytes, and at most {MAX_PATTERN_PROPERTY} are taken",
                        name.len()
                    )));
                }
                self.pattern(name)?;
                self.names.insert(name);
            }
            self.walk(schema, (keyword == "properties").then_some(name), depth)?;
            self.place.pop();
        }
        Ok(())
    }

    /// A pattern here. Those that nobody uses may be of another dialect, but not be read as what they are not.
    fn pattern(&self, pattern: &str) -> Result<(), Error> {
        match regex::check_search(pattern) {
            Err(Error::Pattern { .. } | Error::InnerAnchor) if self.definitions > 0 => Ok(()),
            Err(error) => Err(Error::InSchema { place: self.place.to_string(), error: error.into() }),
            Ok(()) => Ok(()),
        }
    }

    /// What references lead to, which may be a place that was not taken for a schema.
    fn follow(&mut self, root: &'a Value) -> Result<(), Error> {
        let mut followed = BTreeSet::new();
        while let Some(&target) = self.references.difference(&followed).next() {
            self.few_references()?;
            followed.insert(target);
            // Others lead out of the schema, which is refused.
            let segments = target.strip_prefix("#/").filter(|path| !path.is_empty());
            self.place = Place::default();
            let schema = segments.and_then(|path| {
                path.split('/').try_fold(root, |value, segment| {
                    self.place.push_key(segment);
                    match value {
                        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
                        _ => value.get(segment),
                    }
                })
            });
            if let Some(schema) = schema {
                self.walk(schema, None, MAX_DEPTH)?;
            }
        }
        Ok(())
    }

    fn few_references(&self) -> Result<(), Error> {
        if self.references.len() > MAX_REFERENCES {
            let (kind, names) = (Kind::JsonSchema, "places for `$ref`");
            return Err(Error::TooManyNames { kind, names, limit: MAX_REFERENCES });
        }
        Ok(())
    }

    /// What is too much in all.
    fn check(&self) -> Result<(), Error> {
        if self.names.len() > MAX_PATTERN_PROPERTIES {
            let kind = Kind::JsonSchema;
            let limit = MAX_PATTERN_PROPERTIES;
            return Err(Error::TooManyNames { kind, names: "patterns in `patternProperties`", limit });
        }
        if self.conjunction {
            let (none, anywhere) = (Factors::new(), self.factors.get(&None));
            for factors in self.factors.values() {
                at_once([factors, anywhere.unwrap_or(&none)])?;
            }
        }
        Ok(())
    }
}

/// JSON that is taken as it is: nothing in it is a keyword.
fn data(value: &Value, depth: usize) -> Result<(), Error> {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => {
            Err(Error::TooDeep { kind: Kind::JsonSchema, limit: MAX_DEPTH })
        }
        Value::Array(items) => items.iter().try_for_each(|item| data(item, depth - 1)),
        Value::Object(fields) => fields.values().try_for_each(|field| data(field, depth - 1)),
        Value::Number(number) => in_range(number),
        _ => Ok(()),
    }
}

/// Refuses patterns of too many alternatives that may have to hold at once.
fn at_once<const N: usize>(sets: [&Factors<'_>; N]) -> Result<(), Error> {
    let all: Factors<'_> = sets.into_iter().flatten().map(|(&pattern, &factor)| (pattern, factor)).collect();
    let product = all.values().fold(1_u64, |product, &factor| product.saturating_mul(factor));
    if all.len() > 1 && product > MAX_FACTORS {
        let reason = format!(
            "{} patterns or formats may have to hold at once, too costly: let fewer meet, in `allOf` and beside `$ref` or `anyOf`",
            all.len()
        );
        return Err(unusable(reason));
    }
    Ok(())
}

/// Refuses numbers that are computed with in integers that they overflow.
fn in_range(number: &Number) -> Result<(), Error> {
    match number.as_f64() {
        Some(x) if x.abs() <= MAX_NUMBER => Ok(()),
        _ => Err(unusable(format!("the number {number} is beyond ±10¹⁵"))),
    }
}

//! Methods of Python's strings and dictionaries, as templates call them.

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::budget::charge;
use super::python;

/// Calls `value.method(args)`.
pub(super) fn call(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => {
            charge(state, text.len())?;
            of_string(state, text, method, args)
        }
        None if value.kind() == ValueKind::Map => {
            let copied = if method == "get" { 1 } else { value.len().unwrap_or(0) };
            charge(state, copied.saturating_mul(size_of::<Value>()))?;
            of_map(value, method, args)
        }
        None => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_string(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let affix = |test: &dyn Fn(&str) -> bool| {
        let (affix,): (Value,) = from_args(args)?;
        if let Some(affix) = affix.as_str() {
            return Ok(Value::from(test(affix)));
        }
        let mut any = false;
        for affix in affix.try_iter()? {
            any |= affix.as_str().is_some_and(test);
        }
        Ok::<_, Error>(Value::from(any))
    };
    let every = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    let place = |at: Option<usize>| match at {
        Some(at) => Value::from(text[..at].chars().count()),
        None => Value::from(-1),
    };
    Ok(match method {
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        "title" => Value::from(minijinja::filters::title(text.into())),
        "capitalize" => {
            let mut characters = text.chars();
            let head: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
            Value::from(head + &characters.as_str().to_lowercase())
        }
        "isdigit" | "isnumeric" => every(char::is_numeric),
        "isalpha" => every(char::is_alphabetic),
        "isalnum" => every(char::is_alphanumeric),
        "isspace" => every(is_space),
        "isupper" => {
            Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }
        "islower" => {
            Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }
        "strip" | "lstrip" | "rstrip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            charge(state, set.map_or(0, str::len).saturating_mul(text.len()))?;
            Value::from(strip(text, set, method != "rstrip", method != "lstrip"))
        }
        "startswith" => affix(&|affix| text.starts_with(affix))?,
        "endswith" => affix(&|affix| text.ends_with(affix))?,
        "removeprefix" => {
            let (affix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(affix).unwrap_or(text))
        }
        "removesuffix" => {
            let (affix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(affix).unwrap_or(text))
        }
        "find" => {
            let (part,): (&str,) = from_args(args)?;
            place(text.find(part))
        }
        "rfind" => {
            let (part,): (&str,) = from_args(args)?;
            place(text.rfind(part))
        }
        "count" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.matches(part).count())
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            replace(state, text, old, new, count)?
        }
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            join(state, &items, text)?
        }
        "split" | "rsplit" => split(state, text, method == "rsplit", args)?,
        "format" => format(state, text, args)?,
        "splitlines" => {
            charge(state, text.matches('\n').count().saturating_mul(size_of::<Value>()))?;
            text.lines().map(Value::from).collect()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// `text.format(...)`, of fields without a format: `{}`, `{0}`, `{name}`.
fn format(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (given, named): (Rest<Value>, Kwargs) = from_args(args)?;
    let refused = |why: &str| Error::new(ErrorKind::InvalidOperation, format!("in a call of format, {why}"));
    let (mut out, mut rest, mut next) = (String::new(), text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = behind;
            continue;
        }
        let Some((name, behind)) = rest.split_once('}').filter(|_| brace == "{") else {
            return Err(refused("a brace is alone"));
        };
        let value = if name.is_empty() {
            next += 1;
            given.get(next - 1).cloned()
        } else if let Ok(index) = name.parse::<usize>() {
            given.get(index).cloned()
        } else {
            named.get::<Option<Value>>(name)?
        };
        out.push_str(&python::text(state, &value.ok_or_else(|| refused("a field has no value"))?)?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

/// What Python's `str.isspace` says.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// `text` without blanks, or without the characters of `set`, at its ends.
pub(super) fn strip<'a>(text: &'a str, set: Option<&str>, start: bool, end: bool) -> &'a str {
    let drop = |character: char| set.map_or_else(|| is_space(character), |set| set.contains(character));
    let text = if start { text.trim_start_matches(drop) } else { text };
    if end { text.trim_end_matches(drop) } else { text }
}

/// `text.replace(old, new, count)`, all of them if the count is absent or negative.
pub(super) fn replace(
    state: &State,
    text: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<Value, Error> {
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = text.matches(old).take(count).count();
    charge(state, found.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(Value::from(text.replacen(old, new, count)))
}

/// The items as text, with `between` between them.
pub(super) fn join(state: &State, items: &Value, between: &str) -> Result<Value, Error> {
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            charge(state, between.len())?;
            out.push_str(between);
        }
        charge(state, 1)?;
        out.push_str(&python::text(state, &item)?);
    }
    Ok(Value::from(out))
}

fn split(state: &State, text: &str, from_end: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let most = match most {
        Some(most) => most,
        None => named.get::<Option<i64>>("maxsplit")?.unwrap_or(-1),
    };
    named.assert_all_used()?;
    let most = usize::try_from(most).map_or(usize::MAX, |most| most.saturating_add(1));
    let parts = match separator {
        Some(separator) if !separator.is_empty() => 1 + text.matches(separator).count(),
        _ => 1 + text.len() / 2,
    };
    charge(state, parts.min(most).saturating_mul(size_of::<Value>()))?;
    Ok(match separator {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(separator) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        Some(separator) => text.splitn(most, separator).map(Value::from).collect(),
        None if most == usize::MAX => {
            text.split(is_space).filter(|part| !part.is_empty()).map(Value::from).collect()
        }
        None => return Err(Error::new(ErrorKind::InvalidOperation, "maxsplit needs a separator")),
    })
}

fn of_map(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "get" => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(&key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "keys" => value.try_iter().map(|keys| keys.collect()),
        "values" => {
            value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        "items" => value
            .try_iter()?
            .map(|key| Ok(Value::from(vec![key.clone(), value.get_item(&key)?])))
            .collect::<Result<Vec<_>, Error>>()
            .map(Value::from),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

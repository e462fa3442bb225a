//! The engine, with the filters, tests and functions that transformers gives to templates.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, functions};

use super::budget::{charge, charge_value};
use super::clock::DateTime;
use super::error::Stop;
use super::{methods, python, rewrite};

/// The variable that holds the time; templates cannot name it.
pub(super) const NOW: &str = "__selvedge_now";

/// Macros and loops nest at most this deep; a call counts as four or more.
const MAX_RECURSION: usize = 200;

/// An engine without templates.
pub(super) fn environment(steps: u64) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_fuel(Some(steps));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(|out, state, value| {
        let text = python::text(state, value)?;
        out.write_str(&text).map_err(Error::from)
    });
    for name in ["batch", "slice", "chain", "zip", "lines", "split", "pprint", "format", "bool"] {
        env.remove_filter(name);
    }
    env.remove_global("debug");
    add_filters(&mut env);
    add_tests(&mut env);
    add_functions(&mut env);
    env
}

fn add_filters(env: &mut Environment<'static>) {
    env.add_filter(rewrite::GUARD, |state: &State, value: Value| {
        charge_value(state, &value)?;
        if value.kind() != ValueKind::Iterable {
            return Ok::<_, Error>(value);
        }
        // Made now: sums of sums that are made when they are read would be read through all of them.
        let items: Vec<Value> = value.try_iter()?.collect();
        charge(state, items.len().saturating_mul(size_of::<Value>()))?;
        Ok(Value::from(items))
    });
    env.add_filter(rewrite::SPREAD, spread);
    env.add_filter(rewrite::ITEMS, |state: &State, value: Value| match value.kind() {
        ValueKind::None => Err(Error::new(ErrorKind::InvalidOperation, "none has no items")),
        _ => spread(state, value),
    });
    env.add_filter(rewrite::PART, |state: &State, value: Value| {
        charge(state, value.as_str().map(str::len).or_else(|| value.len()).unwrap_or(1)).map(|()| value)
    });
    env.add_filter(rewrite::NUMBER, |value: Value| match value.kind() {
        ValueKind::Number | ValueKind::Bool => Ok(value),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("a number times a {kind}"))),
    });
    env.add_filter(rewrite::TIMES, times);
    env.add_filter(rewrite::SLICE, slice);
    env.add_filter(rewrite::TEXT, |state: &State, value: Value| match value.as_str() {
        Some(text) => charge(state, text.len()).map(|()| value),
        None => python::text(state, &value).map(Value::from),
    });
    env.add_filter("string", |state: &State, value: Value| python::text(state, &value));
    for name in ["upper", "lower", "title", "capitalize"] {
        env.add_filter(name, |state: &State, value: Value| {
            methods::call(state, &Value::from(python::text(state, &value)?), name, &[])
        });
    }
    env.add_filter("tojson", tojson);
    env.add_filter("trim", |state: &State, value: Value, set: Option<&str>| {
        let text = python::text(state, &value)?;
        charge(state, set.map_or(0, str::len).saturating_mul(text.len()))?;
        Ok::<_, Error>(methods::strip(&text, set, true, true).to_owned())
    });
    env.add_filter("replace", |state: &State, value: Value, old: &str, new: &str, count: Option<i64>| {
        methods::replace(state, &python::text(state, &value)?, old, new, count)
    });
    env.add_filter("join", |state: &State, value: Value, between: Option<&str>, named: Kwargs| {
        let attribute: Option<String> = named.get("attribute")?;
        named.assert_all_used()?;
        let items = match attribute {
            Some(name) => value
                .try_iter()?
                .map(|item| item.get_attr(&name))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::from)?,
            None => value,
        };
        methods::join(state, &items, between.unwrap_or(""))
    });
    env.add_filter("indent", indent);
    env.add_filter("int", |value: Value, default: Option<i64>| {
        let text = value.as_str().map(|text| methods::strip(text, None, true, true).parse::<f64>());
        match text {
            Some(Ok(number)) => number as i64,
            Some(Err(_)) => default.unwrap_or(0),
            None => i64::try_from(value.clone())
                .ok()
                .or_else(|| f64::try_from(value).ok().map(|number| number as i64))
                .unwrap_or(default.unwrap_or(0)),
        }
    });
}

/// Counts a value, and what a list of its characters would take.
fn spread(state: &State, value: Value) -> Result<Value, Error> {
    charge_value(state, &value)?;
    charge(state, value.as_str().map_or(0, |text| text.len().saturating_mul(size_of::<Value>())))?;
    Ok(value)
}

/// Python's `value[start:stop:step]`.
fn slice(
    state: &State,
    value: Value,
    start: Option<i64>,
    stop: Option<i64>,
    step: Option<i64>,
) -> Result<Value, Error> {
    let refused = |why: String| Error::new(ErrorKind::InvalidOperation, why);
    let text: Option<Vec<char>> = match value.as_str() {
        Some(text) => {
            charge(state, text.len().saturating_mul(size_of::<char>()))?;
            Some(text.chars().collect())
        }
        None => None,
    };
    let items: Vec<Value> = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            charge(state, value.len().unwrap_or(0).saturating_mul(size_of::<Value>()))?;
            value.try_iter()?.collect()
        }
        ValueKind::String => Vec::new(),
        kind => return Err(refused(format!("a part of a {kind}"))),
    };
    let length = text.as_ref().map_or(items.len(), Vec::len);
    let length = i64::try_from(length).map_err(|_| refused("too long".to_owned()))?;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refused("a slice in steps of zero".to_owned()));
    }
    // From the end if negative, and within what can be reached.
    let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at }.clamp(least, most);
    let start = start.map_or(if step > 0 { 0 } else { most }, place);
    let stop = stop.map_or(if step > 0 { length } else { -1 }, place);
    let mut places = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        places.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    Ok(match text {
        Some(text) => Value::from(places.into_iter().map(|at| text[at]).collect::<String>()),
        None => places.into_iter().map(|at| items[at].clone()).collect(),
    })
}

/// Python's product: of numbers, or a text or list so many times.
fn times(state: &State, left: Value, right: Value) -> Result<Value, Error> {
    let refused = || Error::new(ErrorKind::InvalidOperation, "a product of what cannot be multiplied");
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if is_number(&left) && is_number(&right) {
        if !is_float(&left) && !is_float(&right) {
            let (left, right) = (i64::try_from(left)?, i64::try_from(right)?);
            return left.checked_mul(right).map(Value::from).ok_or_else(refused);
        }
        return Ok(Value::from(f64::try_from(left)? * f64::try_from(right)?));
    }
    let (many, count) = if is_number(&right) { (left, right) } else { (right, left) };
    if !is_number(&count) || is_float(&count) {
        return Err(refused());
    }
    let count = usize::try_from(i64::try_from(count)?.max(0)).map_err(|_| refused())?;
    if let Some(text) = many.as_str() {
        charge(state, text.len().saturating_mul(count))?;
        return Ok(Value::from(text.repeat(count)));
    }
    if many.kind() != ValueKind::Seq {
        return Err(refused());
    }
    let items: Vec<Value> = many.try_iter()?.collect();
    let count = if items.is_empty() { 0 } else { count };
    charge(state, items.len().saturating_mul(count).saturating_mul(size_of::<Value>()))?;
    Ok((0..count).flat_map(|_| items.iter().cloned()).collect())
}

fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

fn tojson(state: &State, value: Value, named: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = named.get("indent")?;
    let indent = match indent {
        Some(value) if value.is_none() || value.is_undefined() => None,
        Some(value) => Some(match value.as_str() {
            Some(text) => text.to_owned(),
            None => blanks(state, &value)?,
        }),
        None => None,
    };
    let separators: Option<Vec<String>> = named.get("separators")?;
    let ascii: Option<bool> = named.get("ensure_ascii")?;
    let sorted: Option<bool> = named.get("sort_keys")?;
    named.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are two")),
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let style = python::Style {
        indent,
        comma,
        colon,
        ascii: ascii.unwrap_or(false),
        sorted: sorted.unwrap_or(false),
    };
    python::json(state, &value, &style)
}

fn blanks(state: &State, count: &Value) -> Result<String, Error> {
    let count = usize::try_from(count.clone())?;
    charge(state, count)?;
    Ok(" ".repeat(count))
}

/// Jinja's `indent`: every line but the first, and no blank line, unless asked for.
fn indent(
    state: &State,
    value: Value,
    width: Option<Value>,
    first: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = width.or(named.get("width")?).unwrap_or(Value::from(4));
    let first = first.or(named.get("first")?).unwrap_or(false);
    let blank = named.get::<Option<bool>>("blank")?.unwrap_or(false);
    named.assert_all_used()?;
    let prefix = match width.as_str() {
        Some(text) => text.to_owned(),
        None => blanks(state, &width)?,
    };
    let text = python::text(state, &value)?;
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if (index > 0 || first) && (blank || index == 0 || !line.is_empty()) {
            charge(state, prefix.len())?;
            out.push_str(&prefix);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Tests that say of Python's types what Jinja says of them.
fn add_tests(env: &mut Environment<'static>) {
    env.add_test("sequence", |value: Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
    });
    env.add_test("iterable", |value: Value| {
        let kind = value.kind();
        matches!(
            kind,
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Iterable | ValueKind::Undefined
        )
    });
    // The engine's own divides by nothing.
    env.add_test("divisibleby", |value: i64, divisor: i64| {
        let zero = || Error::new(ErrorKind::InvalidOperation, "a division by zero");
        value.checked_rem(divisor).map(|rest| rest == 0).ok_or_else(zero)
    });
    env.add_test("number", |value: Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
}

fn add_functions(env: &mut Environment<'static>) {
    // Ours count what they copy.
    env.add_function("dict", |state: &State, value: Option<Value>, named: Kwargs| {
        value.iter().try_for_each(|value| charge_value(state, value))?;
        functions::dict(value, named)
    });
    env.add_function("namespace", |state: &State, value: Option<Value>| {
        value.iter().try_for_each(|value| charge_value(state, value))?;
        functions::namespace(value)
    });
    env.add_function(rewrite::COUNT, |state: &State, bytes: usize| charge(state, bytes).map(|()| ""));
    env.add_function("raise_exception", |state: &State, message: Rest<Value>| {
        let message = message.first().map_or(Ok(String::new()), |message| python::text(state, message))?;
        Err::<Value, Error>(Stop::Raised(message).into())
    });
    env.add_function("strftime_now", |state: &State, format: &str| {
        charge(state, format.len().saturating_mul(8))?;
        let now = state.lookup(NOW).ok_or(Stop::NoClock)?;
        let now = now.downcast_object_ref::<DateTime>().ok_or(Stop::NoClock)?;
        now.format(format).map_err(|letter| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime's %{letter} is not known"))
        })
    });
}

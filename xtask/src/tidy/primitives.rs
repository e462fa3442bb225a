//! The rule of one door: atomics, locks and raw threads are named in crates/sync alone.
//!
//! clippy.toml bans them too; this rule also sees code that clippy does not build: other platforms, features that are
//! off, and names that its list leaves out.

use crate::tidy::source::is_word;
use crate::tidy::tree::{Finding, Tree};

/// What nobody else may name from `std::sync`.
const SYNC: [&str; 6] = ["atomic", "Mutex", "RwLock", "Condvar", "Barrier", "*"];
/// What nobody else may name from `std::thread`.
const THREAD: [&str; 4] = ["spawn", "Builder", "scope", "*"];
/// Who may: the crate itself, this runner, which must depend on no crate of the workspace, and the benchmarks that
/// compare. Tests may too.
const FREE: [&str; 3] = ["crates/sync/", "xtask/", "benches/benches/"];

/// Raw primitives named outside crates/sync.
pub(crate) fn primitives(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.sources() {
        if file.is_test() || FREE.iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        let tokens: Vec<Token<'_>> =
            source.outside_tests().flat_map(|(index, code)| tokens(index, code)).collect();
        for (line, path) in paths(&tokens) {
            if is_raw(&path) {
                let message = format!("`{}` is for crates/sync alone: use selvedge-sync", path.join("::"));
                findings.push(file.finding(line, "primitives", message));
            }
        }
    }
    findings
}

/// Whether a path leads to a raw primitive, from `std` or `core` or from a module of theirs that was imported.
fn is_raw(path: &[&str]) -> bool {
    let inside = match path {
        ["std" | "core" | "alloc", inside @ ..] => inside,
        _ => path,
    };
    match inside {
        ["sync", name, ..] => SYNC.contains(name),
        ["thread", name, ..] => THREAD.contains(name),
        _ => false,
    }
}

/// A word, `::`, or any other character, with its line.
type Token<'a> = (usize, &'a str);

/// The tokens of one line of code.
fn tokens(line: usize, mut code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    while let Some(first) = code.chars().next() {
        let word = code.find(|c| !is_word(c)).unwrap_or(code.len());
        let length = match word {
            0 if code.starts_with("::") => 2,
            0 => first.len_utf8(),
            word => word,
        };
        if !first.is_whitespace() {
            tokens.push((line, &code[..length]));
        }
        code = &code[length..];
    }
    tokens
}

/// All paths in the code with the lines of their ends; the braces of a `use` give one path for each name.
fn paths<'a>(tokens: &[Token<'a>]) -> Vec<(usize, Vec<&'a str>)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = read_path(tokens, at, &mut Vec::new(), &mut paths);
    }
    paths
}

/// Reads the path at `at`, which goes on from `prefix`, and returns where it ends: at least one token on.
fn read_path<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &mut Vec<&'a str>,
    paths: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    let base = prefix.len();
    while let Some(&(line, token)) = tokens.get(at) {
        at += 1;
        if token == "{" && !prefix.is_empty() {
            while tokens.get(at).is_some_and(|&(_, token)| token != "}") {
                at = read_path(tokens, at, prefix, paths);
            }
            at += 1;
            break;
        }
        if !token.starts_with(is_word) && (token != "*" || prefix.is_empty()) {
            break;
        }
        prefix.push(token);
        if !matches!(tokens.get(at), Some((_, "::"))) {
            paths.push((line, prefix.clone()));
            break;
        }
        at += 1;
    }
    prefix.truncate(base);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        primitives(&Tree::of(&[(path, text)])).iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
    }

    fn named(text: &str) -> Vec<String> {
        let found = found("crates/train/src/a.rs", text);
        found.iter().map(|text| text.split(" is for").next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn every_way_to_name_a_primitive_is_found() {
        assert_eq!(named("//! A.\nuse std::sync::Mutex;"), ["2: `std::sync::Mutex`"]);
        assert_eq!(
            named("use std::{\n    sync::{Arc, atomic::{AtomicU8, Ordering}},\n    fmt,\n};"),
            ["2: `std::sync::atomic::AtomicU8`", "2: `std::sync::atomic::Ordering`"]
        );
        assert_eq!(named("let x: core::sync::atomic::AtomicBool;"), ["1: `core::sync::atomic::AtomicBool`"]);
        assert_eq!(named("use std::thread;\nfn a() { thread::spawn(|| {}); }"), ["2: `thread::spawn`"]);
        assert_eq!(named("std::thread::Builder::new();"), ["1: `std::thread::Builder::new`"]);
        assert_eq!(named("use std::sync::*;"), ["1: `std::sync::*`"]);
        assert_eq!(named("static A: std::sync::RwLock<Vec<u8>> = x;"), ["1: `std::sync::RwLock`"]);
        assert_eq!(named("let a = std::sync::Condvar::default ();"), ["1: `std::sync::Condvar::default`"]);
    }

    #[test]
    fn other_names_are_free() {
        assert_eq!(
            named(
                "use std::sync::{Arc, OnceLock, mpsc};\nuse selvedge_sync::{Barrier, thread::spawn};\n// std::sync::Mutex\n\
                 let s = \"std::sync::Mutex\"; let y = a * b; team.spawn(); std::thread::sleep(d);\n\
                 match x { Some(Mutex { a }) => {} }\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn the_crate_itself_and_tests_are_free() {
        let text = "use std::sync::Mutex;\n";
        for path in ["crates/sync/src/shim.rs", "crates/train/tests/it.rs", "xtask/src/a.rs"] {
            assert_eq!(found(path, text), [""; 0], "{path}");
        }
        assert_eq!(named(&format!("#[cfg(test)]\nmod tests {{\n{text}}}\n")), [""; 0]);
        assert_eq!(found("crates/syncopate/src/a.rs", text).len(), 1);
    }
}

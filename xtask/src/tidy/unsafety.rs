//! The rule of unsafe code: each use says close by who keeps its precondition.

use crate::tidy::source::words;
use crate::tidy::tree::{Finding, Tree};

/// How far above an unsafe block its comment may stand, in lines.
const ABOVE: usize = 6;

/// Unsafe blocks and implementations without a SAFETY comment.
pub(crate) fn unsafety(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.sources() {
        for (index, line) in source.code.iter().enumerate() {
            let next = source.code.get(index + 1).map_or("", |next| next.trim_start());
            let opens = words(line, "unsafe").any(|at| {
                let rest = line[at + "unsafe".len()..].trim_start();
                let rest = if rest.is_empty() { next } else { rest };
                rest.starts_with('{') || words(rest, "impl").next() == Some(0)
            });
            let near = &source.comments[index.saturating_sub(ABOVE)..=index];
            if opens && !near.iter().any(|comment| words(comment, "SAFETY").next().is_some()) {
                let message =
                    format!("no SAFETY comment within {ABOVE} lines above: who keeps the precondition?");
                findings.push(file.finding(index, "unsafe", message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        unsafety(&Tree::of(&[("a.rs", text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_without_a_comment_is_found() {
        assert_eq!(lines("//! A.\nlet x = unsafe { y() };\n"), [2]);
        assert_eq!(lines("unsafe impl Send for A {}\n"), [1]);
        assert_eq!(lines("unsafe\n{ y() }\n"), [1]);
        assert_eq!(lines("// SAFETY: far\n\n\n\n\n\n\nunsafe { y() }\n"), [8]);
        assert_eq!(lines("let s = \"SAFETY\"; unsafe { y() }\n"), [1]);
    }

    #[test]
    fn a_comment_close_by_is_enough() {
        assert_eq!(lines("// SAFETY: the caller.\nlet x =\n    unsafe { y() };\n"), [0; 0]);
        assert_eq!(lines("// SAFETY: near\n\n\n\n\n\nunsafe { y() }\n"), [0; 0]);
        // Declarations have a `# Safety` section instead, which clippy checks.
        assert_eq!(lines("unsafe fn a() {}\nunsafe extern \"C\" {}\n// unsafe { }\n"), [0; 0]);
    }
}

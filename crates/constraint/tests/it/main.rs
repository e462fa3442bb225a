//! Texts written token by token under grammars.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ahead;
mod hostile;
mod schemas;
mod support;
mod texts;

//! Constrained generation: which tokens may come next, so that a text is of a grammar.
//!
#![doc = include_str!("../README.md")]

mod ahead;
mod constraint;
mod error;
mod grammar;
mod limits;
mod mask;
mod vocabulary;

pub use ahead::Ahead;
pub use constraint::Constraint;
pub use error::{Error, Kind};
pub use grammar::Grammar;
pub use mask::Mask;
pub use vocabulary::Vocabulary;

//! See the crate README.

pub mod corpus;
mod error;
pub mod fs_atomic;
pub mod loader;
pub mod order;
pub mod pool;
pub mod tokens;

pub use error::Error;

//! See the crate README.

mod error;
pub mod fs_atomic;
pub mod loader;
pub mod order;
pub mod tokens;

pub use error::Error;

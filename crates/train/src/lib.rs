#![doc = include_str!("../README.md")]

pub mod chat_data;
pub mod checkpoint;
pub mod corpus;
mod error;
pub mod evaluate;
pub mod examples;
pub mod fs_atomic;
pub mod loader;
pub mod order;
pub mod pool;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod tokens;
pub mod trainer;
mod workers;

pub use error::Error;

#![doc = include_str!("../README.md")]

mod buffer;
mod context;
mod gather;
mod half_matrix;
mod hints;
mod isa;
mod math;
mod real;
#[cfg(test)]
mod testing;
mod tile;

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gelu;
pub mod global_norm;
pub mod headnorm;
pub mod layernorm;
pub mod linear;
pub mod matmul;
pub mod quantized;
mod reduce;
pub mod rmsnorm;
pub mod rope;
mod rows;
pub mod swiglu;

pub use buffer::Buffer;
pub use context::{Context, Precision};
pub use gather::{Gather, gather};
pub use half_matrix::{HalfMatrix, HalfType};
pub use isa::{Isa, IsaError, Kind as IsaKind};
pub use matmul::{Init, Operand, Packed, product};
pub use quantized::Quantized;
pub use real::Real;

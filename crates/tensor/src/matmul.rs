//! Matrix products: packed panels, register tiles, and one order of summation.
//!
//! Every output element is one chain of fused multiply-adds over k = 0, 1, 2, …, starting from 0, from
//! a bias, or from what the output holds ([`Init`]). Blocking over k stores the chain to memory and
//! loads it back, which changes no bit; tiles, threads, instruction sets and the number of rows only
//! choose *where* a chain is computed. So the product of one row equals that row of the product of many.

#[cfg(test)]
mod edges;
mod kernel;
mod pack;
mod pairs;
mod panel;
mod plan;
mod product;
mod row;
mod turn;

pub use pack::Packed;
pub use product::{Init, Operand, product};

pub(crate) use kernel::{COLS, Kernel, ROWS};
pub(crate) use panel::{Full, Panel, block, left, left_room, right, right_room};
pub(crate) use product::{Epilogue, Late, Reading, product_then};

//! Matrix products: packed panels, register tiles, and one order of summation.
//!
//! Every output element is one chain of fused multiply-adds over k = 0, 1, 2, …, starting from 0, from
//! a bias, or from what the output holds ([`Init`]). Blocking over k stores the chain to memory and
//! loads it back, which changes no bit; tiles, threads, instruction sets and the number of rows only
//! choose *where* a chain is computed. So the product of one row equals that row of the product of many.

pub(crate) mod kernel;
pub(crate) mod pack;
mod product;

pub use pack::Packed;
pub use product::{Init, Operand, product};
pub(crate) use product::{block_product, block_scratch};

pub(crate) use kernel::{TileShape, tile_chain};

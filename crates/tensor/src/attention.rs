//! Causal multi-head and grouped-query attention without a T×T matrix (after Dao et al. 2022).
//!
//! Keys are folded in blocks of [`BLOCK`] aligned to absolute positions, so a row's arithmetic depends on
//! its own position alone: the same bits come out whether it is computed among a whole sequence, among a
//! chunk of a prompt, or alone from a cache.

mod backward;
mod cache;
mod forward;
mod heads;
mod narrow;
mod segments;

pub use backward::backward;
pub use cache::{CacheType, KvCache};
pub use forward::forward;
pub use segments::{Segment, forward_cached};

/// Keys folded at a time.
pub const BLOCK: usize = 64;

/// The dimensions of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sequences, B.
    pub batch: usize,
    /// Rows a sequence, T.
    pub time: usize,
    /// Query heads, H.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements a head, D.
    pub head_size: usize,
}

impl Shape {
    /// Columns of queries, H·D.
    pub fn query_cols(&self) -> usize {
        self.heads * self.head_size
    }

    /// Columns of keys (and of values), HKV·D.
    pub fn kv_cols(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Columns of queries, keys and values side by side.
    pub fn qkv_cols(&self) -> usize {
        self.query_cols() + 2 * self.kv_cols()
    }

    /// Query heads that share one key head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// What scores are multiplied by, 1/√D.
    fn scale(&self) -> f64 {
        1.0 / (self.head_size as f64).sqrt()
    }

    #[track_caller]
    fn check(&self) {
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{} query heads do not share {} key heads evenly",
            self.heads,
            self.kv_heads
        );
    }
}

//! One head of one sequence in a cache, which a task stores into and then reads.

use selvedge_sync::Parts;

use super::cache::{Blocks, KeysValues, Values, put_keys, put_values};
use crate::matmul::Panel;
use crate::tile::Strided;
use crate::{Isa, Real};

/// Exclusive access to the blocks of a head, however they are kept.
pub(super) trait Head<T: Real, P: Panel<T>> {
    /// The same to read, as the first head of the first sequence.
    type Read<'a>: Blocks<T, P>
    where
        Self: 'a;

    /// Stores keys and values (T, D), rows of adjacent elements, from position `first` on.
    fn put(&mut self, isa: Isa, k: Strided<'_, T>, v: Strided<'_, T>, first: usize);

    /// What is stored.
    fn read(&self) -> Self::Read<'_>;
}

/// Something that is done with the heads of a cache.
pub(super) trait OverHeads<T: Real> {
    /// Does it with heads that fall into `heads`, each of which `head` makes one of.
    fn run<P: Panel<T>, H: Parts, W: Head<T, P>>(self, heads: H, head: impl Fn(H::Part) -> W + Sync);
}

/// The blocks of a head as products read them.
#[derive(Debug)]
pub(super) struct WideHead<'a, E> {
    pub(super) keys: &'a mut [E],
    pub(super) values: &'a mut [E],
    pub(super) blocks: usize,
}

impl<T: Real, P: Panel<T>> Head<T, P> for WideHead<'_, P::Element> {
    type Read<'a>
        = KeysValues<'a, P::Element>
    where
        Self: 'a;

    fn put(&mut self, isa: Isa, k: Strided<'_, T>, v: Strided<'_, T>, first: usize) {
        put_keys::<T, P>(isa, k, first, self.keys);
        put_values::<T, P>(isa, v, first, self.values);
    }

    fn read(&self) -> Self::Read<'_> {
        KeysValues { keys: self.keys, blocks: self.blocks, values: Values::Packed(self.values) }
    }
}

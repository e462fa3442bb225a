//! Sums over shards in a fixed tree, the same bits whatever the number of threads.

use crate::error::ReduceError;
use crate::parts::columns;
use crate::team::Team;

/// Elements of a shard summed at a time: two shards' chunks fit in a first-level cache.
#[cfg(not(any(loom, shuttle)))]
const CHUNK: usize = 2048;
#[cfg(any(loom, shuttle))]
const CHUNK: usize = 1;

/// Sums all shards, element by element, into the first; the others are left with partial sums.
///
/// The tree is fixed by the number of shards: shard `i` takes in shard `i + 1` for every even `i`, then `i + 2` for
/// every `i` divisible by four, and so on. Threads divide the elements among them, never the tree, so the bits of the
/// sum do not depend on the team.
///
/// # Panics
///
/// When shards differ in length, and as [`Team::parallel`].
#[track_caller]
pub fn tree_reduce(team: &Team, shards: &mut [&mut [f32]]) {
    try_tree_reduce(team, shards).unwrap_or_else(|error| panic!("{error}"));
}

#[track_caller]
fn try_tree_reduce(team: &Team, shards: &mut [&mut [f32]]) -> Result<(), crate::RegionError> {
    let parts = columns(shards, CHUNK);
    team.try_parallel_parts(&parts, |_, mut column| {
        let count = column.count();
        let mut stride = 1;
        while stride < count {
            for into in (0..count - stride).step_by(2 * stride) {
                let (sum, term) = column.pair(into, into + stride);
                for (sum, term) in sum.iter_mut().zip(term) {
                    *sum += *term;
                }
            }
            stride *= 2;
        }
    })
}

/// The gradients of one step, one of each shard, on their way to being summed.
///
/// ```
/// use selvedge_sync::{ReduceError, Reduction, Team};
///
/// let (mut a, mut b) = ([1.0, 2.0], [10.0, 20.0]);
/// let mut reduction = Reduction::new(7, 2);
/// reduction.contribute(7, 1, &mut b)?;
/// reduction.contribute(7, 0, &mut a)?;
/// assert_eq!(reduction.finish(&Team::solo())?, [11.0, 22.0]);
/// # Ok::<(), ReduceError>(())
/// ```
#[derive(Debug)]
pub struct Reduction<'a> {
    step: u64,
    shards: Vec<Option<&'a mut [f32]>>,
    len: Option<usize>,
}

impl<'a> Reduction<'a> {
    /// A reduction of `shards` gradients of `step`.
    pub fn new(step: u64, shards: usize) -> Self {
        Self { step, shards: (0..shards).map(|_| None).collect(), len: None }
    }

    /// Brings the gradient of `shard`, in any order of shards.
    ///
    /// # Errors
    ///
    /// [`ReduceError`] when it is of another step or length, when there is no such shard, and when the shard has
    /// brought one before; the reduction is as it was then.
    pub fn contribute(
        &mut self,
        step: u64,
        shard: usize,
        gradient: &'a mut [f32],
    ) -> Result<(), ReduceError> {
        let shards = self.shards.len();
        if step != self.step {
            return Err(ReduceError::WrongStep { shard, expected: self.step, got: step });
        }
        let slot = self.shards.get_mut(shard).ok_or(ReduceError::UnknownShard { shard, shards })?;
        if slot.is_some() {
            return Err(ReduceError::Doubled { shard });
        }
        let (expected, got) = (*self.len.get_or_insert(gradient.len()), gradient.len());
        if got != expected {
            return Err(ReduceError::WrongLength { shard, expected, got });
        }
        *slot = Some(gradient);
        Ok(())
    }

    /// The sum, in the gradient of shard 0, by [`tree_reduce`]. Of no shards the sum is empty.
    ///
    /// # Errors
    ///
    /// [`ReduceError::Missing`] naming the shards that brought nothing, [`ReduceError::Region`] when the team cannot
    /// be used in this process.
    #[track_caller]
    pub fn finish(self, team: &Team) -> Result<&'a mut [f32], ReduceError> {
        let missing: Vec<usize> = self
            .shards
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.is_none())
            .map(|(shard, _)| shard)
            .collect();
        if !missing.is_empty() {
            return Err(ReduceError::Missing { step: self.step, shards: missing });
        }
        let mut shards: Vec<&'a mut [f32]> = self.shards.into_iter().flatten().collect();
        try_tree_reduce(team, &mut shards).map_err(ReduceError::Region)?;
        Ok(shards.into_iter().next().unwrap_or_default())
    }
}

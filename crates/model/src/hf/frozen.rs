//! A folder as a frozen base: weights of 16 bits stay so.

use selvedge_tensor::{HalfMatrix, HalfType};

use super::names::Part as Tensor;
use super::{Dtype, Folder};
use crate::held::{Held, Numbers, Part, Weights, can_be_parts};
use crate::layout::Slot;

/// Tensors of one type, and in which file each is.
type Group<'f> = (HalfType, &'f [(Tensor, usize)]);

impl Folder {
    /// All weights for a frozen base of a fine-tuning. Where all tensors of a matrix are of 16 bits they stay so; others are
    /// f32, as are vectors and GPT-2's rows of positions.
    pub fn frozen(&self) -> Weights<'static, f32> {
        Weights::of(self.layout.slots().iter().map(|slot| self.hold_frozen(slot)))
    }

    /// Bytes that [`Folder::frozen`] will hold.
    pub fn frozen_bytes(&self) -> usize {
        let bytes = |slot: &Slot| {
            let element = if self.groups(slot).is_some() { size_of::<u16>() } else { size_of::<f32>() };
            element * slot.span.len()
        };
        self.layout.slots().iter().map(bytes).sum()
    }

    fn hold_frozen(&self, slot: &Slot) -> Held<'static, f32> {
        let Some(groups) = self.groups(slot) else {
            let mut numbers = vec![0.0; slot.span.len()];
            self.read(slot, &mut numbers);
            return Held { parts: Vec::new(), numbers: Some(Numbers::Own(numbers)) };
        };
        let half = |(of, tensors): Group<'_>| {
            let elements = tensors.iter().map(|(tensor, _)| tensor.range.len());
            let mut bits = Vec::with_capacity(elements.sum());
            for (tensor, shard) in tensors {
                let (first, columns) = (bits.len(), tensor.transposed.then(|| tensor.shape[0]));
                bits.resize(first + tensor.range.len(), 0);
                let bytes = self.shards[*shard].bytes(self.tensor(tensor, *shard).0);
                Dtype::bits(&mut bits[first..], bytes, columns);
            }
            Part::Half(HalfMatrix::from_bits(of, slot.span.cols, bits))
        };
        Held { parts: groups.into_iter().map(half).collect(), numbers: None }
    }

    /// Tensors one after another that are of one type of 16 bits; `None` if some are not of 16.
    fn groups(&self, slot: &Slot) -> Option<Vec<Group<'_>>> {
        let of = |(tensor, shard): &(Tensor, usize)| self.tensor(tensor, *shard).1.half();
        let groups = self.of(slot).chunk_by(|a, b| of(a) == of(b));
        groups
            .map(|group| Some((of(&group[0])?, group)))
            .collect::<Option<_>>()
            .filter(|_| can_be_parts(slot))
    }
}

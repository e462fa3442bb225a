//! A GGUF file as a frozen base: weights that are quantized or of 16 bits stay so.

use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, HalfMatrix, HalfType, Quantized};

use super::{Found, Model};
use crate::gguf::{Error, Type};
use crate::held::{Held, Numbers, Part, Weights, can_be_parts};
use crate::layout::Slot;

/// How a tensor is kept as it is.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Quantized(Form),
    Half(HalfType),
}

impl Model {
    /// All weights for a frozen base of a fine-tuning. Where all tensors of a matrix are quantized or of 16 bits they stay so,
    /// with the bits of the file; others are f32, as are vectors and GPT-2's rows of positions.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn frozen(&self, cx: &Context) -> Result<Weights<'static, f32>, Error> {
        let slots = self.layout.slots().iter().zip(&self.found);
        Weights::new(slots.map(|(slot, found)| self.hold_frozen(cx, slot, found)))
    }

    /// Bytes that [`Model::frozen`] will hold.
    #[must_use]
    pub fn frozen_bytes(&self) -> usize {
        let slots = self.layout.slots().iter().zip(&self.found);
        let bytes = slots.map(|(slot, found)| match self.groups(slot, found) {
            Some(groups) => groups.iter().map(|(kept, group)| kept.bytes(group)).sum(),
            None => size_of::<f32>() * slot.span.len(),
        });
        bytes.sum()
    }

    fn hold_frozen(&self, cx: &Context, slot: &Slot, found: &[Found]) -> Result<Held<'static, f32>, Error> {
        let Some(groups) = self.groups(slot, found) else {
            return Ok(Held { parts: Vec::new(), numbers: Some(Numbers::Own(self.all(found)?)) });
        };
        let parts = groups.into_iter().map(|(kept, group)| {
            Ok(match kept {
                Kept::Quantized(_) => Part::Quantized(self.quantized(cx, group)?),
                Kept::Half(of) => Part::Half(self.half(of, group)?),
            })
        });
        Ok(Held { parts: parts.collect::<Result<_, Error>>()?, numbers: None })
    }

    /// Tensors one after another that are kept in one way; `None` if some are not kept as they are.
    fn groups<'f>(&self, slot: &Slot, found: &'f [Found]) -> Option<Vec<(Kept, &'f [Found])>> {
        let groups = found.chunk_by(|a, b| self.kept(a) == self.kept(b));
        let groups = groups.map(|group| Some((self.kept(&group[0])?, group)));
        groups.collect::<Option<_>>().filter(|_| can_be_parts(slot))
    }

    fn kept(&self, found: &Found) -> Option<Kept> {
        match self.tensor(found).element_type() {
            Type::F16 => Some(Kept::Half(HalfType::F16)),
            Type::BF16 => Some(Kept::Half(HalfType::Bf16)),
            _ => self.form(found).map(Kept::Quantized),
        }
    }

    /// Tensors of 16 bits as one weight, rows after rows.
    fn half(&self, of: HalfType, found: &[Found]) -> Result<HalfMatrix, Error> {
        let (rows, columns) = (rows(found), found[0].source.columns);
        let mut bits = Vec::with_capacity(rows * columns);
        for row in self.rows(found)? {
            bits.extend(row.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two)));
        }
        Ok(HalfMatrix::from_bits(of, columns, bits))
    }
}

impl Kept {
    fn bytes(self, found: &[Found]) -> usize {
        let (rows, columns) = (rows(found), found[0].source.columns);
        match self {
            Kept::Quantized(form) => Quantized::bytes_of(form, (rows, columns)),
            Kept::Half(_) => rows * columns * size_of::<u16>(),
        }
    }
}

fn rows(found: &[Found]) -> usize {
    found.iter().map(|found| found.source.rows).sum()
}

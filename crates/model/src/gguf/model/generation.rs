//! A GGUF file as weights for generation: what is quantized stays so, and the rest is packed.

use ndarray::ArrayView2;
use selvedge_tensor::{Context, Packed, Precision, Quantized};

use super::{Found, Model};
use crate::gguf::Error;
use crate::held::{Held, Part, Storage, Weights, can_be_parts, is_table};
use crate::layout::Slot;

impl Model {
    /// All weights for generation. Those that are quantized stay so, with the bits of the file; others are packed in the
    /// precision of the context.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn weights(&self, cx: &mut Context) -> Result<Weights<'static, f32>, Error> {
        let slots = self.layout.slots().iter().zip(&self.found);
        Weights::new(slots.map(|(slot, found)| self.hold(cx, slot, found)))
    }

    /// Bytes that [`Model::weights`] will hold, at most, for a context of the precision.
    #[must_use]
    pub fn weights_bytes(&self, precision: Precision) -> usize {
        let slots = self.layout.slots().iter().zip(&self.found);
        let bytes = slots.map(|(slot, found)| {
            if !self.is_by_groups(slot, found) {
                return Held::<f32>::bytes_of(precision, slot, self.config.tied, Storage::Packed);
            }
            let bytes = |group: &[Found]| {
                let rows = group.iter().map(|found| found.source.rows).sum();
                match self.form(&group[0]) {
                    Some(form) => Quantized::bytes_of(form, (rows, slot.span.cols)),
                    None => Packed::<f32>::bytes_of(precision, (slot.span.cols, rows)),
                }
            };
            self.by_form(found).map(bytes).sum()
        });
        bytes.sum()
    }

    fn hold(&self, cx: &mut Context, slot: &Slot, found: &[Found]) -> Result<Held<'static, f32>, Error> {
        if !self.is_by_groups(slot, found) {
            return Ok(Held::of(cx, slot, self.config.tied, Storage::Packed, self.all(found)?));
        }
        let part = |group: &[Found]| {
            Ok(match self.form(&group[0]) {
                Some(_) => Part::Quantized(self.quantized(cx, group)?),
                None => {
                    let numbers = self.all(group)?;
                    let weight =
                        ArrayView2::from_shape((numbers.len() / slot.span.cols, slot.span.cols), &numbers);
                    Part::new(cx, weight.expect("whole rows"), Storage::Packed)
                }
            })
        };
        Ok(Held { parts: self.by_form(found).map(part).collect::<Result<_, Error>>()?, numbers: None })
    }

    /// Whether tensors of a weight are parts of it, each group as it is. Tokens are looked up in quantized weights as well.
    fn is_by_groups(&self, slot: &Slot, found: &[Found]) -> bool {
        can_be_parts(slot) && (!is_table(slot) || self.form(&found[0]).is_some())
    }

    /// Tensors one after another that are quantized in one way, or not at all.
    fn by_form<'f>(&self, found: &'f [Found]) -> impl Iterator<Item = &'f [Found]> {
        found.chunk_by(|a, b| self.form(a) == self.form(b))
    }
}

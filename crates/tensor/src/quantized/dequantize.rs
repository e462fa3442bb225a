//! What the codes of consecutive outputs stand for, as numbers.

use selvedge_sync::chunks;

use super::block::weight;
use super::layout::{self, GROUPS, Line};
use super::{BLOCK, COLS, Form, GROUP, Quantized};
use crate::isa::dispatch;
use crate::{Context, Real};

impl Quantized {
    /// Writes the weights of outputs `first..` to `to`, K a row, as many rows as it has: the values of [`Quantized::row`].
    ///
    /// # Panics
    /// If `first` is not a multiple of 32, `to` is no whole number of rows, or there are not as many.
    #[track_caller]
    pub fn dequantize<T: Real>(&self, cx: &mut Context<T>, first: usize, to: &mut [T]) {
        let k = self.inputs;
        assert!(first.is_multiple_of(COLS) && to.len().is_multiple_of(k.max(1)), "whole panels and rows");
        assert!(first + to.len() / k.max(1) <= self.outputs, "rows from {first} of {}", self.outputs);
        let isa = cx.isa();
        cx.for_each(chunks(to, (COLS * k).max(1)), |index, to| {
            panel(isa, self.form, self.panel(first / COLS + index), k, to);
        });
    }
}

dispatch! {
    /// The rows of a panel.
    fn panel<T>(form: Form, lines: &[Line], k: usize, to: &mut [T]) = panel_body;
}

#[inline(always)]
fn panel_body<T: Real>(form: Form, lines: &[Line], k: usize, to: &mut [T]) {
    const HALF: usize = COLS / 2;
    for b in 0..k.div_ceil(BLOCK) {
        let block = layout::block(form, lines, b);
        let mut scales = [[0.0; COLS]; 2];
        for (part, scales) in scales[..form.parts()].iter_mut().enumerate() {
            for (col, scale) in scales.iter_mut().enumerate() {
                *scale = layout::scale(form, block, part, col);
            }
        }
        let mut leasts = [0.0; COLS];
        if form.has_least() {
            for (col, least) in leasts.iter_mut().enumerate() {
                *least = layout::least(form, block, col);
            }
        }
        for group in 0..GROUPS {
            let first = b * BLOCK + group * GROUP;
            let scales = &scales[group * form.parts() / GROUPS];
            for half in 0..2 {
                let codes = layout::codes(form, block.1, group, half);
                let rows = to.chunks_mut(k).zip(0..COLS).skip(half * HALF);
                for ((row, col), codes) in rows.zip(codes.chunks_exact(GROUP)) {
                    let row = row.get_mut(first..).unwrap_or_default();
                    for (to, &code) in row.iter_mut().zip(codes) {
                        *to = T::from_f64(f64::from(weight(form, scales[col], leasts[col], code)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::Team;

    use super::*;
    use crate::Isa;
    use crate::testing::random;

    #[test]
    fn rows_of_any_part_are_those_of_the_codes() {
        for form in Form::ALL {
            for (n, k) in [(70, 300), (32, 32), (5, 7)] {
                let weights = Quantized::of(&Context::<f32>::solo(), form, random::<f32>(3, (n, k)).view());
                for isa in Isa::available() {
                    let cx = &mut Context::<f32>::new(Team::new(2).unwrap(), isa);
                    for first in (0..n).step_by(COLS) {
                        let mut rows = vec![f32::NAN; (n - first).min(40) * k];
                        weights.dequantize(cx, first, &mut rows);
                        for (at, row) in rows.chunks(k).enumerate() {
                            assert!(row.iter().copied().eq(weights.row(first + at)), "{form:?} {first} {at}");
                        }
                    }
                }
            }
        }
    }
}

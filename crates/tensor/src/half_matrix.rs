//! Matrices of 16 bits an element, for what is only read: rows of them are turned into numbers, which is exact.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use selvedge_sync::chunks;

use crate::{Context, Real};

/// What the 16 bits of an element are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfType {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// A matrix (N, K) of 16 bits an element, row-major.
#[derive(Clone, Debug)]
pub struct HalfMatrix {
    elements: Elements,
    rows: usize,
    columns: usize,
}

#[derive(Clone, Debug)]
enum Elements {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl HalfMatrix {
    /// Rows of `columns` elements out of their bits.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn from_bits(of: HalfType, columns: usize, bits: Vec<u16>) -> Self {
        let rows = bits.len() / columns.max(1);
        assert_eq!(bits.len(), rows * columns, "whole rows of {columns}");
        let elements = match of {
            HalfType::F16 => Elements::F16(bits.into_iter().map(f16::from_bits).collect()),
            HalfType::Bf16 => Elements::Bf16(bits.into_iter().map(bf16::from_bits).collect()),
        };
        HalfMatrix { elements, rows, columns }
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.rows * self.columns * size_of::<u16>()
    }

    /// Writes rows `first..` to `to`, as many as it has.
    ///
    /// # Panics
    /// If `to` is no whole number of rows, or there are not as many.
    #[track_caller]
    pub fn decode<T: Real>(&self, cx: &mut Context<T>, first: usize, to: &mut [T]) {
        /// Elements a task takes at the least.
        const WORK: usize = 1 << 14;
        let k = self.columns.max(1);
        let rows = to.len() / k;
        assert!(to.len() == rows * k && first + rows <= self.rows, "rows from {first} of {}", self.rows);
        let at_once = WORK.div_ceil(k);
        cx.for_each(chunks(to, at_once * k), |index, to| self.widen((first + index * at_once) * k, to));
    }

    /// Writes a row to `to`.
    ///
    /// # Panics
    /// If there is no such row, or `to` has another length.
    #[track_caller]
    pub(crate) fn decode_row<T: Real>(&self, row: usize, to: &mut [T]) {
        assert!(to.len() == self.columns && row < self.rows, "row {row} of {}", self.rows);
        self.widen(row * self.columns, to);
    }

    /// The numbers of the elements from `at` on.
    fn widen<T: Real>(&self, at: usize, to: &mut [T]) {
        let mut numbers = [0.0; 256];
        let mut at = at;
        for to in to.chunks_mut(numbers.len()) {
            let (numbers, end) = (&mut numbers[..to.len()], at + to.len());
            match &self.elements {
                Elements::F16(elements) => elements[at..end].convert_to_f32_slice(numbers),
                Elements::Bf16(elements) => elements[at..end].convert_to_f32_slice(numbers),
            }
            to.iter_mut().zip(numbers).for_each(|(to, x)| *to = T::from_f64(f64::from(*x)));
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::Team;

    use super::*;
    use crate::Isa;

    #[test]
    fn all_numbers_of_16_bits_are_turned_exactly_in_any_part_by_any_number_of_threads() {
        for (of, number) in [
            (HalfType::F16, (|bits| f16::from_bits(bits).to_f32()) as fn(u16) -> f32),
            (HalfType::Bf16, |bits| f32::from_bits(u32::from(bits) << 16)),
        ] {
            let columns = 257;
            let matrix = HalfMatrix::from_bits(of, columns, (0..=u16::MAX).take(255 * columns).collect());
            assert_eq!((matrix.rows(), matrix.bytes()), (255, 2 * 255 * columns));
            for (threads, first, rows) in [(1, 0, 255), (3, 0, 255), (2, 31, 200), (1, 255, 0)] {
                let cx = &mut Context::<f32>::new(Team::new(threads).unwrap(), Isa::detect());
                let mut got = vec![f32::NAN; rows * columns];
                matrix.decode(cx, first, &mut got);
                for (at, got) in got.into_iter().enumerate() {
                    let want = number(u16::try_from(first * columns + at).unwrap());
                    assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{of:?} {at}");
                }
            }
            let mut row = vec![0.0_f64; columns];
            matrix.decode_row(7, &mut row);
            assert!(row.iter().zip(7 * 257..).all(|(&x, bits)| x == f64::from(number(bits))));
        }
    }
}

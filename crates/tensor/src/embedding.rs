//! Embedding: row n of the output is the table's row of token n; a second table may be added by position.
//!
//! The gradient of a table is added row after row in the order of the tokens; a task owns columns, so
//! that repeated tokens need neither locks nor atomics.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::linear::add;
use crate::reduce::COLUMNS;
use crate::tile::Grid;
use crate::{Context, HalfMatrix, Packed, Quantized, Real};

/// Rows a task of the forward takes.
const ROWS: usize = 64;

/// out (N, C) = table (V, C) rows picked by `tokens` (N).
///
/// # Panics
/// If a token is not below V, or shapes differ.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    tokens: &[u32],
    table: ArrayView2<'_, T>,
) {
    let (dim, c) = (table.dim(), table.ncols());
    let table = table.to_slice().expect("contiguous table");
    pick(cx, out, tokens, dim, |token, row| row.copy_from_slice(&table[token * c..][..c]));
}

/// The same out of a table of quantized weights: what their codes stand for.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn forward_quantized<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    tokens: &[u32],
    table: &Quantized,
) {
    pick(cx, out, tokens, (table.outputs(), table.inputs()), |token, row| {
        row.iter_mut().zip(table.row(token)).for_each(|(to, from)| *to = T::from_f64(f64::from(from)));
    });
}

/// The same out of a table of 16 bits an element.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn forward_half<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    tokens: &[u32],
    table: &HalfMatrix,
) {
    let dim = (table.rows(), table.columns());
    pick(cx, out, tokens, dim, |token, row| table.decode_row(token, row));
}

/// The same out of a table that was packed, transposed, as the right operand of products: what those read.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn forward_packed<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    tokens: &[u32],
    table: &Packed<T>,
) {
    let dim = (table.cols(), table.rows());
    pick(cx, out, tokens, dim, |token, row| table.column(token, row));
}

/// Fills each row of `out` with that of its token, out of a table of the dimensions.
#[track_caller]
fn pick<T: Real>(
    cx: &mut Context<T>,
    mut out: ArrayViewMut2<'_, T>,
    tokens: &[u32],
    (v, width): (usize, usize),
    fill: impl Fn(usize, &mut [T]) + Sync,
) {
    let (n, c) = out.dim();
    assert!(n == tokens.len() && c == width, "{} tokens of ({v}, {width}) into ({n}, {c})", tokens.len());
    let out = out.as_slice_mut().expect("contiguous out");
    cx.for_each(selvedge_sync::chunks(out, ROWS * c), |index, out| {
        for (row, &token) in out.chunks_mut(c).zip(&tokens[index * ROWS..]) {
            assert!((token as usize) < v, "token {token} of a vocabulary of {v}");
            fill(token as usize, row);
        }
    });
}

/// out (N, C) += table (V, C) rows picked by `ids` (N): positions on top of tokens.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn forward_add<T: Real>(
    cx: &mut Context<T>,
    mut out: ArrayViewMut2<'_, T>,
    ids: &[u32],
    table: ArrayView2<'_, T>,
) {
    let (n, c) = out.dim();
    assert!(n == ids.len() && c == table.ncols(), "{} ids of {:?} into ({n}, {c})", ids.len(), table.dim());
    let table = table.to_slice().expect("contiguous table");
    let out = out.as_slice_mut().expect("contiguous out");
    let isa = cx.isa();
    cx.for_each(selvedge_sync::chunks(out, ROWS * c), |index, out| {
        for (row, &id) in out.chunks_mut(c).zip(&ids[index * ROWS..]) {
            add(isa, row, &table[id as usize * c..][..c]);
        }
    });
}

/// dtable (V, C) += rows of dout (N, C), each to its token's row.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    dtable: ArrayViewMut2<'_, T>,
    dout: ArrayView2<'_, T>,
    tokens: &[u32],
) {
    let (n, c) = dout.dim();
    assert!(
        n == tokens.len() && c == dtable.ncols(),
        "{} tokens of ({n}, {c}) into {:?}",
        tokens.len(),
        dtable.dim()
    );
    let dout = dout.to_slice().expect("contiguous dout");
    let isa = cx.isa();
    let vocabulary = dtable.nrows();
    cx.for_each(Grid::new(dtable, vocabulary.max(1), COLUMNS), |index, mut columns| {
        let (first, width) = (index * COLUMNS, columns.cols());
        for (row, &token) in tokens.iter().enumerate() {
            add(isa, columns.row_mut(token as usize), &dout[row * c + first..][..width]);
        }
    });
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::Precision;
    use crate::testing::{check_gradient, dot, random};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences(
            tokens in prop::collection::vec(0u32..7, 1..12), c in 1usize..80, seed in any::<u64>(),
        ) {
            let table = random(seed, (7, c));
            let dout = random(seed ^ 1, (tokens.len(), c));
            let mut dtable = Array2::zeros((7, c));
            backward(&mut Context::solo(), dtable.view_mut(), dout.view(), &tokens);
            check_gradient("table", &table, dtable.view(), |table| {
                let mut out = Array2::zeros((tokens.len(), c));
                forward(&mut Context::solo(), out.view_mut(), &tokens, table.view());
                dot(&out, &dout)
            });
        }
    }

    #[test]
    fn rows_of_a_packed_table_are_those_that_its_products_read() {
        let (table, tokens) = (random::<f32>(1, (70, 33)), [69, 0, 31, 32, 5, 5]);
        let kept = table.mapv(|x| f32::from_bits(x.to_bits() & 0xffff_0000));
        for (precision, table) in [(Precision::F32, &table), (Precision::Bf16, &kept)] {
            let cx = &mut Context::solo().with_precision(precision);
            assert!(precision.keeps(table.as_slice().unwrap()));
            let packed = Packed::new(cx, table.t());
            assert_eq!(packed.bytes(), Packed::<f32>::bytes_of(precision, (33, 70)));
            let (mut want, mut got) = (Array2::zeros((6, 33)), Array2::zeros((6, 33)));
            forward(cx, want.view_mut(), &tokens, table.view());
            forward_packed(cx, got.view_mut(), &tokens, &packed);
            assert_eq!(got, want, "{precision:?}");
        }
        assert!(!Precision::Bf16.keeps(table.as_slice().unwrap()));
        assert!(!Precision::Bf16.keeps(&[f32::from_bits(1 << 16)]), "a subnormal number becomes 0");
    }

    #[test]
    #[should_panic(expected = "token 9 of a vocabulary of 7")]
    fn a_token_outside_the_vocabulary_is_named() {
        let table = random::<f32>(1, (7, 4));
        forward(&mut Context::solo(), random(2, (1, 4)).view_mut(), &[9], table.view());
    }
}

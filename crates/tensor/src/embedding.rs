//! Embedding: row n of the output is the table's row of token n; a second table may be added by position.
//!
//! The gradient of a table is added row after row in the order of the tokens; a task owns columns, so
//! that repeated tokens need neither locks nor atomics.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::linear::add;
use crate::reduce::COLUMNS;
use crate::tile::Grid;
use crate::{Context, Quantized, Real};

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
    #[should_panic(expected = "token 9 of a vocabulary of 7")]
    fn a_token_outside_the_vocabulary_is_named() {
        let table = random::<f32>(1, (7, 4));
        forward(&mut Context::solo(), random(2, (1, 4)).view_mut(), &[9], table.view());
    }
}

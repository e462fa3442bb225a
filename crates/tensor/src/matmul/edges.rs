//! Tests of register tiles of all shapes under every instruction set, and of pairs near the subnormal numbers.

use ndarray::{Array2, ArrayView2, s};
use selvedge_sync::Team;

use super::kernel::{COLS, ROWS};
use super::pairs::chain_of_pairs;
use super::panel::{Full, block};
use crate::testing::random;
use crate::tile::{Panels, Tile};
use crate::{Context, Init, Isa, Operand, Packed, Precision, product};

/// What `fill` writes into the middle of a larger matrix; the rest of it must stay.
fn inside(old: &Array2<f32>, fill: impl FnOnce(&mut Array2<f32>)) -> Array2<f32> {
    let mut whole = old.clone();
    fill(&mut whole);
    whole
}

/// One chain an element, by the definition of a step of the whole chain.
fn chains(
    init: Init<'_, f32>,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    old: ArrayView2<'_, f32>,
    chain: impl Fn(f32, &[f32], &[f32]) -> f32,
) -> Array2<f32> {
    let (a, b) = (a.as_standard_layout(), b.t().as_standard_layout().into_owned());
    Array2::from_shape_fn(old.dim(), |(i, j)| {
        let start = match init {
            Init::Zero => 0.0,
            Init::Bias(bias) => bias[j],
            Init::Accumulate => old[[i, j]],
        };
        chain(start, &a.row(i).to_vec(), &b.row(j).to_vec())
    })
}

fn bits(matrix: &Array2<f32>) -> Vec<u32> {
    matrix.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_shape_of_a_register_tile_gives_the_bits_of_the_chain_and_touches_nothing_else() {
    let k = 5;
    // Rows of A two apart and every third column; B and C are windows of wider matrices.
    let (a_rows, a_cols) = (random::<f32>(1, (2 * ROWS + 2, 3 * k)), random::<f32>(2, (3 * k, 2 * ROWS + 2)));
    let (wide, bias) = (random::<f32>(3, (k, COLS + 9)), random::<f32>(4, (1, COLS + 9)));
    let old = random::<f32>(5, (ROWS + 3, COLS + 9));
    for (m, n) in (1..=ROWS + 1).flat_map(|m| (1..=COLS + 1).map(move |n| (m, n))) {
        let b = wide.slice(s![.., 3..3 + n]);
        let lefts = [
            a_rows.slice(s![..2 * m;2, ..;3]),
            a_rows.slice(s![1..1 + m, 2..2 + k]),
            a_cols.t().slice_move(s![..2 * m;2, ..;3]),
            a_cols.t().slice_move(s![..m, 1..1 + k]),
        ];
        let inits = [Init::Zero, Init::Bias(&bias.as_slice().unwrap()[..n]), Init::Accumulate];
        for (left, init) in lefts.into_iter().flat_map(|left| inits.map(|init| (left, init))) {
            let place = s![1..1 + m, 4..4 + n];
            let want = chains(init, left, b, old.slice(place), |start, a, b| {
                a.iter().zip(b).fold(start, |sum, (a, b)| a.mul_add(*b, sum))
            });
            let want = inside(&old, |c| c.slice_mut(place).assign(&want));
            for isa in Isa::available() {
                let got = inside(&old, |c| {
                    block::<_, Full>(
                        isa,
                        init,
                        left.into(),
                        Panels::lying(b.into()),
                        &mut Tile::new(c.slice_mut(place)),
                    );
                });
                assert_eq!(
                    bits(&got),
                    bits(&want),
                    "{isa}: {m}x{n}, {init:?}, A's steps {:?}",
                    left.strides()
                );
            }
        }
    }
}

/// Rows of A, or its steps of k, a multiple of 2 KiB apart, which are copied before they are read.
#[test]
fn operands_that_would_push_each_other_out_of_the_cache_give_the_bits_of_the_chain() {
    let (m, k, n, far) = (2 * ROWS + 3, 21, COLS + 5, 512);
    let (rows, cols) = (random::<f32>(1, (m, far)), random::<f32>(2, (k, far)));
    let (b, old) = (random::<f32>(3, (k, n)), random::<f32>(4, (m, n)));
    for a in [rows.slice(s![.., 7..7 + k]), cols.t().slice_move(s![5..5 + m, ..])] {
        let want = chains(Init::Accumulate, a, b.view(), old.view(), |start, a, b| {
            a.iter().zip(b).fold(start, |sum, (a, b)| a.mul_add(*b, sum))
        });
        for isa in Isa::available() {
            let mut got = old.clone();
            product(&mut Context::new(Team::solo(), isa), got.view_mut(), Init::Accumulate, a, b.view());
            assert_eq!(bits(&got), bits(&want), "{isa}, A's steps {:?}", a.strides());
        }
    }
}

#[test]
fn every_shape_of_a_tile_of_pairs_gives_the_bits_of_the_chain_of_pairs() {
    let k = 7;
    let (a, b) = (random::<f32>(1, (ROWS + 1, k)), random::<f32>(2, (k, COLS + 1)));
    let old = random::<f32>(3, (ROWS + 1, COLS + 1));
    for isa in Isa::available() {
        let mut cx = Context::new(Team::solo(), isa).with_precision(Precision::Bf16);
        for (m, n) in (1..=ROWS + 1).flat_map(|m| (1..=COLS + 1).map(move |n| (m, n))) {
            let (a, b, old) = (a.slice(s![..m, ..]), b.slice(s![.., ..n]), old.slice(s![..m, ..n]));
            let want = chains(Init::Accumulate, a, b, old, chain_of_pairs);
            let mut got = old.to_owned();
            product(&mut cx, got.view_mut(), Init::Accumulate, a, b);
            assert_eq!(bits(&got), bits(&want), "{isa}: {m}x{n}");
        }
    }
}

/// Whether sums of pairs may be subnormal is decided by the least exponents: on both sides of where that turns, and with
/// starts on both sides of where that turns, the bits are the chain's.
#[test]
fn pairs_near_the_subnormal_numbers_are_flushed_as_the_chain_says() {
    let power = |n: i32| 2.0_f32.powi(n);
    let (m, k, n) = (ROWS + 1, 12, COLS + 1);
    let mut flushed = 0;
    for (scale, start) in (50..=66).flat_map(|e| [-149, -127, -126, -104, -103, -102, 0].map(|s| (e, s))) {
        // Many of each kind: full fractions, which cancel, and zeros.
        let thin = |x: f32| if x.abs() < 0.2 { 0.0 } else { x * power(-scale) };
        let (a, b) = (random::<f32>(6, (m, k)).mapv(thin), random::<f32>(7, (k, n)).mapv(thin));
        let old = random::<f32>(8, (m, n)).mapv(|x| x * power(start));
        for init in [Init::Zero, Init::Accumulate] {
            let want = chains(init, a.view(), b.view(), old.view(), chain_of_pairs);
            let plain = chains(init, a.view(), b.view(), old.view(), |start, a, b| {
                let bf16 = |x: f32| half(x);
                a.chunks(2).zip(b.chunks(2)).fold(start, |sum, (a, b)| {
                    let sum = if a.len() > 1 { bf16(a[1]).mul_add(bf16(b[1]), sum) } else { sum };
                    bf16(a[0]).mul_add(bf16(b[0]), sum)
                })
            });
            flushed += usize::from(bits(&plain) != bits(&want));
            for isa in Isa::available() {
                let mut cx = Context::new(Team::solo(), isa).with_precision(Precision::Bf16);
                let mut got = old.clone();
                product(&mut cx, got.view_mut(), init, a.view(), b.view());
                assert_eq!(
                    bits(&got),
                    bits(&want),
                    "{isa}: factors of 2^-{scale}, starts of 2^{start}, {init:?}"
                );
            }
        }
    }
    assert!(flushed > 40, "only {flushed} cases differ from chains that flush nothing");
}

/// Steps beyond what is looked through, or written out, at once; only the later ones are of numbers so small that sums must be
/// flushed.
#[test]
fn deep_chains_of_pairs_are_the_same_whichever_part_of_them_may_be_subnormal() {
    let (k, n) = (1201, COLS + 5);
    let small = |at: usize, x: f32| if at < 600 { x } else { x * 2.0_f32.powi(-62) };
    let mut b = random::<f32>(2, (k, n));
    b.indexed_iter_mut().for_each(|((step, _), x)| *x = small(step, *x));
    for m in [1, 4, 5, ROWS + 1] {
        let mut a = random::<f32>(1, (m, k));
        a.indexed_iter_mut().for_each(|((_, step), x)| *x = small(step, *x));
        let old = random::<f32>(3, (m, n)).mapv(|x| x * 2.0_f32.powi(-110));
        // The large numbers of the first steps would hide what becomes of the small ones.
        for first in [0, 600] {
            let (a, b) = (a.slice(s![.., first..]), b.slice(s![first.., ..]));
            let (a_turned, b_turned) =
                (a.t().as_standard_layout().into_owned(), b.t().as_standard_layout().into_owned());
            for init in [Init::Zero, Init::Accumulate] {
                let want = bits(&chains(init, a, b, old.view(), chain_of_pairs));
                for isa in Isa::available() {
                    let mut cx = Context::new(Team::solo(), isa).with_precision(Precision::Bf16);
                    let packed = Packed::new(&mut cx, b);
                    let operands = [Operand::View(b), Operand::View(b_turned.t()), Operand::Packed(&packed)];
                    for (left, right) in [a, a_turned.t()].into_iter().flat_map(|a| operands.map(|b| (a, b)))
                    {
                        let mut got = old.clone();
                        product(&mut cx, got.view_mut(), init, left, right);
                        assert_eq!(bits(&got), want, "{isa}: {m} rows, from step {first} on, {init:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_chain_of_no_steps_is_what_it_starts_from() {
    for m in [1, 5, ROWS, ROWS + 1] {
        let (a, b, old) =
            (Array2::zeros((m, 0)), Array2::zeros((0, COLS + 1)), random::<f32>(1, (m, COLS + 1)));
        for (isa, precision) in
            Isa::available().into_iter().flat_map(|isa| [(isa, Precision::F32), (isa, Precision::Bf16)])
        {
            let mut cx = Context::new(Team::solo(), isa).with_precision(precision);
            let packed = Packed::new(&mut cx, b.view());
            for b in [Operand::View(b.view()), Operand::Packed(&packed)] {
                let mut got = old.clone();
                product(&mut cx, got.view_mut(), Init::Accumulate, a.view(), b);
                assert_eq!(bits(&got), bits(&old), "{isa}, {precision:?}: {m} rows");
            }
        }
    }
}

/// The nearest bf16, the even one of two, of a normal number.
fn half(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// The least that is left of two products of factors 2^-e and 2^-f, or of a start and a product, is where the bound of the least
/// exponents is sharp.
#[test]
fn what_is_left_of_two_products_or_of_a_start_is_flushed_if_it_is_subnormal() {
    let power = |n: i32| 2.0_f32.powi(n);
    for isa in Isa::available() {
        let mut cx = Context::new(Team::solo(), isa).with_precision(Precision::Bf16);
        let mut last = |start: f32, a: [f32; 2], b: [f32; 2]| {
            let (a, b) =
                (ArrayView2::from_shape((1, 2), &a).unwrap(), ArrayView2::from_shape((2, 1), &b).unwrap());
            let mut c = Array2::from_elem((1, 1), start);
            product(&mut cx, c.view_mut(), Init::Accumulate, a, b);
            c[[0, 0]]
        };
        for (e, f) in (50..=63).flat_map(|e| [(e, e), (e, e + 1)]) {
            // (1 + 2⁻⁷)² less 1 + 2⁻⁶, of which one of the factors is 1.
            let x = 1.0 + power(-7);
            let left = [-power(-e) * (1.0 + power(-6)), power(-e) * x];
            let want = if e + f <= 112 { power(-e - f - 14) } else { 0.0 };
            assert_eq!(
                last(0.0, left, [power(-f), power(-f) * x]),
                want,
                "{isa}: factors of 2^-{e} and 2^-{f}"
            );
        }
        for e in 100..=110 {
            let (start, root) = (power(-e) * (1.0 + f32::EPSILON), power(-e / 2));
            let want = if e <= 103 { power(-e - 23) } else { 0.0 };
            assert_eq!(last(start, [0.0, -root], [0.0, power(-e) / root]), want, "{isa}: a start of 2^-{e}");
        }
    }
}

//! Quantized products against their definition, the codes against what they stand for.

use half::f16;
use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;
use selvedge_sync::Team;

use super::{BLOCK, Block, Form, Parts, Quantized, SUPER_BLOCK, SuperBlock};
use crate::testing::random;
use crate::{Context, Init, Isa, product};

/// 32 weights, by the formulas of the forms: what each half is multiplied by, what is added, codes less their offset.
struct Plain {
    scales: [f32; 2],
    least: Option<f32>,
    codes: [i32; BLOCK],
}

/// What the bits of a code are, and what is taken off it.
fn bits_and_offset(form: Form) -> (u32, i32) {
    match form {
        Form::Q8_0 => (8, 128),
        Form::Q4_0 => (4, 8),
        Form::Q4_1 | Form::Q4_K => (4, 0),
        Form::Q5_0 => (5, 16),
        Form::Q5_1 | Form::Q5_K => (5, 0),
        Form::Q6_K => (6, 32),
    }
}

fn plain(form: Form, block: &Block) -> Plain {
    let (_, offset) = bits_and_offset(form);
    let least = matches!(form, Form::Q4_1 | Form::Q5_1).then_some(block.least.to_f32());
    Plain {
        scales: [block.scale.to_f32(); 2],
        least,
        codes: block.codes.map(|code| i32::from(code) - offset),
    }
}

/// The block of 32 at a place of a super-block.
fn plain_of_super(form: Form, block: &SuperBlock, at: usize) -> Plain {
    let (_, offset) = bits_and_offset(form);
    let scale = block.scale.to_f32();
    let (scales, least) = match block.parts {
        Parts::Of32 { scales, least, leasts } => {
            ([scale * f32::from(scales[at]); 2], Some(least.to_f32() * f32::from(leasts[at])))
        }
        Parts::Of16 { scales } => ([0, 1].map(|half| scale * f32::from(scales[2 * at + half])), None),
    };
    Plain { scales, least, codes: std::array::from_fn(|k| i32::from(block.codes[at * BLOCK + k]) - offset) }
}

/// The arithmetic of the module's text, for one output.
fn definition(form: Form, block: impl Fn(usize) -> Plain, start: f32, x: &[f32]) -> f32 {
    x.chunks(BLOCK).enumerate().fold(start, |mut sum, (b, x)| {
        let largest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let (scale, inverse) = if largest < 1e-30 { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        let codes: Vec<i32> = x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
        let block = block(b);
        let dot = |from: usize, to: usize| -> i32 {
            codes.iter().zip(block.codes).take(to).skip(from).map(|(x, w)| x * w).sum()
        };
        if form == Form::Q6_K {
            sum = (dot(0, 16) as f32).mul_add(scale * block.scales[0], sum);
            sum = (dot(16, 32) as f32).mul_add(scale * block.scales[1], sum);
        } else {
            sum = (dot(0, 32) as f32).mul_add(scale * block.scales[0], sum);
        }
        match block.least {
            Some(least) => (scale * codes.iter().sum::<i32>() as f32).mul_add(least, sum),
            None => sum,
        }
    })
}

/// Codes of all values; the extreme ones are as likely as the others together.
fn any_codes<const N: usize>(form: Form, seed: u64) -> [u8; N] {
    let most = (1_u32 << bits_and_offset(form).0) - 1;
    let draws = random::<f32>(seed, (1, N));
    std::array::from_fn(|k| ((draws[[0, k]] * 0.6 + 0.5) * most as f32).clamp(0.0, most as f32).round() as u8)
}

/// Blocks of all codes and many scales.
fn any_block(form: Form, seed: u64) -> impl Fn(usize, usize) -> Block {
    move |n, b| {
        let seed = seed ^ (n * 1000 + b) as u64;
        let draws = random::<f32>(!seed, (1, 2));
        Block {
            scale: f16::from_f32(draws[[0, 0]] * 0.1),
            least: f16::from_f32(draws[[0, 1]]),
            codes: any_codes(form, seed),
        }
    }
}

/// Super-blocks of all codes and factors, and many scales.
fn any_super_block(form: Form, seed: u64) -> impl Fn(usize, usize) -> SuperBlock {
    move |n, b| {
        let seed = seed ^ (n * 1000 + b) as u64;
        let draws = random::<f32>(!seed, (1, 18));
        let byte = |at: usize| ((draws[[0, at]] * 0.6 + 0.5) * 255.0).clamp(0.0, 255.0) as u8;
        let parts = if form == Form::Q6_K {
            Parts::Of16 { scales: std::array::from_fn(|at| byte(at).cast_signed()) }
        } else {
            Parts::Of32 {
                scales: std::array::from_fn(byte),
                least: f16::from_f32(draws[[0, 16]] * 0.02),
                leasts: std::array::from_fn(|at| byte(at + 8)),
            }
        };
        SuperBlock { scale: f16::from_f32(draws[[0, 17]] * 0.001), parts, codes: any_codes(form, seed) }
    }
}

fn quantized(form: Form, weight: ArrayView2<'_, f32>) -> Quantized {
    Quantized::of(&Context::<f32>::solo(), form, weight)
}

/// Weights of a form out of any blocks, and the same block by block.
fn any_weights(
    form: Form,
    dim: (usize, usize),
    seed: u64,
) -> (Quantized, Box<dyn Fn(usize, usize) -> Plain>) {
    let cx = &Context::<f32>::solo();
    if form.has_factors() {
        let block = any_super_block(form, seed);
        let w = Quantized::from_super_blocks(cx, form, dim, &block);
        (w, Box::new(move |n, b| plain_of_super(form, &block(n, b / 8), b % 8)))
    } else {
        let block = any_block(form, seed);
        (Quantized::new(cx, form, dim, &block), Box::new(move |n, b| plain(form, &block(n, b))))
    }
}

fn bits(matrix: &Array2<f32>) -> Vec<u32> {
    matrix.iter().map(|x| x.to_bits()).collect()
}

fn multiply(
    isa: Isa,
    threads: usize,
    c: &Array2<f32>,
    init: Init<'_, f32>,
    x: ArrayView2<'_, f32>,
    w: &Quantized,
) -> Array2<f32> {
    let mut cx = Context::new(Team::new(threads).unwrap(), isa);
    let mut c = c.clone();
    product(&mut cx, c.view_mut(), init, x, w);
    c
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_path_gives_the_bits_of_the_definition(
        (m, k, n) in (1usize..20, 0usize..600, 1usize..100), form in prop::sample::select(&Form::ALL[..]),
        mode in 0usize..3,
        threads in 1usize..4, turned in any::<bool>(), seed in any::<u64>(),
    ) {
        let x = random::<f32>(seed, (m, k));
        let (w, block) = any_weights(form, (n, k), seed);
        let (bias, old) = (random::<f32>(seed ^ 1, (1, n)), random::<f32>(seed ^ 2, (m, n)));
        let init = [Init::Zero, Init::Bias(bias.as_slice().unwrap()), Init::Accumulate][mode];
        let want = Array2::from_shape_fn((m, n), |(i, j)| {
            let start = [0.0, bias[[0, j]], old[[i, j]]][mode];
            definition(form, |b| block(j, b), start, &x.row(i).to_vec())
        });
        // The same values, stored the other way round.
        let other = x.t().as_standard_layout().into_owned();
        for isa in Isa::available() {
            let x = if turned { other.t() } else { x.view() };
            let got = multiply(isa, threads, &old, init, x, &w);
            prop_assert_eq!(bits(&got), bits(&want), "{} {:?}", isa, form);
            // One row alone is that row of many.
            let last = multiply(isa, 1, &old.slice(s![m - 1.., ..]).to_owned(), init, x.slice(s![m - 1.., ..]), &w);
            prop_assert_eq!(bits(&last), bits(&want.slice(s![m - 1.., ..]).to_owned()), "{}: one row", isa);
        }
    }

    /// Each operation in f32, in the order of the formulas.
    #[test]
    fn weights_are_what_the_formulas_say(
        n in 1usize..40, k in 1usize..600, form in prop::sample::select(&Form::ALL[..]), seed in any::<u64>(),
    ) {
        let (w, block) = any_weights(form, (n, k), seed);
        let want = Array2::from_shape_fn((n, k), |(n, k)| {
            let Plain { scales, least, codes } = block(n, k / BLOCK);
            scales[k % BLOCK / 16] * codes[k % BLOCK] as f32 + least.unwrap_or(0.0)
        });
        prop_assert_eq!(w.weights(), want);
        if form.has_factors() {
            let super_block = any_super_block(form, seed)(n - 1, 0);
            let of_block = super_block.weights(form);
            prop_assert_eq!(w.weights().row(n - 1).to_vec()[..k.min(SUPER_BLOCK)].to_vec(), &of_block[..k.min(SUPER_BLOCK)]);
        }
    }

    #[test]
    fn weights_come_back_as_near_as_their_codes_reach(
        n in 1usize..40, k in 1usize..600, form in prop::sample::select(&Form::ALL[..]), seed in any::<u64>(),
    ) {
        let weight = random::<f32>(seed, (n, k));
        let back = quantized(form, weight.view()).weights();
        for (row, back) in weight.rows().into_iter().zip(back.rows()) {
            let (row, back) = (row.to_vec(), back.to_vec());
            for (row, back) in row.chunks(form.block_len()).zip(back.chunks(form.block_len())) {
                let largest = row.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                // Half a step, or a whole one at the end that has a code less; scales are within 2⁻¹¹ of what they should be.
                // Factors round as well, by half of 1/63 or 1/127 of the largest, of leasts and, as often as the largest
                // code has steps, of scales.
                let step = match form {
                    Form::Q8_0 => 0.5 / 127.0,
                    Form::Q4_0 => 1.0 / 8.0,
                    Form::Q4_1 => 1.0 / 15.0,
                    Form::Q5_0 => 1.0 / 16.0,
                    Form::Q5_1 => 1.0 / 31.0,
                    Form::Q4_K => 1.0 / 15.0 + 1.5 / 63.0,
                    Form::Q5_K => 1.0 / 31.0 + 1.5 / 63.0,
                    Form::Q6_K => 1.0 / 32.0 + 0.5 / 127.0,
                };
                let bound = largest * (step + 2.0_f32.powi(-9)) + 1e-6;
                let worst = row.iter().zip(back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                prop_assert!(worst <= bound, "{:?}: {} of {}", form, worst, largest);
            }
        }
    }
}

/// Sums at the ends of what codes can be: none may leave its 16 or 32 bits.
#[test]
fn the_largest_codes_do_not_overflow() {
    let cx = &Context::<f32>::solo();
    for form in Form::ALL {
        let (bits, offset) = bits_and_offset(form);
        for code in [0, (1_u32 << bits) - 1] {
            let code = code as u8;
            let w = if form.has_factors() {
                let parts = match form {
                    Form::Q6_K => Parts::Of16 { scales: [-128; 16] },
                    _ => Parts::Of32 { scales: [255; 8], least: f16::ZERO, leasts: [255; 8] },
                };
                let block = SuperBlock { scale: f16::ONE, parts, codes: [code; SUPER_BLOCK] };
                Quantized::from_super_blocks(cx, form, (33, 64), |_, _| block)
            } else {
                let block = Block { scale: f16::ONE, least: f16::ZERO, codes: [code; BLOCK] };
                Quantized::new(cx, form, (33, 64), |_, _| block)
            };
            let factor = if form == Form::Q6_K {
                -128
            } else if form.has_factors() {
                255
            } else {
                1
            };
            // Exact, as whole numbers below 2²⁴ times one are: 127 becomes 127.
            let of_k = |x: i32| 64 * x * (i32::from(code) - offset) * factor;
            for isa in Isa::available() {
                for x in [127, -127] {
                    let rows = Array2::from_elem((4, 64), x as f32);
                    let y = multiply(isa, 1, &Array2::zeros((4, 33)), Init::Zero, rows.view(), &w);
                    assert!(
                        y.iter().all(|y| *y == of_k(x) as f32),
                        "{isa} {form:?} {code} {x}: {}",
                        y[[0, 0]]
                    );
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "a code of 32 in Q5_0")]
fn codes_beyond_their_bits_are_refused() {
    let block = Block { scale: f16::ONE, least: f16::ZERO, codes: [32; BLOCK] };
    Quantized::new(&Context::<f32>::solo(), Form::Q5_0, (1, 32), |_, _| block);
}

#[test]
#[should_panic(expected = "Q6_K has other parts")]
fn parts_of_another_form_are_refused() {
    let parts = Parts::Of32 { scales: [1; 8], least: f16::ZERO, leasts: [1; 8] };
    let block = SuperBlock { scale: f16::ONE, parts, codes: [0; SUPER_BLOCK] };
    Quantized::from_super_blocks(&Context::<f32>::solo(), Form::Q6_K, (1, 256), |_, _| block);
}

#[test]
fn products_are_near_those_of_the_weights_that_were_quantized() {
    let (x, w) = (random::<f32>(1, (7, 512)), random::<f32>(2, (65, 512)));
    let exact = x.dot(&w.t());
    let size = exact.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>();
    // Root mean square errors, as shares: measured 0.0074, 0.082, 0.078, 0.038, 0.037, 0.075, 0.037 and 0.019.
    for (form, bound) in Form::ALL.into_iter().zip([0.009, 0.1, 0.095, 0.046, 0.045, 0.091, 0.045, 0.024]) {
        let zero = Array2::zeros((7, 65));
        let got = multiply(Isa::detect(), 1, &zero, Init::Zero, x.view(), &quantized(form, w.view()));
        let error = (&got - &exact).iter().map(|e| f64::from(*e).powi(2)).sum::<f64>();
        let share = (error / size).sqrt();
        assert!(share < bound && share > bound / 2.0, "{form:?}: {share}");
    }
}

#[test]
fn the_oracle_multiplies_by_what_the_codes_stand_for() {
    let (x, w) = (random::<f64>(1, (3, 70)), quantized(Form::Q4_1, random::<f32>(2, (9, 70)).view()));
    let mut c = Array2::zeros((3, 9));
    product(&mut Context::<f64>::solo(), c.view_mut(), Init::Zero, x.view(), &w);
    let want = x.dot(&w.weights().mapv(f64::from).t());
    assert!((&c - &want).iter().all(|e| e.abs() < 1e-12));
}

#[test]
fn numbers_that_are_none_are_not_hidden() {
    let w = quantized(Form::Q8_0, Array2::from_elem((2, 40), 1.0).view());
    for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = Array2::from_elem((2, 40), 1.0);
        x[[1, 35]] = strange;
        for isa in Isa::available() {
            let y = multiply(isa, 1, &Array2::zeros((2, 2)), Init::Zero, x.view(), &w);
            assert!(
                y.row(0).iter().all(|y| (y - 40.0).abs() < 0.1) && y.row(1).iter().all(|y| y.is_nan()),
                "{isa}: {y}"
            );
        }
        assert!(Block::of(Form::Q4_1, &[strange; BLOCK]).scale.is_nan());
        assert!(SuperBlock::of(Form::Q4_K, &[strange; SUPER_BLOCK]).scale.is_nan());
    }
    // So small that its inverse is infinite: 0.
    let tiny = multiply(
        Isa::detect(),
        1,
        &Array2::zeros((1, 2)),
        Init::Zero,
        Array2::from_elem((1, 40), 1e-38).view(),
        &w,
    );
    assert_eq!(tiny, Array2::<f32>::zeros((1, 2)));
}

#[test]
fn codes_take_the_bytes_they_should() {
    let weight = Array2::<f32>::zeros((64, 512));
    let bits = Form::ALL.map(|form| quantized(form, weight.view()).bytes() as f64 * 8.0 / (64.0 * 512.0));
    assert_eq!(bits, [8.5, 4.5, 5.0, 5.5, 6.0, 4.625, 5.625, 6.5625]);
}

//! Quantized products against their definition, the codes against what they stand for.

use half::f16;
use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;
use selvedge_sync::Team;

use super::{BLOCK, Block, Form, Quantized};
use crate::testing::random;
use crate::{Context, Init, Isa, product};

const FORMS: [Form; 3] = [Form::Q8_0, Form::Q4_0, Form::Q4_1];

/// The arithmetic of the module's text, output by output.
fn definition(form: Form, block: impl Fn(usize, usize) -> Block, start: f32, x: &[f32], n: usize) -> f32 {
    x.chunks(BLOCK).enumerate().fold(start, |mut sum, (b, x)| {
        let largest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let (scale, inverse) = if largest < 1e-30 { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        let codes: Vec<i32> = x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
        let block = block(n, b);
        let (offset, has_least) = match form {
            Form::Q8_0 => (128, false),
            Form::Q4_0 => (8, false),
            Form::Q4_1 => (0, true),
        };
        let dot: i32 = codes.iter().zip(block.codes).map(|(x, w)| x * (i32::from(w) - offset)).sum();
        sum = (dot as f32).mul_add(scale * block.scale.to_f32(), sum);
        if has_least {
            sum = (scale * codes.iter().sum::<i32>() as f32).mul_add(block.least.to_f32(), sum);
        }
        sum
    })
}

/// Blocks of all codes and many scales.
fn any_block(form: Form, seed: u64) -> impl Fn(usize, usize) -> Block {
    move |n, b| {
        let draws = random::<f32>(seed ^ (n * 1000 + b) as u64, (1, BLOCK + 2));
        let most = if form == Form::Q8_0 { 255.0 } else { 15.0 };
        Block {
            scale: f16::from_f32(draws[[0, 0]] * 0.1),
            least: f16::from_f32(draws[[0, 1]]),
            codes: std::array::from_fn(|k| {
                ((draws[[0, k + 2]] * 0.6 + 0.5) * most).clamp(0.0, most).round() as u8
            }),
        }
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
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_path_gives_the_bits_of_the_definition(
        (m, k, n) in (1usize..20, 0usize..150, 1usize..100), form in 0usize..3, mode in 0usize..3,
        threads in 1usize..4, turned in any::<bool>(), seed in any::<u64>(),
    ) {
        let (form, x) = (FORMS[form], random::<f32>(seed, (m, k)));
        let block = any_block(form, seed);
        let w = Quantized::new(form, (n, k), &block);
        let (bias, old) = (random::<f32>(seed ^ 1, (1, n)), random::<f32>(seed ^ 2, (m, n)));
        let init = [Init::Zero, Init::Bias(bias.as_slice().unwrap()), Init::Accumulate][mode];
        let want = Array2::from_shape_fn((m, n), |(i, j)| {
            let start = [0.0, bias[[0, j]], old[[i, j]]][mode];
            definition(form, &block, start, &x.row(i).to_vec(), j)
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

    #[test]
    fn weights_come_back_as_near_as_their_codes_reach(n in 1usize..40, k in 1usize..100, form in 0usize..3, seed in any::<u64>()) {
        let (form, weight) = (FORMS[form], random::<f32>(seed, (n, k)));
        let back = Quantized::of(form, weight.view()).weights();
        for (row, back) in weight.rows().into_iter().zip(back.rows()) {
            let (row, back) = (row.to_vec(), back.to_vec());
            for (row, back) in row.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = row.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                // Half a step, or a whole one at the end that has a code less; scales are within 2⁻¹¹ of what they should be.
                let step = match form {
                    Form::Q8_0 => 0.5 / 127.0,
                    Form::Q4_0 => 1.0 / 8.0,
                    Form::Q4_1 => 1.0 / 15.0,
                };
                let bound = largest * (step + 2.0_f32.powi(-9)) + 1e-6;
                let worst = row.iter().zip(back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                prop_assert!(worst <= bound, "{:?}: {} of {}", form, worst, largest);
            }
        }
    }
}

#[test]
fn products_are_near_those_of_the_weights_that_were_quantized() {
    let (x, w) = (random::<f32>(1, (7, 512)), random::<f32>(2, (65, 512)));
    let exact = x.dot(&w.t());
    let size = exact.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>();
    // Root mean square errors, as shares: measured 0.0074, 0.082 and 0.078.
    for (form, bound) in FORMS.into_iter().zip([0.009, 0.1, 0.095]) {
        let zero = Array2::zeros((7, 65));
        let got = multiply(Isa::detect(), 1, &zero, Init::Zero, x.view(), &Quantized::of(form, w.view()));
        let error = (&got - &exact).iter().map(|e| f64::from(*e).powi(2)).sum::<f64>();
        let share = (error / size).sqrt();
        assert!(share < bound && share > bound / 2.0, "{form:?}: {share}");
    }
}

#[test]
fn the_oracle_multiplies_by_what_the_codes_stand_for() {
    let (x, w) = (random::<f64>(1, (3, 70)), Quantized::of(Form::Q4_1, random::<f32>(2, (9, 70)).view()));
    let mut c = Array2::zeros((3, 9));
    product(&mut Context::<f64>::solo(), c.view_mut(), Init::Zero, x.view(), &w);
    let want = x.dot(&w.weights().mapv(f64::from).t());
    assert!((&c - &want).iter().all(|e| e.abs() < 1e-12));
}

#[test]
fn numbers_that_are_none_are_not_hidden() {
    let w = Quantized::of(Form::Q8_0, Array2::from_elem((2, 40), 1.0).view());
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
    let weight = Array2::<f32>::zeros((64, 320));
    let bytes = FORMS.map(|form| Quantized::of(form, weight.view()).bytes() as f64 / (64.0 * 320.0));
    assert_eq!(bytes, [1.0625, 0.5625, 0.625]);
}

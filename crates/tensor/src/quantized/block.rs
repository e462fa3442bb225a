//! Weights of one output that share a scale: 32 of them, or 256 in parts with factors.

use half::f16;

use super::{BLOCK, Form, SUPER_BLOCK};

/// 32 weights of one output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// What codes are multiplied by.
    pub scale: f16,
    /// What is added, in forms that have it.
    pub least: f16,
    /// One a weight, within the bits of the form.
    pub codes: [u8; BLOCK],
}

impl Block {
    /// The nearest block. Weights that are not finite, or beyond what scale and least in f16 reach (8 million in Q8_0, half a
    /// million in Q4_0, a million in Q5_0, 65,504 where there is a least), make a block of which products are NaN or infinite.
    ///
    /// # Panics
    /// If the form is one of [`SuperBlock`]s.
    pub fn of(form: Form, weights: &[f32; BLOCK]) -> Block {
        assert!(!form.has_factors(), "{form:?} has no blocks of {BLOCK}");
        let (low, high) = range(weights);
        let (scale, least) = if form.has_least() {
            ((high - low) / f32::from(form.most()), low)
        } else if form == Form::Q8_0 {
            (largest(weights).abs() / 127.0, 0.0)
        } else {
            // The largest, of whichever sign, becomes −8 (or −16), which is once more than the other end has.
            (largest(weights) / -form.offset() as f32, 0.0)
        };
        let strange = weights.iter().any(|w| !w.is_finite());
        let (scale, least) =
            if strange { (f16::NAN, f16::NAN) } else { (f16::from_f32(scale), f16::from_f32(least)) };
        Block { scale, least, codes: weights.map(|w| code(form, scale.to_f32(), least.to_f32(), w)) }
    }

    /// What the block stands for.
    pub fn weights(&self, form: Form) -> [f32; BLOCK] {
        let least = if form.has_least() { self.least.to_f32() } else { 0.0 };
        self.codes.map(|code| weight(form, self.scale.to_f32(), least, code))
    }
}

/// 256 weights of one output, in parts whose scales are one scale times a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuperBlock {
    /// What factors of scales are multiplied by.
    pub scale: f16,
    /// What each part has of its own.
    pub parts: Parts,
    /// One a weight, within the bits of the form.
    pub codes: [u8; SUPER_BLOCK],
}

/// What the parts of a [`SuperBlock`] have of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parts {
    /// Parts of 32 weights, in [`Form::Q4_K`] and [`Form::Q5_K`].
    Of32 {
        /// A factor of the scale each. (In a file below 64.)
        scales: [u8; 8],
        /// What factors of leasts are multiplied by.
        least: f16,
        /// A factor of the least each. (In a file below 64.)
        leasts: [u8; 8],
    },
    /// Parts of 16 weights, in [`Form::Q6_K`].
    Of16 {
        /// A factor of the scale each.
        scales: [i8; 16],
    },
}

/// The largest factor of parts of 32 that a file holds.
const MOST_OF_32: f32 = 63.0;

impl SuperBlock {
    /// A near super-block: first the scales that the parts would have alone, rounded to factors of the largest; then codes to
    /// nearest. Weights that are not finite, or too large, are as with [`Block::of`].
    ///
    /// # Panics
    /// If the form is one of [`Block`]s.
    pub fn of(form: Form, weights: &[f32; SUPER_BLOCK]) -> SuperBlock {
        assert!(form.has_factors(), "{form:?} has no blocks of {SUPER_BLOCK}");
        let strange = weights.iter().any(|w| !w.is_finite());
        let shared = |x: f32| if strange { f16::NAN } else { f16::from_f32(x) };
        let (scale, parts) = if form == Form::Q6_K {
            let mut steps = [0.0; 16];
            for (step, weights) in steps.iter_mut().zip(weights.as_chunks::<16>().0) {
                *step = largest(weights) / -form.offset() as f32;
            }
            let scale = shared(largest(&steps).abs() / 127.0);
            (scale, Parts::Of16 { scales: steps.map(|step| factor(step, scale) as i8) })
        } else {
            let (mut steps, mut lows) = ([0.0; 8], [0.0; 8]);
            for ((step, least), weights) in
                steps.iter_mut().zip(&mut lows).zip(weights.as_chunks::<BLOCK>().0)
            {
                let (low, high) = range(weights);
                // A factor has no sign, so that all leasts are on one side of 0.
                *least = low.min(0.0);
                *step = (high - *least) / f32::from(form.most());
            }
            let scale = shared(largest(&steps) / MOST_OF_32);
            let least = shared(largest(&lows) / MOST_OF_32);
            let scales = steps.map(|step| factor(step, scale).min(MOST_OF_32) as u8);
            (
                scale,
                Parts::Of32 {
                    scales,
                    least,
                    leasts: lows.map(|low| factor(low, least).min(MOST_OF_32) as u8),
                },
            )
        };
        let mut block = SuperBlock { scale, parts, codes: [0; SUPER_BLOCK] };
        for (at, &w) in weights.iter().enumerate() {
            block.codes[at] = code(form, block.scale_at(at), block.least_at(at), w);
        }
        block
    }

    /// What the super-block stands for.
    pub fn weights(&self, form: Form) -> [f32; SUPER_BLOCK] {
        std::array::from_fn(|at| weight(form, self.scale_at(at), self.least_at(at), self.codes[at]))
    }

    /// The scale of a weight.
    fn scale_at(&self, at: usize) -> f32 {
        self.scale.to_f32()
            * match &self.parts {
                Parts::Of32 { scales, .. } => f32::from(scales[at / BLOCK]),
                Parts::Of16 { scales } => f32::from(scales[at / 16]),
            }
    }

    /// The least of a weight, 0 where there is none.
    fn least_at(&self, at: usize) -> f32 {
        match &self.parts {
            Parts::Of32 { least, leasts, .. } => least.to_f32() * f32::from(leasts[at / BLOCK]),
            Parts::Of16 { .. } => 0.0,
        }
    }
}

/// The weight of a code.
pub(super) fn weight(form: Form, scale: f32, least: f32, code: u8) -> f32 {
    scale * (i32::from(code) - form.offset()) as f32 + least
}

/// The code whose weight is nearest.
fn code(form: Form, scale: f32, least: f32, weight: f32) -> u8 {
    match scale {
        0.0 => form.offset() as u8,
        step => {
            let code = ((weight - least) / step + form.offset() as f32).round_ties_even();
            code.clamp(0.0, f32::from(form.most())) as u8
        }
    }
}

/// `x` in steps of `unit`.
fn factor(x: f32, unit: f16) -> f32 {
    match unit.to_f32() {
        0.0 => 0.0,
        unit => (x / unit).round_ties_even(),
    }
}

/// The number of the largest magnitude.
fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0_f32, |a, &b| if b.abs() > a.abs() { b } else { a })
}

/// The smallest and the largest number.
fn range(numbers: &[f32]) -> (f32, f32) {
    numbers.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

//! The forms of weights: how many bits a code has, and what it is turned into a weight with.

use super::{BLOCK, SUPER_BLOCK};

/// How a weight is coded.
///
/// The names are those of the types of GGUF files, the formulas too; what lies otherwise in a file is said in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the names that files have")]
#[non_exhaustive]
#[repr(u8)]
pub enum Form {
    /// 8 bits: scale·(code − 128), codes 1 to 255, and 0 in some files. (A GGUF file has code − 128.)
    Q8_0,
    /// 4 bits: scale·(code − 8).
    Q4_0,
    /// 4 bits: scale·code + least.
    Q4_1,
    /// 5 bits: scale·(code − 16).
    Q5_0,
    /// 5 bits: scale·code + least.
    Q5_1,
    /// 4 bits: (scale·factor)·code + least·(factor of the least), with factors for each 32. (A GGUF file has −least.)
    Q4_K,
    /// 5 bits, otherwise as [`Form::Q4_K`].
    Q5_K,
    /// 6 bits: (scale·factor)·(code − 32), with a factor for each 16.
    Q6_K,
}

impl Form {
    /// Each of them, in the order of their numbers.
    pub const ALL: [Form; 8] =
        [Form::Q8_0, Form::Q4_0, Form::Q4_1, Form::Q5_0, Form::Q5_1, Form::Q4_K, Form::Q5_K, Form::Q6_K];

    /// Weights that share a scale: [`BLOCK`], or [`SUPER_BLOCK`] where parts of them have factors.
    pub const fn block_len(self) -> usize {
        if self.has_factors() { SUPER_BLOCK } else { BLOCK }
    }

    /// Whether weights come in a [`SuperBlock`](super::SuperBlock), else in a [`Block`](super::Block).
    pub const fn has_factors(self) -> bool {
        matches!(self, Form::Q4_K | Form::Q5_K | Form::Q6_K)
    }

    /// What the product of a code is too large by.
    pub(super) const fn offset(self) -> i32 {
        match self {
            Form::Q8_0 => 128,
            Form::Q4_0 => 8,
            Form::Q5_0 => 16,
            Form::Q6_K => 32,
            Form::Q4_1 | Form::Q5_1 | Form::Q4_K | Form::Q5_K => 0,
        }
    }

    pub(super) const fn has_least(self) -> bool {
        matches!(self, Form::Q4_1 | Form::Q5_1 | Form::Q4_K | Form::Q5_K)
    }

    /// Bits of a code.
    pub(super) const fn bits(self) -> usize {
        match self {
            Form::Q4_0 | Form::Q4_1 | Form::Q4_K => 4,
            Form::Q5_0 | Form::Q5_1 | Form::Q5_K => 5,
            Form::Q6_K => 6,
            Form::Q8_0 => 8,
        }
    }

    /// The largest code.
    pub(super) const fn most(self) -> u8 {
        (u8::MAX as u32 >> (8 - self.bits())) as u8
    }

    /// Parts of 32 weights that have a scale each.
    pub(super) const fn parts(self) -> usize {
        if matches!(self, Form::Q6_K) { 2 } else { 1 }
    }

    /// The form of a number.
    pub(super) const fn numbered(number: u8) -> Form {
        Form::ALL[number as usize]
    }
}

const _: () = {
    let mut number = 0;
    while number < Form::ALL.len() {
        assert!(Form::ALL[number] as usize == number, "forms in the order of their numbers");
        number += 1;
    }
};

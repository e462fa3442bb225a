//! The most multiply-adds a second that the machine's cores do out of registers, measured between the products.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions compiled for detected features")
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use selvedge_sync::{Team, items};

use crate::Dtype;

/// Independent sums: more than a multiply-add has cycles from its start to its result, times two ports.
#[cfg(target_arch = "x86_64")]
const SUMS: usize = 12;
/// Turns of the loop between two looks at the clock: some 0.1 ms.
const TURNS: usize = 30_000;

/// A loop of nothing but multiply-adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peak {
    run: fn(usize) -> f32,
    /// Operations of one turn of the loop.
    operations: usize,
}

impl Peak {
    /// The fastest loop that this machine has for the dtype, if it is one of those written here: AVX-512, and its
    /// BF16 and VNNI, or AVX2 with FMA, which has no products of bf16 of its own.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        match dtype {
            Dtype::F32 if is_x86_feature_detected!("avx512f") => {
                // SAFETY: the feature has just been detected.
                return Some(Self { run: |turns| unsafe { multiply_adds(turns) }, operations: SUMS * 32 });
            }
            Dtype::Bf16 if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") => {
                // SAFETY: both features have just been detected.
                return Some(Self { run: |turns| unsafe { dot_products(turns) }, operations: SUMS * 64 });
            }
            _ if dtype.form().is_some()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vnni") =>
            {
                // SAFETY: both features have just been detected.
                return Some(Self { run: |turns| unsafe { byte_products(turns) }, operations: SUMS * 128 });
            }
            Dtype::F32 | Dtype::Bf16
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") =>
            {
                // SAFETY: the features have just been detected.
                let run = |turns| unsafe { multiply_adds_of_8(turns) };
                return Some(Self { run, operations: SUMS * 16 });
            }
            _ if dtype.form().is_some() && is_x86_feature_detected!("avx2") => {
                // SAFETY: the feature has just been detected.
                let run = |turns| unsafe { byte_products_of_8(turns) };
                return Some(Self { run, operations: SUMS * 64 });
            }
            _ => {}
        }
        let _ = dtype;
        None
    }

    /// G operations a second of all threads of the team, each busy for `time` at least.
    pub(crate) fn measure(&self, team: &Team, time: Duration) -> f64 {
        let mut turns = vec![0; team.threads()];
        let began = Instant::now();
        team.parallel_parts(items(&mut turns), |_, turns| {
            let began = Instant::now();
            while *turns == 0 || began.elapsed() < time {
                black_box((self.run)(black_box(TURNS)));
                *turns += TURNS;
            }
        });
        // By the time of all: a thread that came late shows as a lower rate, not as work that two did at once.
        (turns.iter().sum::<usize>() * self.operations) as f64 / began.elapsed().as_secs_f64() / 1e9
    }
}

/// Sums of four products of bytes, in 16 lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn byte_products(turns: usize) -> f32 {
    use core::arch::x86_64::{
        _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
    };
    let (left, right) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-3)));
    let mut sums = [_mm512_setzero_si512(); SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, left, right);
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi32(sum) as f32).iter().sum()
}

/// Sums of two products of bytes, in 16 lanes of 16 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn byte_products_of_8(turns: usize) -> f32 {
    use core::arch::x86_64::{
        _mm256_add_epi16, _mm256_extract_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_setzero_si256,
    };
    let mut sums = [_mm256_setzero_si256(); SUMS];
    let left = _mm256_set1_epi8(black_box(3));
    for _ in 0..turns {
        for sum in &mut sums {
            // Of something that changes, or it would be multiplied once.
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(left, *sum));
        }
    }
    sums.map(|sum| _mm256_extract_epi16::<0>(sum) as f32).iter().sum()
}

/// Multiply-adds of 8 lanes of f32.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_adds_of_8(turns: usize) -> f32 {
    use core::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, addend) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
    let mut sums = [addend; SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, addend);
        }
    }
    sums.map(|sum| _mm256_cvtss_f32(sum)).iter().sum()
}

/// Multiply-adds of 16 lanes of f32.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_adds(turns: usize) -> f32 {
    use core::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, addend) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
    let mut sums = [addend; SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, addend);
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum)).iter().sum()
}

/// Sums of two products of bf16, in 16 lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_products(turns: usize) -> f32 {
    use core::arch::x86_64::{
        _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
    };
    let (x, y) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(-0.5)));
    let (left, right) = (_mm512_cvtne2ps_pbh(x, y), _mm512_cvtne2ps_pbh(x, x));
    let mut sums = [_mm512_setzero_ps(); SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, left, right);
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum)).iter().sum()
}

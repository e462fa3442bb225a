//! Initialization: every weight a pure function of the seed and its position in the listing.

use ndarray::Array2;
use ndarray_rand::RandomExt;
use ndarray_rand::rand::{Rng, RngCore};
use ndarray_rand::rand_distr::Distribution;
use selvedge_tensor::Real;

use crate::layout::{Init, Layout};

/// Standard deviation of fresh matrices (GPT-2's).
pub(crate) const DEVIATION: f64 = 0.02;

/// A generator whose output is a pure function of (seed, stream, counter): the finalizer of SplitMix64
/// (Steele, Lea, Flood 2014) over a Weyl sequence. Streams never run into each other's order.
#[derive(Clone, Debug)]
pub struct CounterRng {
    key: u64,
    counter: u64,
}

impl CounterRng {
    /// Stream `stream` of `seed`, from its beginning.
    pub fn new(seed: u64, stream: u64) -> Self {
        CounterRng { key: mix(mix(seed) ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15)), counter: 0 }
    }

    /// Value `counter` of the stream.
    pub fn at(&self, counter: u64) -> u64 {
        mix(self.key.wrapping_add(counter.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl RngCore for CounterRng {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        self.at(self.counter)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Normal with mean 0, by Box and Muller's transform (1958) over software logarithm and cosine: the
/// distributions of `rand_distr` call the machine's C library, which may round otherwise elsewhere.
#[derive(Clone, Copy, Debug)]
struct Normal {
    deviation: f64,
}

impl Distribution<f64> for Normal {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        // 53 bits each; the first from (0, 1], whose logarithm is finite.
        let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (radius, angle) = (1.0 - unit(), std::f64::consts::TAU * unit());
        self.deviation * libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(angle)
    }
}

/// Fresh parameters for `layout`.
pub fn initialize<T: Real>(layout: &Layout, seed: u64) -> Vec<T> {
    let mut params = vec![T::ZERO; layout.len()];
    for (stream, slot) in layout.slots().iter().enumerate() {
        let to = &mut params[slot.span.range()];
        match slot.init {
            Init::Zeros => {}
            Init::Ones => to.fill(T::ONE),
            Init::Normal(deviation) => {
                let normal = Normal { deviation };
                let mut rng = CounterRng::new(seed, stream as u64);
                let values = Array2::<f64>::random_using((slot.span.rows, slot.span.cols), normal, &mut rng);
                for (to, value) in to.iter_mut().zip(values) {
                    *to = T::from_f64(value);
                }
            }
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_differ() {
        let take = |seed, stream| {
            let mut rng = CounterRng::new(seed, stream);
            (0..4).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(1, 3));
        assert_ne!(take(1, 2), take(2, 2));
    }

    #[test]
    fn values_have_the_deviation_asked_for() {
        let mut rng = CounterRng::new(7, 0);
        let normal = Normal { deviation: 0.02 };
        let x = Array2::<f64>::random_using((100, 100), normal, &mut rng);
        assert!(x.mean().unwrap().abs() < 6e-4, "mean {:?}", x.mean());
        assert!((x.std(0.0) - 0.02).abs() < 6e-4, "deviation {}", x.std(0.0));
    }
}

//! AdamW (Loshchilov, Hutter 2019), one pass over flat buffers.

use selvedge_sync::chunks;

use crate::context::ELEMENTS;
use crate::isa::dispatch;
use crate::{Context, Real};

/// Hyperparameters of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, for the ranges that decay.
    pub weight_decay: f64,
}

/// Factors of one update, formed once in f64.
#[derive(Clone, Copy, Debug)]
struct Factors<T> {
    scale: T,
    beta1: T,
    one_minus_beta1: T,
    beta2: T,
    one_minus_beta2: T,
    step_size: T,
    root_correction: T,
    epsilon: T,
    keep: T,
}

impl AdamW {
    /// Updates parameters p and moments m, v by the gradient g · `scale` (all of one length) as PyTorch
    /// does: p ← p·(1 − lr·decay) − lr·m̂ / (√v̂ + ε). `step` counts from 1; `decay` says whether this
    /// range decays.
    ///
    /// # Panics
    /// If the lengths differ or `step` is 0.
    #[track_caller]
    pub fn update<T: Real>(
        &self,
        cx: &mut Context<T>,
        p: &mut [T],
        m: &mut [T],
        v: &mut [T],
        g: &[T],
        scale: f64,
        step: u64,
        decay: bool,
    ) {
        assert!(
            p.len() == g.len() && m.len() == g.len() && v.len() == g.len(),
            "{} parameters, {} and {} moments, {} gradients",
            p.len(),
            m.len(),
            v.len(),
            g.len()
        );
        assert!(step > 0, "steps count from 1");
        let power = i32::try_from(step).unwrap_or(i32::MAX);
        let correction1 = 1.0 - libm::pow(self.beta1, f64::from(power));
        let correction2 = 1.0 - libm::pow(self.beta2, f64::from(power));
        let factors = Factors {
            scale: T::from_f64(scale),
            beta1: T::from_f64(self.beta1),
            one_minus_beta1: T::from_f64(1.0 - self.beta1),
            beta2: T::from_f64(self.beta2),
            one_minus_beta2: T::from_f64(1.0 - self.beta2),
            step_size: T::from_f64(self.lr / correction1),
            root_correction: T::from_f64(1.0 / correction2.sqrt()),
            epsilon: T::from_f64(self.epsilon),
            keep: T::from_f64(if decay { 1.0 - self.lr * self.weight_decay } else { 1.0 }),
        };
        let isa = cx.isa();
        let parts = (chunks(p, ELEMENTS), chunks(m, ELEMENTS), chunks(v, ELEMENTS));
        cx.for_each(parts, |index, (p, m, v)| {
            update(isa, p, m, v, &g[index * ELEMENTS..], factors);
        });
    }
}

dispatch! {
    fn update<T>(p: &mut [T], m: &mut [T], v: &mut [T], g: &[T], factors: Factors<T>) = update_body;
}

#[inline(always)]
fn update_body<T: Real>(p: &mut [T], m: &mut [T], v: &mut [T], g: &[T], f: Factors<T>) {
    for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * f.scale;
        *m = f.beta1.mul_add(*m, f.one_minus_beta1 * g);
        *v = f.beta2.mul_add(*v, f.one_minus_beta2 * (g * g));
        let root = v.sqrt().mul_add(f.root_correction, f.epsilon);
        *p = p.mul_add(f.keep, -(f.step_size * *m / root));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn five_steps_follow_the_definition() {
        let n = 300;
        let options = AdamW { lr: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        let cx = &mut Context::solo();
        let mut p = random::<f64>(1, (1, n)).into_raw_vec_and_offset().0;
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let (mut want, mut wm, mut wv) = (p.clone(), m.clone(), v.clone());
        for step in 1..=5u64 {
            let g = random::<f64>(10 + step, (1, n)).into_raw_vec_and_offset().0;
            options.update(cx, &mut p, &mut m, &mut v, &g, 0.5, step, true);
            for i in 0..n {
                let g = g[i] * 0.5;
                wm[i] = 0.9 * wm[i] + 0.1 * g;
                wv[i] = 0.95 * wv[i] + 0.05 * g * g;
                let m_hat = wm[i] / (1.0 - 0.9f64.powi(step as i32));
                let v_hat = wv[i] / (1.0 - 0.95f64.powi(step as i32));
                want[i] -= 3e-3 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.1 * want[i]);
                assert!((p[i] - want[i]).abs() < 1e-12, "step {step}, element {i}: {} {}", p[i], want[i]);
            }
        }
    }
}

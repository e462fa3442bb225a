//! Residual connection: out = x + y. Its backward is the identity to both, so there is none to write.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::isa::dispatch;
use crate::{Context, Real};

/// Elements a task of an element-wise kernel takes.
pub(crate) const ELEMENTS: usize = 16 * 1024;

/// out (N, C) = x + y.
///
/// # Panics
/// If the shapes differ or a view is not contiguous.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    mut out: ArrayViewMut2<'_, T>,
    x: ArrayView2<'_, T>,
    y: ArrayView2<'_, T>,
) {
    assert!(
        out.dim() == x.dim() && x.dim() == y.dim(),
        "residual of {:?} and {:?} into {:?}",
        x.dim(),
        y.dim(),
        out.dim()
    );
    let (x, y) = (x.to_slice().expect("contiguous x"), y.to_slice().expect("contiguous y"));
    let isa = cx.isa();
    let out = out.as_slice_mut().expect("contiguous out");
    cx.for_each(selvedge_sync::chunks(out, ELEMENTS), |index, out| {
        let at = index * ELEMENTS;
        sum(isa, out, &x[at..], &y[at..]);
    });
}

dispatch! {
    fn sum<T>(out: &mut [T], x: &[T], y: &[T]) = sum_body;
}

#[inline(always)]
fn sum_body<T: Real>(out: &mut [T], x: &[T], y: &[T]) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = x + y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn adds() {
        let (x, y) = (random::<f32>(1, (3, 50)), random(2, (3, 50)));
        let mut out = random(3, (3, 50));
        forward(&mut Context::solo(), out.view_mut(), x.view(), y.view());
        assert_eq!(out, &x + &y);
    }
}

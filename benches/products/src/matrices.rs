//! The operands and outputs of one shape, as they lie for each layout.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::Shape;
use crate::candidate::Layout;

/// A and B as they lie and transposed, and one C for all.
#[derive(Debug)]
pub(crate) struct Matrices {
    /// (M, K)
    a: Array2<f32>,
    /// (K, M)
    a_t: Array2<f32>,
    /// (K, N)
    b: Array2<f32>,
    /// (N, K)
    b_t: Array2<f32>,
    /// (M, N)
    c: Array2<f32>,
}

impl Matrices {
    /// Operands of numbers from -1 to 1; C is zero.
    pub(crate) fn new(Shape { m, k, n }: Shape) -> Self {
        let mut state = 1_u64;
        let mut draw = |_| {
            // Knuth's MMIX generator: its high bits are good enough for data that only has to be unlike itself.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let a = Array2::from_shape_fn((m, k), &mut draw);
        let b = Array2::from_shape_fn((k, n), &mut draw);
        let turned = |matrix: &Array2<f32>| matrix.t().as_standard_layout().into_owned();
        Self { a_t: turned(&a), b_t: turned(&b), a, b, c: Array2::zeros((m, n)) }
    }

    /// A (M, K), B (K, N) and C (M, N) as views with the strides of the layout.
    pub(crate) fn views(
        &mut self,
        layout: Layout,
    ) -> (ArrayView2<'_, f32>, ArrayView2<'_, f32>, ArrayViewMut2<'_, f32>) {
        let a = if layout == Layout::Tn { self.a_t.t() } else { self.a.view() };
        let b = if layout == Layout::Nt { self.b_t.t() } else { self.b.view() };
        (a, b, self.c.view_mut())
    }

    pub(crate) fn output(&mut self) -> &mut Array2<f32> {
        &mut self.c
    }
}

//! Whose products are measured, and how each is called.
#![expect(unsafe_code, reason = "the crate `gemm` takes pointers and strides")]

use std::time::Instant;

use anyhow::ensure;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use gemm::Parallelism;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Init, Isa, Precision, Quantized, product};
use serde::Serialize;

use crate::Dtype;
use crate::matrices::Matrices;

/// Whose product it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Who {
    Selvedge,
    Gemm,
    Faer,
    Matrixmultiply,
}

/// How operands lie, and what happens to C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// C = A·B, both row-major.
    Nn,
    /// C = A·B with B stored transposed, as a forward pass has it.
    Nt,
    /// C += A·B with A stored transposed, as the gradient of a weight has it.
    Tn,
}

impl Layout {
    pub(crate) const ALL: [Self; 3] = [Self::Nn, Self::Nt, Self::Tn];
}

/// All that compute products of one dtype, with their threads.
#[derive(Debug)]
pub(crate) struct Candidates {
    threads: usize,
    dtype: Dtype,
    context: Context,
    /// B of the shape that was proved last, where its weights are coded.
    weights: Option<Quantized>,
}

impl Candidates {
    pub(crate) fn new(threads: usize, dtype: Dtype) -> anyhow::Result<Self> {
        let precision = if dtype == Dtype::Bf16 { Precision::Bf16 } else { Precision::F32 };
        let context = Context::new(Team::new(threads)?, Isa::detect()).with_precision(precision);
        Ok(Self { threads, dtype, context, weights: None })
    }

    /// Who has products of this dtype.
    pub(crate) fn who(&self) -> &'static [Who] {
        match self.dtype {
            Dtype::F32 => &[Who::Selvedge, Who::Gemm, Who::Faer, Who::Matrixmultiply],
            _ => &[Who::Selvedge],
        }
    }

    /// Coded weights lie in a way of their own, whose operands are those of a forward pass.
    pub(crate) fn layouts(&self) -> &'static [Layout] {
        if self.dtype.form().is_some() { &[Layout::Nt] } else { &Layout::ALL }
    }

    pub(crate) fn team(&self) -> &Team {
        self.context.team()
    }

    /// Computes the product once.
    pub(crate) fn run(&mut self, who: Who, layout: Layout, matrices: &mut Matrices) {
        let adds = layout == Layout::Tn;
        let (a, b, c) = matrices.views(layout);
        match who {
            Who::Selvedge => {
                let init = if adds { Init::Accumulate } else { Init::Zero };
                match &self.weights {
                    Some(weights) => product(&mut self.context, c, init, a, weights),
                    None => product(&mut self.context, c, init, a, b),
                }
            }
            Who::Gemm => gemm_product(c, adds, a, b, self.threads),
            Who::Faer => {
                let accum = if adds { Accum::Add } else { Accum::Replace };
                let par = if self.threads == 1 { Par::Seq } else { Par::rayon(self.threads) };
                matmul(faer_mut(c), accum, faer_ref(a), faer_ref(b), 1.0, par);
            }
            Who::Matrixmultiply => {
                let mut c = c;
                general_mat_mul(1.0, &a, &b, if adds { 1.0 } else { 0.0 }, &mut c);
            }
        }
    }

    /// Computes the product once into a C of zeros and compares it with ndarray's: a peer called with wrong strides would
    /// be measured at something else. Gives the seconds it took.
    ///
    /// # Errors
    /// If it is another product.
    pub(crate) fn prove(&mut self, who: Who, layout: Layout, matrices: &mut Matrices) -> anyhow::Result<f64> {
        matrices.output().fill(0.0);
        self.run(Who::Matrixmultiply, Layout::Nn, matrices);
        let expected: Array2<f32> = matrices.output().clone();
        matrices.output().fill(0.0);
        let weight = matrices.views(Layout::Nt).1;
        self.weights = self.dtype.form().map(|form| Quantized::of(&self.context, form, weight.t()));
        let began = Instant::now();
        self.run(who, layout, matrices);
        let seconds = began.elapsed().as_secs_f64();
        // Some six standard deviations of what rounding adds to a sum of K products.
        let depth = matrices.views(layout).0.ncols() as f32;
        let most = depth.sqrt()
            * match self.dtype {
                Dtype::F32 => 1e-4,
                Dtype::Bf16 | Dtype::Q8_0 => 0.02,
                Dtype::Q6K => 0.05,
                Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q5K => 0.1,
                Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q4K => 0.2,
            };
        let pairs = expected.iter().zip(matrices.output().iter());
        let off = pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        ensure!(off <= most, "{who:?} {layout:?} is off by {off}, more than {most}: called wrongly?");
        Ok(seconds)
    }
}

fn gemm_product(
    mut c: ArrayViewMut2<'_, f32>,
    adds: bool,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    threads: usize,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert!(b.nrows() == k && c.dim() == (m, n), "shapes of a product");
    let (sa, sb, sc) = ([a.strides()[0], a.strides()[1]], b.strides(), [c.strides()[0], c.strides()[1]]);
    let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
    // SAFETY: pointers, sizes and strides are those of three views, one of them exclusive, whose shapes fit.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            sc[1],
            sc[0],
            adds,
            a.as_ptr(),
            sa[1],
            sa[0],
            b.as_ptr(),
            sb[1],
            sb[0],
            // C's factor, then the product's.
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The same matrix, whichever of its sides lies adjacent.
fn faer_ref(view: ArrayView2<'_, f32>) -> MatRef<'_, f32> {
    let (rows, cols) = view.dim();
    match view.to_slice() {
        Some(data) => MatRef::from_row_major_slice(data, rows, cols),
        None => {
            let data = view.reversed_axes().to_slice().expect("row-major or transposed");
            MatRef::from_row_major_slice(data, cols, rows).transpose()
        }
    }
}

fn faer_mut(view: ArrayViewMut2<'_, f32>) -> MatMut<'_, f32> {
    let (rows, cols) = view.dim();
    MatMut::from_row_major_slice_mut(view.into_slice().expect("row-major"), rows, cols)
}

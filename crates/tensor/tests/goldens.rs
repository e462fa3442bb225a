//! Kernels against PyTorch, in f64 and in f32; `goldens/make.py` says how the file was made.
//!
//! Stored in f32, so f64 kernels differ by half a unit in the last place of the numbers, f32 kernels by their
//! own roundings as well.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use ndarray::{Array1, Array2};
use safetensors::SafeTensors;
use selvedge_tensor::{Context, Real, attention, gelu, layernorm, rmsnorm, rope, swiglu};

struct Goldens(Vec<u8>);

impl Goldens {
    fn read() -> Self {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/kernels.safetensors");
        Goldens(std::fs::read(path).unwrap())
    }

    /// A tensor with all dimensions but the first `rows` flattened into columns.
    fn get<T: Real>(&self, name: &str, rows: usize) -> Array2<T> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let first: usize = tensor.shape()[..rows].iter().product();
        let values = tensor.data().chunks_exact(4);
        let values: Vec<T> =
            values.map(|b| T::from_f64(f64::from(f32::from_le_bytes(b.try_into().unwrap())))).collect();
        Array2::from_shape_vec((first, values.len() / first.max(1)), values).unwrap()
    }

    fn vector<T: Real>(&self, name: &str) -> Array1<T> {
        Array1::from_iter(self.get(name, 0).iter().copied())
    }
}

/// Fails where an element is off by more than `tolerance` of the row's largest magnitude: rows differ in
/// scale by orders of magnitude (a constant row has gradients of a thousand), and errors go with the row.
#[track_caller]
fn close<T: Real>(what: &str, got: &Array2<T>, want: &Array2<T>, tolerance: f64) {
    assert_eq!(got.dim(), want.dim(), "{what}");
    for (row, (got, want)) in got.outer_iter().zip(want.outer_iter()).enumerate() {
        let largest = want.iter().map(|x| x.to_f64().abs()).fold(1e-3, f64::max);
        for (g, w) in got.iter().zip(want) {
            let off = (g.to_f64() - w.to_f64()).abs() / largest;
            assert!(off < tolerance, "{what}, row {row}: {g} against {w}, off by {off:.2e}");
        }
    }
}

/// Matrices side by side, row-major.
fn beside<T: Real>(parts: &[Array2<T>]) -> Array2<T> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(ndarray::Axis(1), &views).unwrap().as_standard_layout().into_owned()
}

fn check_all<T: Real>(tolerance: f64) {
    let (g, cx) = (Goldens::read(), &mut Context::<T>::solo());
    let zeros = |shape| Array2::from_elem(shape, T::ZERO);

    let x: Array2<T> = g.get("layer_norm.x", 1);
    let (w, b) = (g.vector("layer_norm.weight"), g.vector("layer_norm.bias"));
    let (mut y, mut dx, mut dw, mut db) = (zeros(x.dim()), zeros(x.dim()), zeros((1, 37)), zeros((1, 37)));
    let (mut mean, mut rstd) = (vec![T::ZERO; x.nrows()], vec![T::ZERO; x.nrows()]);
    layernorm::forward(cx, y.view_mut(), &mut mean, &mut rstd, x.view(), w.view(), b.view(), 1e-5);
    close("layer_norm", &y, &g.get("layer_norm.out", 1), tolerance);
    let dy: Array2<T> = g.get("layer_norm.grad.out", 1);
    let (dw1, db1) = (dw.row_mut(0), db.row_mut(0));
    layernorm::backward(cx, dx.view_mut(), dw1, db1, dy.view(), x.view(), w.view(), &mean, &rstd);
    close("layer_norm dx", &dx, &g.get("layer_norm.grad.x", 1), tolerance);
    close("layer_norm dw", &dw, &g.get("layer_norm.grad.weight", 0), tolerance);
    close("layer_norm db", &db, &g.get("layer_norm.grad.bias", 0), tolerance);

    let x: Array2<T> = g.get("rms_norm.x", 1);
    let w = g.vector("rms_norm.weight");
    let (mut y, mut dx, mut dw) = (zeros(x.dim()), zeros(x.dim()), zeros((1, 37)));
    rmsnorm::forward(cx, y.view_mut(), &mut rstd, x.view(), w.view(), 1e-5);
    close("rms_norm", &y, &g.get("rms_norm.out", 1), tolerance);
    let dy: Array2<T> = g.get("rms_norm.grad.out", 1);
    rmsnorm::backward(cx, dx.view_mut(), dw.row_mut(0), dy.view(), x.view(), w.view(), &rstd);
    close("rms_norm dx", &dx, &g.get("rms_norm.grad.x", 1), tolerance);
    close("rms_norm dw", &dw, &g.get("rms_norm.grad.weight", 0), tolerance);

    for (name, form) in [("gelu_tanh", gelu::Form::Tanh), ("gelu", gelu::Form::Exact)] {
        let x: Array2<T> = g.get(&format!("{name}.x"), 0);
        let mut y = zeros(x.dim());
        gelu::forward(cx, y.view_mut(), x.view(), form);
        close(name, &y, &g.get(&format!("{name}.out"), 0), tolerance);
        let mut dx: Array2<T> = g.get(&format!("{name}.grad.out"), 0);
        gelu::backward(cx, dx.view_mut(), x.view(), form);
        close(name, &dx, &g.get(&format!("{name}.grad.x"), 0), tolerance);
    }

    let side = |a: &str, b: &str| beside(&[g.get(a, 1), g.get(b, 1)]);
    let x = side("swiglu.gate", "swiglu.up");
    let mut y = zeros((7, 19));
    swiglu::forward(cx, y.view_mut(), x.view());
    close("swiglu", &y, &g.get("swiglu.out", 1), tolerance);
    let (mut dx, dy) = (zeros(x.dim()), g.get("swiglu.grad.out", 1));
    swiglu::backward(cx, dx.view_mut(), dy.view(), x.view());
    close("swiglu dx", &dx, &side("swiglu.grad.gate", "swiglu.grad.up"), tolerance);

    let shape = attention::Shape { batch: 2, time: 9, heads: 4, kv_heads: 2, head_size: 8 };
    let qkv = |prefix: &str| -> Array2<T> {
        let parts: Vec<Array2<T>> =
            ["q", "k", "v"].iter().map(|x| g.get(&format!("{prefix}{x}"), 2)).collect();
        beside(&parts)
    };
    let x = qkv("attention.");
    let (mut out, mut lse) = (zeros((18, 32)), vec![T::ZERO; 72]);
    attention::forward(cx, out.view_mut(), &mut lse, x.view(), &shape);
    close("attention", &out, &g.get("attention.out", 2), tolerance);
    let (mut dx, dout) = (zeros(x.dim()), g.get("attention.grad.out", 2));
    attention::backward(cx, dx.view_mut(), dout.view(), out.view(), &lse, x.view(), &shape);
    close("attention dqkv", &dx, &qkv("attention.grad."), tolerance);

    let table = rope::Table::new(9, 10, 10_000.0);
    let mut x: Array2<T> = g.get("rope.x", 2);
    rope::forward(cx, x.view_mut(), &table, 9, 0);
    close("rope", &x, &g.get("rope.out", 2), tolerance);
    let mut dx: Array2<T> = g.get("rope.grad.out", 2);
    rope::backward(cx, dx.view_mut(), &table, 9, 0);
    close("rope dx", &dx, &g.get("rope.grad.x", 2), tolerance);
}

#[test]
fn kernels_agree_with_pytorch_in_f64() {
    check_all::<f64>(1e-6);
}

#[test]
fn kernels_agree_with_pytorch_in_f32() {
    check_all::<f32>(3e-6);
}

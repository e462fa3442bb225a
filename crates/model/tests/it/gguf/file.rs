//! Mapped files.

use std::path::Path;

use selvedge_model::gguf::{Error, File, Metadata, Problem, Type, Writer};
use selvedge_tensor::quantized::Form;

use super::{beside, small, spec};

fn written(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.gguf"), bytes).unwrap();
    dir
}

fn open(dir: &tempfile::TempDir) -> Result<File, Error> {
    File::open(dir.path().join("m.gguf"))
}

#[test]
fn tensors_are_found_by_name() {
    let dir = written(&small());
    let file = open(&dir).unwrap();
    let tensor = file.tensor("b.weight").unwrap();
    assert_eq!(
        (tensor.name(), tensor.shape(), tensor.element_type()),
        ("b.weight", &[1, 2, 2][..], Type::BF16)
    );
    assert_eq!((tensor.rows(), tensor.columns(), tensor.bytes().unwrap().len()), (2, 2, 8));
    let mut out = [0.0; 4];
    tensor.dequantize(&mut out).unwrap();
    assert_eq!(out, [-1.0, -0.875, -0.75, -0.625]);
    assert!(file.tensor("d.weight").is_none());
    let names: Vec<_> = file.tensors().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["norm", "a.weight", "b.weight", "c.weight"]);
}

#[test]
fn a_tensor_of_blocks_becomes_weights_as_it_is() {
    let (rows, columns) = (35, 64);
    let types = [
        (Type::Q8_0, Form::Q8_0),
        (Type::Q4_0, Form::Q4_0),
        (Type::Q4_1, Form::Q4_1),
        (Type::Q5_0, Form::Q5_0),
        (Type::Q5_1, Form::Q5_1),
    ];
    let tensors = types.iter().map(|(t, _)| spec(&t.to_string(), &[rows, columns], *t)).collect();
    let mut writer = Writer::new(Vec::new(), &Metadata::new(), tensors).unwrap();
    let rng = selvedge_model::CounterRng::new(5, 1);
    let values: Vec<f32> =
        (0..(rows * columns) as u64).map(|i| (rng.at(i) % 1000) as f32 / 500.0 - 1.0).collect();
    types.iter().for_each(|_| writer.put(&values).unwrap());
    let dir = written(&writer.finish().unwrap());
    let file = open(&dir).unwrap();
    for (element_type, form) in types {
        let tensor = file.tensor(&element_type.to_string()).unwrap();
        let weights = tensor.quantized().unwrap();
        assert_eq!((weights.form(), weights.outputs(), weights.inputs()), (form, rows, columns));
        let mut want = vec![0.0; rows * columns];
        tensor.dequantize(&mut want).unwrap();
        assert_eq!(weights.weights().into_raw_vec_and_offset().0, want);
    }
}

#[test]
fn a_tensor_of_numbers_has_no_blocks() {
    let dir = written(&small());
    assert!(open(&dir).unwrap().tensor("norm").unwrap().quantized().is_none());
}

#[test]
fn errors_name_the_file() {
    let path = Path::new("/nonexistent-folder/m.gguf");
    assert!(matches!(File::open(path), Err(Error::Io { path: p, .. }) if p == path));
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(File::open(dir.path()), Err(Error::Io { path, .. }) if path == dir.path()));
    for len in [0, 3, 30] {
        let dir = written(&small()[..len]);
        let Err(Error::Format { path, source }) = open(&dir) else { panic!("{len} bytes are no file") };
        assert_eq!(path, dir.path().join("m.gguf"));
        assert!(matches!(source.problem, Problem::Truncated { .. } | Problem::Count { .. }), "{source}");
    }
}

#[test]
fn an_unknown_type_is_an_error_that_names_file_tensor_and_type() {
    let file = File::open(beside("corpus/gguf/unknown_type.gguf")).unwrap();
    let tensor = file.tensor("t").unwrap();
    for error in [tensor.bytes().unwrap_err(), tensor.dequantize(&mut [0.0; 4]).unwrap_err()] {
        let Error::Unsupported { path, tensor, source } = &error else { panic!("{error}") };
        assert_eq!(
            (path, tensor.as_str(), source.0),
            (&beside("corpus/gguf/unknown_type.gguf"), "t", Type::from_id(99))
        );
    }
    assert!(tensor.quantized().is_none());
}

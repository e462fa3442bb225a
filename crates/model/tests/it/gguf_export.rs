//! Models written as GGUF files: tensor for tensor what was written down apart from the code, and the logits of the model
//! they were made of.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selvedge_model::gguf::{self, Export, ExportError, Metadata, Model, Type, Value, retype};
use selvedge_model::hf::{self, Dtype, Folder, Generation};
use selvedge_model::{Activation, Arch, Config, RopeScaling, Slot, Storage, Weights, initialize};
use selvedge_tensor::Context;

use crate::gguf_model::{CASES, folder, logits, tensors};

type Failure = Box<dyn std::error::Error>;

/// Reads weights out of a flat buffer.
fn lend<'a>(params: &'a [f32]) -> impl FnMut(&Slot, &mut [f32]) -> Result<(), Failure> + 'a {
    |slot, to| {
        to.copy_from_slice(&params[slot.span.range()]);
        Ok(())
    }
}

fn export(config: &Config, params: &[f32], kind: Type) -> Result<(tempfile::TempDir, PathBuf), Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.gguf");
    let more = Metadata::new();
    Export::new(config, kind, more)?.write(File::create(&path)?, lend(params))?;
    Ok((folder, path))
}

/// The logits of a file, and of the parameters it was made of.
fn both(path: &Path, config: &Config, params: &[f32]) -> [Vec<f32>; 2] {
    let cx = &mut Context::solo();
    let model = Model::open(path).unwrap();
    let held = model.weights(cx).unwrap();
    let from_file = logits(cx, model.config(), held, 20);
    let layout = selvedge_model::layout(config).unwrap();
    let packed = Weights::pack(cx, config, &layout, params, Storage::Packed);
    [from_file, logits(cx, config, packed, 20)]
}

#[test]
fn files_have_the_tensors_and_the_logits_of_the_folder_they_were_made_of() {
    for (name, family) in CASES.into_iter().chain([("llama3", "llama")]) {
        let folder = folder(name);
        let params = folder.load();
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("model.gguf");
        let export = Export::new(folder.config(), Type::F32, Metadata::new()).unwrap();
        let read = |slot: &Slot, to: &mut [f32]| -> Result<(), Failure> {
            folder.read(slot, to);
            Ok(())
        };
        export.write(File::create(&path).unwrap(), read).unwrap();
        let file = gguf::File::open(&path).unwrap();
        assert_eq!(file.header().metadata().string("general.architecture").unwrap(), family);
        let expected = tensors(family, &folder, &params);
        for (tensor, rows, columns, values) in &expected {
            let found = file.tensor(tensor).unwrap_or_else(|| panic!("{name} has no {tensor}"));
            assert_eq!((found.rows(), found.columns()), (*rows, *columns), "{tensor} of {name}");
            let mut got = vec![0.0; values.len()];
            found.dequantize(&mut got).unwrap();
            assert_eq!(&got, values, "{tensor} of {name}");
        }
        let table = usize::from(name == "llama3");
        assert_eq!(file.tensors().len(), expected.len() + table, "{name}");
        let model = Model::open(&path).unwrap();
        assert_eq!(model.config(), folder.config(), "{name}");
        assert_eq!(model.load().unwrap(), params, "{name}");
        let [got, want] = both(&path, folder.config(), &params);
        assert_eq!(got, want, "{name}");
    }
}

fn small() -> Config {
    Config { kv_heads: 2, tied: false, ..Config::llama(61, 64, 2, 4, 32) }
}

#[test]
fn stretched_positions_come_back() {
    let yarn = |attention_factor| RopeScaling::Yarn {
        factor: 4.0,
        attention_factor,
        beta_fast: 16.0,
        beta_slow: 2.0,
        truncate: true,
        original_context: 16,
    };
    let usual = 0.1 * 4f64.ln() + 1.0;
    for scaling in [
        RopeScaling::Linear { factor: 2.5 },
        RopeScaling::Table { factors: vec![1.0, 3.0, 2.0, 7.5] },
        yarn(usual),
        yarn(1.25),
    ] {
        let config = Config { rope_scaling: Some(scaling.clone()), ..small() };
        let params = initialize::<f32>(&selvedge_model::layout(&config).unwrap(), 3);
        let (_kept, path) = export(&config, &params, Type::F32).unwrap();
        let model = Model::open(&path).unwrap();
        match (&scaling, model.config().rope_scaling.as_ref().unwrap()) {
            (
                RopeScaling::Yarn { attention_factor: want, .. },
                RopeScaling::Yarn { attention_factor: got, .. },
            ) => assert!((got - want).abs() < 1e-6, "{got} instead of {want}"),
            (want, got) => assert_eq!(got, want),
        }
        let [got, want] = both(&path, &config, &params);
        let off = got.iter().zip(&want).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(off < 1e-5, "{scaling:?} is off by {off}");
        let plain = Config { rope_scaling: None, ..config.clone() };
        let [_, other] = both(&path, &plain, &params);
        assert_ne!(got, other, "{scaling:?} changes nothing");
    }
}

#[test]
fn yarn_is_read_as_llama_cpp_computes_it() {
    let config = small();
    let params = initialize::<f32>(&selvedge_model::layout(&config).unwrap(), 3);
    let read = |changes: &[(&str, Value)]| {
        let mut more = Metadata::new();
        changes.iter().for_each(|(key, value)| drop(more.insert(format!("llama.rope.{key}"), value.clone())));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let export = Export::new(&config, Type::F32, more).unwrap();
        export.write(File::create(&path).unwrap(), lend(&params)).unwrap();
        Model::open(&path).map(|model| model.config().rope_scaling.clone().unwrap())
    };
    let kind = ("scaling.type", Value::String("yarn".into()));
    let factor = ("scaling.factor", Value::F32(8.0));
    let (fast, slow, truncate) = (32.0, 1.0, true);
    let want = |attention_factor, original_context| RopeScaling::Yarn {
        factor: 8.0,
        attention_factor,
        beta_fast: fast,
        beta_slow: slow,
        truncate,
        original_context,
    };
    let usual = 0.1 * 8f64.ln() + 1.0;
    let both = [kind.clone(), factor.clone()];
    assert_eq!(read(&both).unwrap(), want(usual, 64), "all positions are original where a file does not say");
    let original = ("scaling.original_context_length", Value::U32(16));
    let given = ("scaling.attn_factor", Value::F32(0.5));
    assert_eq!(read(&[kind.clone(), factor.clone(), original, given]).unwrap(), want(usual * 0.5, 16));
    for (key, value) in [
        ("scaling.yarn_ext_factor", 0.5),
        ("scaling.yarn_log_multiplier", 0.1),
        ("scaling.yarn_attn_factor", 1.0),
        ("scaling.alpha", 2.0),
        ("scaling.factor", -1.0),
    ] {
        let error = read(&[kind.clone(), factor.clone(), (key, Value::F32(value))]).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(key) || text.contains("rope_scaling.factor"), "{text}");
    }
}

#[test]
fn matrices_are_written_in_the_type_and_the_rest_as_llama_cpp_has_it() {
    // Rows of 32 and of 44: the latter are no whole blocks.
    let config = Config { hidden: 44, ..small() };
    let params = initialize::<f32>(&selvedge_model::layout(&config).unwrap(), 5);
    for kind in [Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0, Type::Q4_1] {
        let (_kept, path) = export(&config, &params, kind).unwrap();
        let file = gguf::File::open(&path).unwrap();
        let of = |name: &str| file.tensor(name).unwrap().element_type();
        assert_eq!(of("token_embd.weight"), kind);
        assert_eq!(of("blk.1.attn_q.weight"), kind);
        assert_eq!(of("blk.1.attn_norm.weight"), Type::F32);
        let ragged = if kind == Type::BF16 { kind } else { Type::F16 };
        assert_eq!(of("blk.0.ffn_down.weight"), ragged);
        let near = Model::open(&path).unwrap().load().unwrap();
        let steps = if matches!(kind, Type::Q4_0 | Type::Q4_1) { 8.0 } else { 127.0 };
        for (a, b) in near.iter().zip(&params) {
            assert!((a - b).abs() <= 0.1 / steps + b.abs() / 100.0, "{a} instead of {b} in {kind}");
        }
        // Once more into the same type: the same bytes; into another: the same keys but for the type's.
        let copy = |kind| {
            let mut sizes = Vec::new();
            let bytes = retype(&file, kind, Vec::new(), |size| -> Result<(), Failure> {
                sizes.push(size);
                Ok(())
            });
            assert_eq!(sizes.len(), file.tensors().len());
            bytes.unwrap()
        };
        assert_eq!(copy(kind), std::fs::read(&path).unwrap());
        let other = gguf::Header::parse(&copy(Type::Q8_0)).unwrap();
        assert_eq!(other.tensor("token_embd.weight").unwrap().element_type(), Type::Q8_0);
        assert_eq!(other.tensor("blk.1.attn_norm.weight").unwrap().element_type(), Type::F32);
        let key = |metadata: &Metadata| metadata.u32("general.file_type").unwrap();
        assert_eq!(key(other.metadata()), 7);
        assert_eq!(other.metadata().len(), file.header().metadata().len());
    }
    // A table of positions is looked up, not multiplied.
    let config = Config::gpt2(61, 16, 1, 2, 32);
    let params = initialize::<f32>(&selvedge_model::layout(&config).unwrap(), 5);
    let (_kept, path) = export(&config, &params, Type::Q8_0).unwrap();
    let file = gguf::File::open(&path).unwrap();
    assert_eq!(file.tensor("position_embd.weight").unwrap().element_type(), Type::F32);
    assert_eq!(Model::open(&path).unwrap().config(), &config);
}

#[test]
fn what_cannot_be_written_is_named() {
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        attention_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: false,
        original_context: 16,
    };
    let table = RopeScaling::Table { factors: vec![1.0, 3.0, 2.0, 7.5] };
    for (config, named) in [
        (Config { activation: Activation::Gelu, ..Config::gpt2(61, 16, 1, 2, 32) }, "GELU"),
        (Config { qkv_bias: true, qk_norm: true, ..small() }, "biases"),
        (Config { rope_scaling: Some(yarn), ..small() }, "YaRN"),
        (Config { qkv_bias: true, rope_scaling: Some(table.clone()), ..small() }, "table"),
    ] {
        let error = Export::new(&config, Type::F32, Metadata::new()).unwrap_err();
        assert!(matches!(error, ExportError::NotWritable { what } if what.contains(named)), "{error}");
    }
    let config = Config { rope_scaling: Some(table), ..small() };
    let params = initialize::<f32>(&selvedge_model::layout(&config).unwrap(), 3);
    let folder = tempfile::tempdir().unwrap();
    let error = hf::save(folder.path(), &config, &params, Dtype::F32, &Generation::default()).unwrap_err();
    assert!(matches!(error, hf::Error::NotSavable { what } if what.contains("table")), "{error}");
}

#[test]
fn numbers_beyond_a_type_and_a_full_disk_are_errors() {
    let config = small();
    let layout = selvedge_model::layout(&config).unwrap();
    let slot = layout.slots().iter().find(|slot| slot.name == "block.1.qkv.weight").unwrap();
    for (value, kinds) in
        [(1e5, &[Type::F16, Type::Q8_0][..]), (f32::NAN, &[Type::Q4_0]), (f32::INFINITY, &[Type::Q4_1])]
    {
        let mut params = initialize::<f32>(&layout, 3);
        params[slot.span.range().end - 1] = value;
        for &kind in kinds {
            let error = export(&config, &params, kind).unwrap_err().to_string();
            assert!(error.contains("blk.1.attn_v.weight") && error.contains(&kind.to_string()), "{error}");
        }
        export(&config, &params, Type::F32).unwrap();
        export(&config, &params, Type::BF16).unwrap();
    }
    /// Takes so many bytes.
    #[derive(Debug)]
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let params = initialize::<f32>(&layout, 3);
    for room in [0, 100, 5000, 20_000] {
        let export = Export::new(&config, Type::F32, Metadata::new()).unwrap();
        export.write(Full(room), lend(&params)).unwrap_err();
    }
}

#[test]
fn a_folder_whose_weights_cannot_be_read_stays_as_it_was() {
    let config = Config { arch: Arch::Llama, ..small() };
    let params = initialize::<f32>(&selvedge_model::layout(&config).unwrap(), 3);
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    hf::save(path, &config, &params, Dtype::BF16, &Generation::default()).unwrap();
    let before = std::fs::read(path.join("model.safetensors")).unwrap();
    let mut left = 3;
    let read = |slot: &Slot, to: &mut [f32]| -> Result<(), Failure> {
        to.copy_from_slice(&params[slot.span.range()]);
        left -= 1;
        if left == 0 { Err("a disk that fails".into()) } else { Ok(()) }
    };
    let error = hf::save_from(path, &config, Dtype::F32, &Generation::default(), read).unwrap_err();
    assert_eq!(error.to_string(), "a disk that fails");
    assert_eq!(std::fs::read(path.join("model.safetensors")).unwrap(), before);
    let names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(Folder::open(path).unwrap().dtype(), Dtype::BF16);
}

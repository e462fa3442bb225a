//! GGUF files as models: the weights of folders of transformers, written as such files, give the same logits; quantized
//! ones give the same bits for any split of the text; and what is no model is refused by name.

use std::fs::File;
use std::path::{Path, PathBuf};

use selvedge_model::gguf::{Error, Metadata, Model, TensorSpec, Type, Value, Writer, dequantize, quantize};
use selvedge_model::hf::Folder;
use selvedge_model::{Arch, Config, Generator, RopeScaling, Storage, Weights, build};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa};

/// A tensor in the order of the file: name, rows, columns, elements. A vector has one row.
pub(crate) type Tensor = (String, usize, usize, Vec<f32>);

pub(crate) fn folder(name: &str) -> Folder {
    Folder::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hf").join(name)).unwrap()
}

/// Rows of queries or keys as files of `llama` have them: elements half a head apart side by side.
fn paired(rows: &[f32], columns: usize, head: usize) -> Vec<f32> {
    let row = |row: usize| {
        let (first, at) = (row / head * head, row % head);
        let from = first + at / 2 + at % 2 * (head / 2);
        &rows[from * columns..][..columns]
    };
    (0..rows.len() / columns).flat_map(row).copied().collect()
}

/// The tensors of a model, by the names of GGUF, written down apart from the code that reads them.
pub(crate) fn tensors(family: &str, folder: &Folder, params: &[f32]) -> Vec<Tensor> {
    let config = folder.config();
    let (c, head) = (config.channels, config.head_size());
    let (q, kv) = (config.heads * head, config.kv_heads * head);
    let mut all = Vec::new();
    for slot in folder.layout().slots() {
        let values = &params[slot.span.range()];
        let mut add = |name: String, rows: usize, columns: usize, values: Vec<f32>| {
            assert_eq!(values.len(), rows * columns, "{name}");
            all.push((name, rows, columns, values));
        };
        let name = slot.name.strip_prefix("block.").map_or(slot.name.clone(), |rest| format!("blk.{rest}"));
        let (rows, columns) = (slot.span.rows, slot.span.cols);
        if config.arch == Arch::Llama && name.contains(".qkv.") {
            let width = if slot.decay { c } else { 1 };
            let (qs, rest) = values.split_at(q * width);
            let (ks, vs) = rest.split_at(kv * width);
            let turn =
                |rows: &[f32]| if family == "llama" { paired(rows, width, head) } else { rows.to_vec() };
            let parts = [("attn_q.", q, turn(qs)), ("attn_k.", kv, turn(ks)), ("attn_v.", kv, vs.to_vec())];
            for (part, rows, values) in parts {
                let (rows, columns) = if slot.decay { (rows, c) } else { (1, rows) };
                add(name.replace("qkv.", part), rows, columns, values);
            }
        } else if name.ends_with("gate_up.weight") {
            let (gate, up) = values.split_at(values.len() / 2);
            add(name.replace("gate_up", "ffn_gate"), rows / 2, columns, gate.to_vec());
            add(name.replace("gate_up", "ffn_up"), rows / 2, columns, up.to_vec());
        } else {
            let name = match name.as_str() {
                "token_embedding" => "token_embd.weight".to_owned(),
                "position_embedding" => "position_embd.weight".to_owned(),
                "head.weight" => "output.weight".to_owned(),
                other => other
                    .replace("norm_f", "output_norm")
                    .replace("norm_1", "attn_norm")
                    .replace("norm_2", "ffn_norm")
                    .replace("attn_out.", "attn_output.")
                    .replace("mlp_down", "ffn_down")
                    .replace("mlp_up", "ffn_up")
                    .replace(".qkv", ".attn_qkv")
                    .replace(".q_norm", ".attn_q_norm")
                    .replace(".k_norm", ".attn_k_norm"),
            };
            add(name, rows, columns, values.to_vec());
        }
    }
    all
}

pub(crate) fn metadata(family: &str, config: &Config) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String(family.into()));
    let sizes = [
        ("context_length", config.context),
        ("embedding_length", config.channels),
        ("block_count", config.layers),
        ("feed_forward_length", config.hidden),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_size()),
        ("attention.value_length", config.head_size()),
    ];
    for (key, value) in sizes {
        metadata.insert(format!("{family}.{key}"), Value::U32(value as u32));
    }
    let eps = if family == "gpt2" { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
    metadata.insert(format!("{family}.attention.{eps}"), Value::F32(config.norm_eps as f32));
    metadata.insert(format!("{family}.rope.freq_base"), Value::F32(config.rope_theta as f32));
    metadata
}

/// Writes a file; matrices are of what type `kind` says, vectors F32. Gives the path too.
pub(crate) fn write(
    metadata: &Metadata,
    tensors: &[Tensor],
    kind: impl Fn(&str) -> Type,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let spec = |(name, rows, columns, _): &Tensor| {
        let element_type = if *rows > 1 { kind(name) } else { Type::F32 };
        let shape = if *rows > 1 { vec![*rows, *columns] } else { vec![*columns] };
        TensorSpec { name: name.clone(), shape, element_type }
    };
    let specs = tensors.iter().map(spec).collect();
    let mut writer = Writer::new(File::create(&path).unwrap(), metadata, specs).unwrap();
    tensors.iter().for_each(|(.., values)| writer.put(values).unwrap());
    writer.finish().unwrap();
    (folder, path)
}

/// The logits after a text of 20 tokens, in steps of `step`.
pub(crate) fn logits(cx: &mut Context, config: &Config, weights: Weights<'_, f32>, step: usize) -> Vec<f32> {
    let model = build::<f32>(config.clone()).unwrap();
    let mut generator = Generator::with_weights(cx, &*model, weights);
    let tokens: Vec<u32> = (0..20).map(|i| (i * 7 % config.vocab) as u32).collect();
    tokens.chunks(step).for_each(|tokens| {
        generator.feed(cx, tokens).unwrap();
    });
    generator.feed(cx, &[1]).unwrap().to_vec()
}

pub(crate) const CASES: [(&str, &str); 6] = [
    ("gpt2", "gpt2"),
    ("llama_untied", "llama"),
    ("smollm2", "llama"),
    ("mistral", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
];

#[test]
fn a_file_of_f32_gives_the_bits_of_the_folder_it_was_made_of() {
    for (name, family) in CASES {
        let folder = folder(name);
        let params = folder.load();
        let (_kept, path) =
            write(&metadata(family, folder.config()), &tensors(family, &folder, &params), |_| Type::F32);
        let model = Model::open(&path).unwrap();
        // One of the folders has positions scaled as files of GGUF are not read with.
        let config = Config { rope_scaling: None, ..folder.config().clone() };
        assert_eq!(*model.config(), config, "{name}");
        assert_eq!(model.load().unwrap(), params, "{name}");
        let cx = &mut Context::solo();
        let held = model.weights(cx).unwrap();
        let from_file = logits(cx, model.config(), held, 20);
        let packed = Weights::pack(cx, &config, folder.layout(), &params, Storage::Packed);
        assert_eq!(from_file, logits(cx, &config, packed, 20), "{name}");
    }
}

/// Parameters changed and written come back in a file of the same keys, whatever the types were.
#[test]
fn a_file_is_rewritten_with_other_parameters() {
    for (name, family) in CASES {
        let folder = folder(name);
        let params = folder.load();
        let all = tensors(family, &folder, &params);
        let quantizes = all.iter().all(|(_, rows, columns, _)| *rows == 1 || columns % 32 == 0);
        let kind = |name: &str| if name.contains("ffn") && quantizes { Type::Q8_0 } else { Type::F16 };
        let (kept, path) = write(&metadata(family, folder.config()), &all, kind);
        let model = Model::open(&path).unwrap();
        let mut changed = model.load().unwrap();
        for slot in model.layout().slots() {
            changed[slot.span.range()].iter_mut().enumerate().for_each(|(at, x)| *x += at as f32);
        }
        let other = kept.path().join("other.gguf");
        model.rewrite(File::create(&other).unwrap(), &changed).unwrap();
        let read = Model::open(&other).unwrap();
        assert_eq!((read.load().unwrap(), read.config()), (changed, model.config()), "{name}");
        assert_eq!(read.file().header().metadata().u32("general.file_type").unwrap(), 0);
    }
}

#[test]
fn quantized_files_are_computed_with_as_they_are_however_the_text_is_cut() {
    for (name, family) in CASES {
        let folder = folder(name);
        // Values of one part are of another type than the queries and keys beside them.
        let kind = |name: &str| if name.contains("attn_v") { Type::Q4_0 } else { Type::Q8_0 };
        let all = tensors(family, &folder, &folder.load());
        if all.iter().any(|(_, rows, columns, _)| *rows > 1 && columns % 32 > 0) {
            continue;
        }
        let (_kept, path) = write(&metadata(family, folder.config()), &all, kind);
        let model = Model::open(&path).unwrap();
        let run = |isa: Isa, threads: usize, step: usize| {
            let cx = &mut Context::new(Team::new(threads).unwrap(), isa);
            let held = model.weights(cx).unwrap();
            logits(cx, model.config(), held, step)
        };
        let want = run(Isa::detect(), 1, 20);
        for (isa, threads, step) in [(Isa::detect(), 3, 1), (Isa::scalar(), 1, 7)] {
            assert_eq!(run(isa, threads, step), want, "{name} on {isa}, {step} tokens a step");
        }
        // Near the same file through f32: only the rounding of rows to 8 bits differs.
        let cx = &mut Context::solo();
        let params = model.load().unwrap();
        let packed = Weights::pack(cx, model.config(), model.layout(), &params, Storage::Packed);
        let exact = logits(cx, model.config(), packed, 20);
        let size = exact.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let off = exact.iter().zip(&want).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / size;
        assert!(off > 0.0 && off < 0.05, "{name} is off by {off}");
    }
}

#[test]
fn what_is_no_model_of_its_keys_is_refused_by_name() {
    let folder = folder("smollm2");
    let all = tensors("llama", &folder, &folder.load());
    let keys = || metadata("llama", folder.config());
    let open = |keys: &Metadata, all: &[Tensor]| {
        let (_kept, path) = write(keys, all, |_| Type::F32);
        Model::open(path).unwrap_err()
    };
    for missing in ["token_embd.weight", "blk.1.attn_k.weight", "output_norm.weight"] {
        let rest: Vec<_> = all.iter().filter(|tensor| tensor.0 != missing).cloned().collect();
        let error = open(&keys(), &rest);
        assert!(matches!(error, Error::MissingTensor { ref name, .. } if name == missing), "{error}");
    }
    let mut more = all.clone();
    more.push(("blk.0.attn_q.bias".into(), 1, 4, vec![0.0; 4]));
    assert!(matches!(open(&keys(), &more), Error::ExtraTensor { name, .. } if name == "blk.0.attn_q.bias"));
    // Half a head has another number of elements.
    *more.last_mut().unwrap() = ("rope_freqs.weight".into(), 1, 7, vec![1.0; 7]);
    assert!(matches!(open(&keys(), &more), Error::Shape { name, .. } if name == "rope_freqs.weight"));
    *more.last_mut().unwrap() = ("rope_freqs.weight".into(), 1, 3, vec![1.0, 0.0, 2.0]);
    assert!(matches!(open(&keys(), &more), Error::Model { .. } | Error::Shape { .. }));

    let change = |key: &str, value: Value| {
        let mut keys = keys();
        keys.insert(key, value);
        open(&keys, &all)
    };
    let all_heads = folder.config().heads as u32;
    let heads = change("llama.attention.head_count_kv", Value::U32(all_heads));
    assert!(matches!(heads, Error::Shape { ref name, .. } if name.contains("attn_k")), "{heads}");
    for (key, value) in [
        ("general.architecture", Value::String("mamba".into())),
        ("llama.rope.scaling.type", Value::String("longrope".into())),
        ("llama.rope.dimension_count", Value::U32(2)),
        ("llama.rope.scaling.attn_factor", Value::F32(2.0)),
    ] {
        assert!(matches!(change(key, value), Error::Setting { .. }), "{key}");
    }
    for value in [0, u32::MAX] {
        for key in ["context_length", "embedding_length", "block_count", "attention.head_count"] {
            let key = format!("llama.{key}");
            // A longer context is cut.
            if value == 0 || key != "llama.context_length" {
                change(&key, Value::U32(value));
            }
        }
    }
}

#[test]
fn contexts_and_scales_are_those_that_are_exact() {
    let folder = folder("smollm2");
    let all = tensors("llama", &folder, &folder.load());
    let config = |changes: &[(&str, Value)]| {
        let mut keys = metadata("llama", folder.config());
        changes.iter().for_each(|(key, value)| drop(keys.insert(format!("llama.{key}"), value.clone())));
        let (_kept, path) = write(&keys, &all, |_| Type::F32);
        Model::open(path).unwrap().config().clone()
    };
    assert_eq!(config(&[("context_length", Value::U32(u32::MAX))]).context, selvedge_model::LONGEST_CONTEXT);
    assert_eq!(config(&[("attention.sliding_window", Value::U32(7))]).context, 7);
    // Files that do not say how positions are scaled scale them linearly.
    let twice = Some(RopeScaling::Linear { factor: 2.0 });
    assert_eq!(config(&[("rope.scaling.factor", Value::F32(2.0))]).rope_scaling, twice);
    assert_eq!(config(&[("rope.scale_linear", Value::F32(2.0))]).rope_scaling, twice);
    let none =
        [("rope.scaling.type", Value::String("none".into())), ("rope.scaling.factor", Value::F32(2.0))];
    assert_eq!(config(&none).rope_scaling, None);
    assert_eq!(config(&[("rope.scaling.type", Value::String("linear".into()))]).rope_scaling, None);
}

#[test]
fn a_matrix_of_one_column_is_told_from_a_vector() {
    let config = Config { hidden: 1, ..Config::llama(40, 16, 1, 2, 32) };
    let layout = selvedge_model::layout(&config).unwrap();
    let mut all: Vec<Tensor> = Vec::new();
    for (name, rows, columns) in [
        ("token_embd", 40, 32),
        ("blk.0.attn_q", 32, 32),
        ("blk.0.attn_k", 32, 32),
        ("blk.0.attn_v", 32, 32),
        ("blk.0.attn_output", 32, 32),
        ("blk.0.ffn_down", 32, 1),
        ("blk.0.attn_norm", 1, 32),
        ("blk.0.ffn_norm", 1, 32),
        ("output_norm", 1, 32),
    ] {
        all.push((format!("{name}.weight"), rows, columns, vec![0.5; rows * columns]));
    }
    // Matrices of one row, which have two dimensions all the same.
    let thin = ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"];
    let open = |all: &[Tensor], down: (Vec<usize>, Type)| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let spec = |(name, rows, columns, _): &Tensor| {
            let shape = if *rows > 1 { vec![*rows, *columns] } else { vec![*columns] };
            let (shape, element_type) =
                if name.contains("ffn_down") { down.clone() } else { (shape, Type::F32) };
            TensorSpec { name: name.clone(), shape, element_type }
        };
        let row = |name: &&str| TensorSpec {
            name: (*name).to_owned(),
            shape: vec![1, 32],
            element_type: Type::F32,
        };
        let specs = all.iter().map(spec).chain(thin.iter().map(row)).collect();
        let mut writer =
            Writer::new(File::create(&path).unwrap(), &metadata("llama", &config), specs).unwrap();
        all.iter().for_each(|(.., values)| writer.put(values).unwrap());
        thin.iter().for_each(|_| writer.put(&[0.5; 32]).unwrap());
        writer.finish().unwrap();
        let model = Model::open(&path)?;
        model.weights(&mut Context::solo()).map(|_| model.load().unwrap().len())
    };
    assert_eq!(open(&all, (vec![32, 1], Type::F32)).unwrap(), layout.len());
    for element_type in [Type::F32, Type::Q8_0] {
        let error = open(&all, (vec![32], element_type)).unwrap_err();
        assert!(matches!(error, Error::Shape { ref name, .. } if name.contains("ffn_down")), "{error}");
    }
}

#[test]
fn a_shorter_context_takes_the_first_positions() {
    let folder = folder("gpt2");
    let params = folder.load();
    let (_kept, path) =
        write(&metadata("gpt2", folder.config()), &tensors("gpt2", &folder, &params), |_| Type::F32);
    let (whole, short) = (Model::open(&path).unwrap(), Model::open(&path).unwrap().with_context(24));
    assert_eq!(short.config().context, 24);
    let cx = &mut Context::solo();
    let [whole, short] = [whole, short].map(|model| {
        let held = model.weights(cx).unwrap();
        logits(cx, model.config(), held, 5)
    });
    assert_eq!(whole, short);
}

#[test]
fn rows_of_quantized_tables_are_what_their_codes_stand_for() {
    let values: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut bytes = Vec::new();
    quantize(Type::Q8_0, &values, &mut bytes).unwrap();
    let mut lying = vec![0.0; 64];
    dequantize(Type::Q8_0, &bytes, &mut lying).unwrap();
    let table = selvedge_tensor::Quantized::of(
        &Context::<f32>::solo(),
        selvedge_tensor::quantized::Form::Q8_0,
        ndarray::ArrayView2::from_shape((2, 32), &values).unwrap(),
    );
    assert_eq!(table.row(1).collect::<Vec<_>>(), lying[32..]);
}

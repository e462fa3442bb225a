//! Models as GGUF files that llama.cpp loads: what they are and their weights, one weight in memory at a time.

use std::io::Write;

use super::sources::{Source, of};
use super::{File, Metadata, TensorSpec, Type, Value, WriteError, Writer, scaling};
use crate::layout::{Layout, Slot};
use crate::{Activation, Arch, Config, layout};

/// The key that says of which type most of the matrices are.
pub(super) const FILE_TYPE: &str = "general.file_type";

/// Why a model cannot be written as a GGUF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// No family of GGUF files computes this configuration.
    #[error("no GGUF file has {what}; convert to a Hugging Face folder instead")]
    NotWritable {
        /// What none has.
        what: &'static str,
    },
    /// A parameter is too large for the type, or no number.
    #[error("tensor {tensor:?} holds {value}, which {element_type} cannot; write it as BF16 or F32")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The parameter.
        value: f32,
        /// The type.
        element_type: Type,
    },
    /// The configuration makes no model.
    #[error(transparent)]
    Model(#[from] crate::Error),
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The tensors of the other file could not be read.
    #[error(transparent)]
    Read(#[from] super::Error),
}

/// A file of a model, planned: keys and tensors, no weights yet. [`Export::write`] writes it.
#[derive(Debug)]
pub struct Export {
    layout: Layout,
    metadata: Metadata,
    /// For each weight of the layout the tensors that it is written as.
    sources: Vec<Vec<Source>>,
    specs: Vec<TensorSpec>,
    table: Option<Vec<f32>>,
}

impl Export {
    /// Plans the file of a model with matrices of a type; one whose rows are not whole blocks becomes F16, and vectors and
    /// positions stay F32, as llama.cpp has them. `more` are further keys, such as the vocabulary.
    ///
    /// # Errors
    /// [`ExportError::Model`], and [`ExportError::NotWritable`] for what no family of files has.
    pub fn new(config: &Config, element_type: Type, more: Metadata) -> Result<Self, ExportError> {
        let layout = layout(config)?;
        let not = |what| ExportError::NotWritable { what };
        let family = family(config).map_err(not)?;
        let mut metadata = keys(family, config).map_err(not)?;
        let table = scaling::write(&mut metadata, family, config).map_err(not)?;
        metadata.insert(FILE_TYPE, Value::U32(file_type(element_type)));
        metadata.insert("general.quantization_version", Value::U32(2));
        more.iter().for_each(|(key, value)| drop(metadata.insert(key, value.clone())));
        let sources: Vec<_> = layout.slots().iter().map(|slot| of(config, family == "llama", slot)).collect();
        let spec = |source: &Source| {
            let shape = if source.is_vector { vec![source.rows] } else { vec![source.rows, source.columns] };
            let element_type = if source.is_vector || source.may_have_more {
                Type::F32
            } else {
                fitting(element_type, source.columns)
            };
            TensorSpec { name: source.name.clone(), shape, element_type }
        };
        let mut specs: Vec<_> = sources.iter().flatten().map(spec).collect();
        if let Some(table) = &table {
            let name = scaling::TABLE.to_owned();
            specs.push(TensorSpec { name, shape: vec![table.len()], element_type: Type::F32 });
        }
        Ok(Self { layout, metadata, sources, specs, table })
    }

    /// Where the weights that are asked for lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes the file. `read` fills in one weight of the layout after the other; the largest of them is all that is held.
    ///
    /// # Errors
    /// Those of `read`; [`ExportError::Write`], and [`ExportError::Overflow`] for numbers that the type does not have.
    pub fn write<W: Write, E: From<ExportError>>(
        self,
        out: W,
        mut read: impl FnMut(&Slot, &mut [f32]) -> Result<(), E>,
    ) -> Result<W, E> {
        let kinds: Vec<Type> = self.specs.iter().map(|spec| spec.element_type).collect();
        let mut kinds = kinds.into_iter();
        let failed = |error: WriteError| E::from(error.into());
        let mut writer = Writer::new(out, &self.metadata, self.specs).map_err(failed)?;
        let mut values = Vec::new();
        for (slot, sources) in self.layout.slots().iter().zip(&self.sources) {
            values.clear();
            values.resize(slot.span.len(), 0.0);
            read(slot, &mut values)?;
            let mut rest = values.as_slice();
            for source in sources {
                let (part, after) = rest.split_at(source.rows * source.columns);
                rest = after;
                check(&source.name, kinds.next().unwrap_or(Type::F32), part).map_err(E::from)?;
                match source.paired {
                    Some(_) => {
                        let mut lying = vec![0.0; part.len()];
                        source.lay(part, &mut lying);
                        writer.put(&lying).map_err(failed)?;
                    }
                    None => writer.put(part).map_err(failed)?,
                }
            }
        }
        if let Some(table) = &self.table {
            writer.put(table).map_err(failed)?;
        }
        writer.finish().map_err(failed)
    }
}

/// Writes a copy of a file, its matrices in another type (see [`Export::new`]). `next` is called before each tensor with its
/// number of bytes.
///
/// # Errors
/// [`ExportError::Read`] for tensors of types that are not read, [`ExportError::Write`], [`ExportError::Overflow`], and
/// those of `next`.
pub fn retype<W: Write, E: From<ExportError>>(
    file: &File,
    element_type: Type,
    out: W,
    mut next: impl FnMut(usize) -> Result<(), E>,
) -> Result<W, E> {
    let kind = |info: &super::TensorInfo| match info.name() {
        _ if info.shape().len() < 2 => info.element_type(),
        "position_embd.weight" => info.element_type(),
        _ => fitting(element_type, info.columns()),
    };
    let infos = file.header().tensors();
    let spec = |info: &super::TensorInfo| TensorSpec {
        name: info.name().to_owned(),
        shape: info.shape().to_vec(),
        element_type: kind(info),
    };
    let mut metadata = file.header().metadata().clone();
    metadata.insert(FILE_TYPE, Value::U32(file_type(element_type)));
    metadata.insert("general.quantization_version", Value::U32(2));
    let failed = |error: WriteError| E::from(error.into());
    let broken = |error: super::Error| E::from(error.into());
    let mut writer = Writer::new(out, &metadata, infos.iter().map(spec).collect()).map_err(failed)?;
    let mut values = Vec::new();
    for (info, tensor) in infos.iter().zip(file.tensors()) {
        let bytes = tensor.bytes().map_err(broken)?;
        next(bytes.len())?;
        if kind(info) == info.element_type() {
            writer.put_bytes(bytes).map_err(failed)?;
            continue;
        }
        values.clear();
        values.resize(info.elements(), 0.0);
        tensor.dequantize(&mut values).map_err(broken)?;
        check(info.name(), kind(info), &values).map_err(E::from)?;
        writer.put(&values).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// The family of files that computes a configuration.
fn family(config: &Config) -> Result<&'static str, &'static str> {
    match (config.arch, config.qkv_bias, config.qk_norm) {
        (Arch::Gpt2, ..) if config.activation == Activation::Gelu => Err("GELU by erf"),
        (Arch::Gpt2, ..) => Ok("gpt2"),
        (Arch::Llama, false, false) => Ok("llama"),
        (Arch::Llama, true, false) => Ok("qwen2"),
        (Arch::Llama, false, true) => Ok("qwen3"),
        (Arch::Llama, true, true) => Err("both biases of q, k and v and norms of their heads"),
    }
}

/// The keys of a shape.
fn keys(family: &str, config: &Config) -> Result<Metadata, &'static str> {
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value: Value| drop(metadata.insert(key, value));
    set("general.architecture", Value::String(family.to_owned()));
    set("general.type", Value::String("model".to_owned()));
    let gpt2 = config.arch == Arch::Gpt2;
    let eps = if gpt2 { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
    let sizes = [
        ("vocab_size", config.vocab),
        ("context_length", config.context),
        ("embedding_length", config.channels),
        ("block_count", config.layers),
        ("feed_forward_length", config.hidden),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
    ];
    let turned = [
        ("attention.key_length", config.head_size()),
        ("attention.value_length", config.head_size()),
        ("rope.dimension_count", config.head_size()),
    ];
    let turned = if gpt2 { &[][..] } else { &turned[..] };
    for &(field, size) in sizes.iter().chain(turned) {
        let size = u32::try_from(size).map_err(|_| "a size beyond 32 bits")?;
        set(&format!("{family}.{field}"), Value::U32(size));
    }
    set(&format!("{family}.{eps}"), Value::F32(config.norm_eps as f32));
    if !gpt2 {
        set(&format!("{family}.rope.freq_base"), Value::F32(config.rope_theta as f32));
    }
    Ok(metadata)
}

/// The type, or F16 where its blocks do not divide a row.
fn fitting(element_type: Type, columns: usize) -> Type {
    let divides = element_type.block().is_some_and(|block| columns.is_multiple_of(block.elements));
    if divides { element_type } else { Type::F16 }
}

/// The number of `general.file_type` for files whose matrices are mostly of a type; 1024, a guess, for others.
pub(super) fn file_type(element_type: Type) -> u32 {
    match element_type {
        Type::F32 => 0,
        Type::F16 => 1,
        Type::Q4_0 => 2,
        Type::Q4_1 => 3,
        Type::Q8_0 => 7,
        Type::Q5_0 => 8,
        Type::Q5_1 => 9,
        Type::BF16 => 32,
        _ => 1024,
    }
}

/// Types with a scale of f16 hold nothing beyond it, and blocks nothing that is no number.
fn check(tensor: &str, element_type: Type, values: &[f32]) -> Result<(), ExportError> {
    let is_block = element_type.block().is_some_and(|block| block.elements > 1);
    let bad = |x: f32| match element_type {
        Type::F32 | Type::BF16 => false,
        _ if is_block => !x.is_finite() || half::f16::from_f32(x).is_infinite(),
        _ => x.is_finite() && half::f16::from_f32(x).is_infinite(),
    };
    match values.iter().find(|&&x| bad(x)) {
        Some(&value) => Err(ExportError::Overflow { tensor: tensor.to_owned(), value, element_type }),
        None => Ok(()),
    }
}

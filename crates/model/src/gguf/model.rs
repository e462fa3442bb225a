//! A GGUF file as a model: what its keys say of the shape, and its tensors as weights.

use std::collections::HashSet;
use std::path::Path;

use ndarray::ArrayView2;
use selvedge_tensor::{Context, Packed, Quantized};

use super::sources::{Source, of};
use super::{Error, File, Tensor, blocks, settings};
use crate::held::{Held, Numbers, Part, Weights, is_table};
use crate::layout::{Layout, Slot};
use crate::{Config, architecture, layout};

/// A model in a mapped file: GPT-2, or of the Llama family (`llama`, which Mistral and SmolLM2 are too, `qwen2`, `qwen3`).
///
/// # The file must stay as it is while it is mapped
/// As for [`File`].
#[derive(Debug)]
pub struct Model {
    file: File,
    config: Config,
    layout: Layout,
    paired: bool,
}

impl Model {
    /// Maps a file, and checks that every tensor of the model is there, in its shape and a type that can be used, and no
    /// other. Of the tensors nothing is read.
    ///
    /// # Errors
    /// Those of [`File::open`]; and one for a key that is missing or says something that is not computed here, and for a
    /// tensor that is missing, too many, or of another shape.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = File::open(path)?;
        let (config, paired) = settings::read(&file)?;
        let layout = layout(&config).map_err(Error::model(file.path()))?;
        let model = Model { file, config, layout, paired };
        model.check()?;
        Ok(model)
    }

    /// The same with room for fewer positions, which saves the memory of the cache. More than the file says are not given.
    #[must_use]
    pub fn with_context(mut self, context: usize) -> Self {
        let config = Config { context: self.config.context.min(context.max(1)), ..self.config.clone() };
        if let Ok(layout) = layout(&config) {
            (self.config, self.layout) = (config, layout);
        }
        self
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where [`Model::load`] puts each weight.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All weights as f32, laid out as by [`Model::layout`].
    ///
    /// # Errors
    /// None that [`Model::open`] would not have had.
    pub fn load(&self) -> Result<Vec<f32>, Error> {
        let mut params = vec![0.0; self.layout.len()];
        for slot in self.layout.slots() {
            let mut rest = &mut params[slot.span.range()];
            for source in self.sources(slot) {
                let (part, after) = rest.split_at_mut(source.rows * source.columns);
                part.copy_from_slice(&self.numbers(&source)?);
                rest = after;
            }
        }
        Ok(params)
    }

    /// All weights for generation. Those that are quantized stay so, with the bits of the file; others are packed in the
    /// precision of the context.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn weights(&self, cx: &mut Context) -> Result<Weights<'static, f32>, Error> {
        let slots = self.layout.slots().iter();
        Ok(Weights(slots.map(|slot| self.hold(cx, slot)).collect::<Result<_, _>>()?, None))
    }

    /// All weights for a frozen base of a fine-tuning. Those that are quantized stay so, with the bits of the file, where all
    /// tensors of a weight are; others are f32.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn frozen(&self) -> Result<Weights<'static, f32>, Error> {
        let slots = self.layout.slots().iter();
        Ok(Weights(slots.map(|slot| self.hold_frozen(slot)).collect::<Result<_, _>>()?, None))
    }

    fn hold_frozen(&self, slot: &Slot) -> Result<Held<'static, f32>, Error> {
        let sources = self.sources(slot);
        let is_quantized = sources.iter().all(|source| self.form(source).is_some());
        if !is_quantized || !architecture::is_product(slot, self.config.tied) {
            return Ok(Held { parts: Vec::new(), numbers: Some(Numbers::Own(self.all(&sources)?)) });
        }
        let same = |a: &Source, b: &Source| self.form(a) == self.form(b);
        let groups = sources.chunk_by(same).map(|group| Ok(Part::Quantized(self.quantized(group)?)));
        Ok(Held { parts: groups.collect::<Result<_, Error>>()?, numbers: None })
    }

    fn hold(&self, cx: &mut Context, slot: &Slot) -> Result<Held<'static, f32>, Error> {
        let sources = self.sources(slot);
        // Tokens are looked up in quantized weights as well.
        let is_quantized_table = slot.name == "token_embedding" && self.form(&sources[0]).is_some();
        if !slot.decay || is_table(slot) && !is_quantized_table {
            let numbers = self.all(&sources)?;
            let is_product = architecture::is_product(slot, self.config.tied);
            let parts = is_product.then(|| packed(cx, &numbers, slot.span.cols)).into_iter().collect();
            return Ok(Held { parts, numbers: Some(Numbers::Own(numbers)) });
        }
        let (mut parts, mut rest) = (Vec::new(), sources.as_slice());
        while let Some(first) = rest.first() {
            let form = self.form(first);
            let count = rest.iter().take_while(|source| self.form(source) == form).count();
            let (group, after) = rest.split_at(count);
            parts.push(match form {
                Some(_) => Part::Quantized(self.quantized(group)?),
                None => packed(cx, &self.all(group)?, slot.span.cols),
            });
            rest = after;
        }
        Ok(Held { parts, numbers: None })
    }

    pub(super) fn sources(&self, slot: &Slot) -> Vec<Source> {
        of(&self.config, self.paired, slot)
    }

    fn tensor(&self, source: &Source) -> Result<Tensor<'_>, Error> {
        self.file.tensor(&source.name).ok_or_else(|| Error::MissingTensor {
            path: self.file.path().to_owned(),
            name: source.name.clone(),
        })
    }

    fn form(&self, source: &Source) -> Option<selvedge_tensor::quantized::Form> {
        self.file.tensor(&source.name).and_then(|tensor| blocks::form(tensor.element_type()))
    }

    /// The elements of a tensor, in the order of rows here.
    fn numbers(&self, source: &Source) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(source)?;
        let mut lying = vec![0.0; tensor.rows() * tensor.columns()];
        tensor.dequantize(&mut lying)?;
        lying.truncate(source.rows * source.columns);
        if source.paired.is_none() {
            return Ok(lying);
        }
        let rows = (0..source.rows).map(|row| &lying[source.row(row) * source.columns..][..source.columns]);
        Ok(rows.flatten().copied().collect())
    }

    /// Tensors of one form as one weight, rows after rows.
    fn quantized(&self, sources: &[Source]) -> Result<Quantized, Error> {
        let tensors = sources.iter().map(|source| self.tensor(source)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::new();
        for (source, tensor) in sources.iter().zip(&tensors) {
            let (bytes, each) = (tensor.bytes()?, tensor.bytes()?.len() / tensor.rows());
            rows.extend((0..source.rows).map(|row| &bytes[source.row(row) * each..][..each]));
        }
        let of = blocks::rows(tensors[0].element_type(), sources[0].columns, &rows);
        Ok(of.expect("a type that has a form, as the caller has looked"))
    }

    /// The elements of tensors, one after another.
    fn all(&self, sources: &[Source]) -> Result<Vec<f32>, Error> {
        let mut numbers = Vec::with_capacity(sources.iter().map(|source| source.rows * source.columns).sum());
        for source in sources {
            numbers.extend(self.numbers(source)?);
        }
        Ok(numbers)
    }

    fn check(&self) -> Result<(), Error> {
        let path = || self.file.path().to_owned();
        let mut used = HashSet::new();
        for source in self.layout.slots().iter().flat_map(|slot| self.sources(slot)) {
            let tensor = self.tensor(&source)?;
            let is_vector = source.is_vector;
            let found =
                if is_vector { (tensor.columns(), tensor.rows()) } else { (tensor.rows(), tensor.columns()) };
            let fits = found.1 == source.columns
                && (found.0 == source.rows || source.may_have_more && found.0 > source.rows);
            if !fits {
                let expected = if is_vector { vec![source.rows] } else { vec![source.rows, source.columns] };
                let found = tensor.shape().to_vec();
                return Err(Error::Shape { path: path(), name: source.name, found, expected });
            }
            tensor.check()?;
            used.insert(source.name);
        }
        match self.file.tensors().find(|tensor| !used.contains(tensor.name())) {
            Some(tensor) => Err(Error::ExtraTensor { path: path(), name: tensor.name().to_owned() }),
            None => Ok(()),
        }
    }
}

/// Rows as one weight, packed.
fn packed(cx: &mut Context, numbers: &[f32], columns: usize) -> Part<f32> {
    let weight = ArrayView2::from_shape((numbers.len() / columns, columns), numbers);
    Part::Packed(Packed::new(cx, weight.expect("whole rows").reversed_axes()))
}

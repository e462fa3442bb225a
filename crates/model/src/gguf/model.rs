//! A GGUF file as a model: what its keys say of the shape, and its tensors as weights.

mod frozen;
mod generation;

use std::path::Path;

use selvedge_tensor::{Context, Quantized};

use super::sources::{Source, of};
use super::{Error, File, Tensor, blocks, scaling, settings};
use crate::layout::{Layout, Slot};
use crate::{Config, RopeScaling, layout};

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
    /// For each weight of the layout the tensors that it is made of.
    found: Vec<Vec<Found>>,
}

/// A tensor of a weight.
#[derive(Debug)]
struct Found {
    source: Source,
    /// Its place in the file's list.
    place: usize,
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
        let mut model = Model { file, config, layout, paired, found: Vec::new() };
        model.found = model.find()?;
        Ok(model)
    }

    /// The same with room for fewer positions, which saves the memory of the cache. More than the file says are not given.
    #[must_use]
    pub fn with_context(mut self, context: usize) -> Self {
        let config = Config { context: self.config.context.min(context.max(1)), ..self.config.clone() };
        if let Ok(layout) = layout(&config) {
            let sources = layout.slots().iter().map(|slot| of(&config, self.paired, slot));
            for (found, sources) in self.found.iter_mut().zip(sources) {
                found.iter_mut().zip(sources).for_each(|(found, source)| found.source = source);
            }
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
        for (slot, found) in self.layout.slots().iter().zip(&self.found) {
            self.fill(found, &mut params[slot.span.range()])?;
        }
        Ok(params)
    }

    /// One weight of [`Model::layout`] as f32.
    ///
    /// # Errors
    /// As [`Model::load`].
    ///
    /// # Panics
    /// If `slot` is none of the layout, or `to` has another length than the weight.
    pub fn read(&self, slot: &Slot, to: &mut [f32]) -> Result<(), Error> {
        let at = self.layout.slots().iter().position(|own| own.span.offset == slot.span.offset);
        assert_eq!(to.len(), slot.span.len(), "the elements of {}", slot.name);
        self.fill(&self.found[at.expect("a weight of this layout")], to)
    }

    fn fill(&self, found: &[Found], to: &mut [f32]) -> Result<(), Error> {
        let mut rest = to;
        for found in found {
            let (part, after) = rest.split_at_mut(found.source.rows * found.source.columns);
            part.copy_from_slice(&self.numbers(found)?);
            rest = after;
        }
        Ok(())
    }

    fn tensor(&self, found: &Found) -> Tensor<'_> {
        self.file.tensor_at(found.place)
    }

    /// The tensors of the weight at a place of the layout.
    pub(super) fn sources(&self, slot: usize) -> impl Iterator<Item = &Source> {
        self.found[slot].iter().map(|found| &found.source)
    }

    fn form(&self, found: &Found) -> Option<selvedge_tensor::quantized::Form> {
        blocks::form(self.tensor(found).element_type())
    }

    /// The elements of a tensor, in the order of rows here.
    fn numbers(&self, found: &Found) -> Result<Vec<f32>, Error> {
        let (source, tensor) = (&found.source, self.tensor(found));
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
    fn quantized(&self, cx: &Context, found: &[Found]) -> Result<Quantized, Error> {
        let (of, columns) = (self.tensor(&found[0]).element_type(), found[0].source.columns);
        let weights = blocks::rows(cx, of, columns, &self.rows(found)?);
        Ok(weights.expect("a type that has a form, as the caller has looked"))
    }

    /// The bytes of each row of tensors, in the order of rows here.
    fn rows(&self, found: &[Found]) -> Result<Vec<&[u8]>, Error> {
        let mut rows = Vec::new();
        for found in found {
            let (source, tensor) = (&found.source, self.tensor(found));
            let (bytes, each) = (tensor.bytes()?, tensor.bytes()?.len() / tensor.rows());
            rows.extend((0..source.rows).map(|row| &bytes[source.row(row) * each..][..each]));
        }
        Ok(rows)
    }

    /// The elements of tensors, one after another.
    fn all(&self, found: &[Found]) -> Result<Vec<f32>, Error> {
        let elements = found.iter().map(|found| found.source.rows * found.source.columns);
        let mut numbers = Vec::with_capacity(elements.sum());
        for found in found {
            numbers.extend(self.numbers(found)?);
        }
        Ok(numbers)
    }

    /// Finds the tensors of every weight, and makes sure that there is no other.
    fn find(&self) -> Result<Vec<Vec<Found>>, Error> {
        let mut used = vec![false; self.file.tensors().len()];
        if let Some(RopeScaling::Llama3 { .. } | RopeScaling::Table { .. }) = self.config.rope_scaling
            && let Some(place) = self.file.header().place(scaling::TABLE)
        {
            used[place] = true;
        }
        let mut find = |source: Source| {
            let path = || self.file.path().to_owned();
            let Some(place) = self.file.header().place(&source.name) else {
                return Err(Error::MissingTensor { path: path(), name: source.name });
            };
            let tensor = self.file.tensor_at(place);
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
            used[place] = true;
            Ok(Found { source, place })
        };
        let of = |slot: &Slot| of(&self.config, self.paired, slot).into_iter();
        let slots = self.layout.slots().iter();
        let found = slots.map(|slot| of(slot).map(&mut find).collect()).collect::<Result<_, _>>()?;
        match self.file.tensors().zip(used).find(|(_, used)| !used) {
            Some((tensor, _)) => {
                Err(Error::ExtraTensor { path: self.file.path().to_owned(), name: tensor.name().to_owned() })
            }
            None => Ok(found),
        }
    }
}

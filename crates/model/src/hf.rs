//! Folders of models as Hugging Face's transformers writes them: `config.json`, weights in safetensors, and
//! `generation_config.json`.
//!
//! GPT-2, Llama (1 to 3, SmolLM2 and others), Mistral, Qwen2 and Qwen3 are read; [`save`] writes them.

mod config;
mod dtype;
mod error;
mod family;
mod fields;
mod frozen;
mod generation;
pub(crate) mod names;
mod save;
pub(crate) mod shard;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;

pub use config::read_config;
pub use dtype::Dtype;
pub use error::Error;
pub use family::Family;
use fields::Fields;
pub use generation::Generation;
use names::Part;
pub use save::{save, save_from};
pub use shard::{Shard, ShardTensor, open_shards};

use crate::{Config, Layout, Slot};

/// Longest `config.json` and `generation_config.json`.
const LONGEST_CONFIG: u64 = 1 << 20;

/// A folder whose files fit each other: every tensor the configuration asks for is there, in its shape, and no other.
///
/// # The files must stay as they are while it lives
/// They are memory-mapped. Shortening a mapped file makes the next read of it a bus error that no program can catch.
/// Programs that fetch models, and [`save`], write another file and move it into place, which is safe.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    family: Family,
    config: Config,
    generation: Generation,
    layout: Layout,
    shards: Vec<Shard>,
    /// Every tensor of the model: where it goes, and the file it is in.
    sources: Vec<(Part, usize)>,
}

impl Folder {
    /// Reads `config.json` and the headers of the weights, and checks that they fit. The weights are `model.safetensors`,
    /// or else the files that `model.safetensors.index.json` names. What text should be sampled like is taken from
    /// `generation_config.json`, or else from `config.json`.
    ///
    /// # Errors
    /// What [`read_config`] and [`Generation::read`] say, with the file's name; [`Error::Io`] for what cannot be opened;
    /// and an error that names file and tensor where the weights are damaged or not those of the configuration.
    pub fn open(path: impl AsRef<Path>) -> Result<Folder, Error> {
        let path = path.as_ref().to_owned();
        let file = path.join("generation_config.json");
        let generation = if file.exists() {
            let json = shard::read_json(&file, LONGEST_CONFIG)?;
            Some(Generation::read(&json).map_err(Error::within(&file))?)
        } else {
            None
        };
        let file = path.join("config.json");
        let json = shard::read_json(&file, LONGEST_CONFIG)?;
        let of_config = || {
            let map = fields::parse(&json)?;
            let fields = Fields::new(&map);
            let generation = generation.map_or_else(|| Generation::from_fields(&fields), Ok)?;
            Ok((config::interpret(&fields)?, generation))
        };
        let ((family, config), generation) = of_config().map_err(Error::within(&file))?;
        let layout = crate::layout(&config)?;
        let shards = open_shards(&path)?;
        let mut folder = Folder { path, family, config, generation, layout, shards, sources: Vec::new() };
        folder.sources = folder.find()?;
        Ok(folder)
    }

    /// The same with room for fewer positions, which saves the memory of the cache, and of GPT-2's rows of positions. More
    /// than the folder has are not given.
    #[must_use]
    pub fn with_context(mut self, context: usize) -> Self {
        let config = Config { context: self.config.context.min(context.max(1)), ..self.config.clone() };
        if let Ok(layout) = crate::layout(&config) {
            let shards = self.sources.iter().map(|(_, shard)| *shard);
            self.sources = names::parts(&config, &layout).into_iter().zip(shards).collect();
            (self.config, self.layout) = (config, layout);
        }
        self
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which architecture of transformers it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What its `config.json` says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How text should be sampled.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Where the parameters lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The parameters, in a flat buffer of [`layout`](Self::layout).
    pub fn load(&self) -> Vec<f32> {
        let mut params = vec![0.0; self.layout.len()];
        self.load_into(&mut params);
        params
    }

    /// Fills a flat buffer of [`layout`](Self::layout) from the mapped files; padding is left as it is.
    ///
    /// # Panics
    /// If it has another length.
    pub fn load_into(&self, params: &mut [f32]) {
        assert_eq!(params.len(), self.layout.len(), "a buffer of the layout's length");
        for (part, shard) in &self.sources {
            self.decode(part, *shard, &mut params[part.range.clone()]);
        }
    }

    /// One weight of [`layout`](Self::layout).
    ///
    /// # Panics
    /// If `to` has another length than the weight.
    pub fn read(&self, slot: &Slot, to: &mut [f32]) {
        assert_eq!(to.len(), slot.span.len(), "the elements of {}", slot.name);
        let start = slot.span.offset;
        for (part, shard) in self.of(slot) {
            self.decode(part, *shard, &mut to[part.range.start - start..part.range.end - start]);
        }
    }

    /// The tensors of a weight, in the order of its outputs.
    fn of(&self, slot: &Slot) -> &[(Part, usize)] {
        let whole = slot.span.range();
        let first = self.sources.partition_point(|(part, _)| part.range.start < whole.start);
        let count = self.sources[first..].partition_point(|(part, _)| part.range.end <= whole.end);
        &self.sources[first..first + count]
    }

    /// The type of its weights; the widest, if they are of several.
    pub fn dtype(&self) -> Dtype {
        let mut found = self.sources.iter().map(|(part, shard)| self.tensor(part, *shard).1);
        let first = found.next().unwrap_or(Dtype::F32);
        if found.all(|dtype| dtype == first) { first } else { Dtype::F32 }
    }

    fn decode(&self, part: &Part, shard: usize, to: &mut [f32]) {
        let (tensor, dtype) = self.tensor(part, shard);
        let columns = part.transposed.then(|| part.shape[0]);
        dtype.decode(to, self.shards[shard].bytes(tensor), columns);
    }

    /// A tensor that was found when the folder was opened.
    fn tensor(&self, part: &Part, shard: usize) -> (&TensorInfo, Dtype) {
        let tensor = self.named(&self.shards[shard], part).expect("it was there when the folder was opened");
        let dtype = Dtype::from_file(tensor.dtype).expect("it was looked at when the folder was opened");
        (tensor, dtype)
    }

    /// A tensor of a file, with the language model's prefix or without.
    fn named<'a>(&self, shard: &'a Shard, part: &Part) -> Option<&'a TensorInfo> {
        let bare = || part.name.strip_prefix(names::prefix(self.config.arch));
        shard.info(&part.name).or_else(|| shard.info(bare()?))
    }

    /// Finds every tensor of the model, and makes sure that there is no other.
    fn find(&self) -> Result<Vec<(Part, usize)>, Error> {
        let arch = self.config.arch;
        let mut files: BTreeMap<String, usize> = BTreeMap::new();
        for (index, shard) in self.shards.iter().enumerate() {
            for tensor in shard.names() {
                if let Some(first) = files.insert(tensor.clone(), index) {
                    let first = self.shards[first].path.clone();
                    return Err(Error::DuplicateTensor { path: shard.path.clone(), first, tensor });
                }
            }
        }
        let bare = files.contains_key(names::embedding(arch));
        let mut sources = Vec::new();
        for part in names::parts(&self.config, &self.layout) {
            let name = match part.name.strip_prefix(names::prefix(arch)) {
                Some(name) if bare => name,
                _ => &part.name,
            };
            let Some(index) = files.remove(name) else {
                let path = if let [only] = &self.shards[..] { &only.path } else { &self.path };
                return Err(Error::MissingTensor { path: path.clone(), tensor: name.to_owned() });
            };
            let shard = &self.shards[index];
            check(shard, name, &part)?;
            sources.push((part, index));
        }
        if let Some(&index) = files.get(names::HEAD).filter(|_| self.config.tied) {
            self.check_tied(&self.shards[index], &sources[0])?;
            files.remove(names::HEAD);
        }
        match files.into_iter().find(|(name, _)| !names::is_constant(arch, name)) {
            Some((tensor, index)) => {
                Err(Error::ExtraTensor { path: self.shards[index].path.clone(), tensor })
            }
            None => Ok(sources),
        }
    }

    /// A head that is saved beside the embedding it is tied to must be the same.
    fn check_tied(&self, shard: &Shard, (embedding, index): &(Part, usize)) -> Result<(), Error> {
        let head = shard.info(names::HEAD);
        let other = &self.shards[*index];
        let embedding = self.named(other, embedding);
        match (head, embedding) {
            (Some(head), Some(embedding))
                if head.dtype == embedding.dtype
                    && head.shape == embedding.shape
                    && shard.bytes(head) == other.bytes(embedding) =>
            {
                Ok(())
            }
            _ => Err(Error::UntiedHead { path: shard.path.clone(), tensor: names::HEAD.to_owned() }),
        }
    }
}

/// Checks type and shape of a tensor.
fn check(shard: &Shard, name: &str, part: &Part) -> Result<(), Error> {
    let (path, tensor) = (shard.path.clone(), name.to_owned());
    let Some(info) = shard.info(name) else { return Err(Error::MissingTensor { path, tensor }) };
    if Dtype::from_file(info.dtype).is_none() {
        return Err(Error::Dtype { path, tensor, found: format!("{:?}", info.dtype) });
    }
    if info.shape != part.shape {
        return Err(Error::Shape { path, tensor, found: info.shape.clone(), expected: part.shape.clone() });
    }
    Ok(())
}

//! Models that others have published: GGUF files and Hugging Face folders, with their tokenizers.

mod chat_template;

use std::borrow::Cow;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use selvedge_model::gguf::{self, KeyError, optional};
use selvedge_model::{Architecture, Config, Slot, Weights, build, hf};
use selvedge_tensor::Context;
use selvedge_tokenizer::{GgufVocabulary, Tokenizer};
use selvedge_train::fs_atomic;
use serde_json::Value;

use crate::args::WeightForm;
use crate::memory::{self, Caches};
use crate::{fetched, file};
pub(crate) use chat_template::{ChatFormat, file_template, folder_format};

/// A published model as it lies on disk, checked.
pub(crate) struct Published {
    source: Source,
    pub(crate) config: Config,
    pub(crate) tokenizer: Tokenizer,
    /// Tokens that end a text.
    pub(crate) ends: Vec<u32>,
}

enum Source {
    Gguf(gguf::Model),
    HuggingFace(hf::Folder),
}

impl Published {
    /// Opens a `.gguf` file, a folder with `config.json`, or a fetched model by its name, for sequences of at most `context`
    /// positions.
    pub(crate) fn open(path: &Path, context: usize) -> anyhow::Result<Self> {
        let path = &*locate(path)?;
        if path.is_dir() {
            let folder = hf::Folder::open(path)?.with_context(context);
            let tokenizer = folder_tokenizer(path)?;
            let config = folder.config().clone();
            let mut ends = folder.generation().eos.clone();
            ends.push(tokenizer.end_of_text());
            return Self { source: Source::HuggingFace(folder), config, tokenizer, ends }.checked(path);
        }
        let model = gguf::Model::open(path)?.with_context(context);
        let tokenizer = file_tokenizer(&model)?;
        let (config, ends) = (model.config().clone(), vec![tokenizer.end_of_text()]);
        Self { source: Source::Gguf(model), config, tokenizer, ends }.checked(path)
    }

    /// A token without a row would be a fault in the middle of a text.
    fn checked(self, path: &Path) -> anyhow::Result<Self> {
        let (tokens, rows) = (self.tokenizer.vocab_size(), self.config.vocab);
        anyhow::ensure!(
            tokens <= rows,
            "{}: the tokenizer has {tokens} tokens, the model rows for {rows}; they are not of one model",
            path.display()
        );
        Ok(self)
    }

    /// The wiring.
    pub(crate) fn model(&self) -> anyhow::Result<Box<dyn Architecture<f32>>> {
        Ok(build(self.config.clone())?)
    }

    /// All parameters in f32, if the machine can hold them.
    pub(crate) fn parameters(&self) -> anyhow::Result<Vec<f32>> {
        memory::check_model(&self.config)?;
        match &self.source {
            Source::Gguf(model) => Ok(model.load()?),
            Source::HuggingFace(folder) => Ok(folder.load()),
        }
    }

    /// The weights in a form, if the machine can hold them and the caches that will be made beside them.
    pub(crate) fn weights(
        &self,
        cx: &mut Context,
        form: WeightForm,
        caches: Caches,
    ) -> anyhow::Result<Weights<'static, f32>> {
        let (config, storage) = (&self.config, form.into());
        let layout = selvedge_model::layout(config)?;
        let kept = match &self.source {
            Source::Gguf(model) if form == WeightForm::Trained => Some(model),
            _ => None,
        };
        let bytes = match kept {
            Some(model) => model.weights_bytes(cx.precision()),
            None => Weights::<f32>::bytes_of(cx.precision(), config, &layout, storage),
        };
        memory::check_generation(config, bytes as f64, caches)?;
        match (&self.source, kept) {
            (_, Some(model)) => Ok(model.weights(cx)?),
            (Source::Gguf(model), None) => {
                Ok(Weights::pack_from(cx, config, &layout, storage, |slot, to| model.read(slot, to))?)
            }
            (Source::HuggingFace(folder), None) => {
                let read = |slot: &Slot, to: &mut [f32]| -> anyhow::Result<()> {
                    folder.read(slot, to);
                    Ok(())
                };
                Weights::pack_from(cx, config, &layout, storage, read)
            }
        }
    }

    /// Calls `then` with the wiring and its weights in a form.
    pub(crate) fn with_weights<R>(
        &self,
        cx: &mut Context,
        form: WeightForm,
        caches: Caches,
        then: impl FnOnce(&mut Context, &dyn Architecture<f32>, Weights<'_, f32>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let weights = self.weights(cx, form, caches)?;
        then(cx, &*self.model()?, weights)
    }
}

/// Where a model is: at the path, or in the cache if the path is the name of a model that can be fetched.
pub(crate) fn locate(model: &Path) -> anyhow::Result<Cow<'_, Path>> {
    match fetched::named(model).filter(|_| !model.exists()) {
        Some(known) => Ok(Cow::Owned(known.cached()?)),
        None => Ok(Cow::Borrowed(model)),
    }
}

/// For fine-tuning.
impl Published {
    /// The weights as a frozen base: those that are quantized or of 16 bits stay so.
    pub(crate) fn frozen(&self, cx: &Context) -> anyhow::Result<Weights<'static, f32>> {
        match &self.source {
            Source::Gguf(model) => Ok(model.frozen(cx)?),
            Source::HuggingFace(folder) => Ok(folder.frozen()),
        }
    }

    /// Bytes that [`Published::frozen`] will hold.
    pub(crate) fn frozen_bytes(&self) -> usize {
        match &self.source {
            Source::Gguf(model) => model.frozen_bytes(),
            Source::HuggingFace(folder) => folder.frozen_bytes(),
        }
    }

    /// Writes a model of other parameters, in f32, that can be opened as this one was: `model.gguf` with the keys of the file,
    /// or a Hugging Face folder with the files of the tokenizer. What is there is replaced when the new is whole.
    pub(crate) fn save(&self, folder: &Path, params: &[f32]) -> anyhow::Result<PathBuf> {
        let cannot = || format!("cannot write into {}", folder.display());
        match &self.source {
            Source::Gguf(model) => {
                std::fs::create_dir_all(folder).with_context(cannot)?;
                let path = folder.join("model.gguf");
                let file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
                model.rewrite(BufWriter::new(file.as_file()), params).with_context(cannot)?;
                file.as_file().sync_all().with_context(cannot)?;
                file.persist(&path).with_context(cannot)?;
                Ok(path)
            }
            Source::HuggingFace(from) => {
                // With all of its positions, whatever it was opened for: those that were not used stay as they are.
                let whole = hf::Folder::open(from.path())?;
                let mut own = from.layout().slots().iter();
                hf::save_from(folder, whole.config(), hf::Dtype::F32, from.generation(), |slot, to| {
                    let own = &params[own.next().expect("the same weights").span.range()];
                    if own.len() < to.len() {
                        whole.read(slot, to);
                    }
                    to[..own.len()].copy_from_slice(own);
                    Ok::<_, hf::Error>(())
                })?;
                for name in COPIED.into_iter().filter(|name| from.path().join(name).exists()) {
                    fs_atomic::write(&folder.join(name), &read_file(&from.path().join(name))?)?;
                }
                Ok(folder.to_owned())
            }
        }
    }
}

/// Files of a Hugging Face folder beside the weights and what is written with them, which go with a model.
pub(crate) const COPIED: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// Most bytes of a file of JSON; tokenizers that are published have up to 35 MB.
const LONGEST: u64 = 64 << 20;

/// A file that is no weights, whole.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    file::read(path, LONGEST)
}

/// The tokenizer of a folder: `tokenizer.json`, and which token ends a text by `tokenizer_config.json`.
pub(crate) fn folder_tokenizer(folder: &Path) -> anyhow::Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    let json = read_file(&path)?;
    let about = folder.join("tokenizer_config.json");
    let end = if about.exists() {
        let about: Value = serde_json::from_slice(&read_file(&about)?)
            .with_context(|| format!("{}: not JSON", about.display()))?;
        let end = &about["eos_token"];
        end.as_str().or_else(|| end["content"].as_str()).map(str::to_owned)
    } else {
        None
    };
    Tokenizer::from_hugging_face(&json, end.as_deref())
        .with_context(|| format!("cannot use {}", path.display()))
}

/// The tokenizer in a file.
pub(crate) fn file_tokenizer(model: &gguf::Model) -> anyhow::Result<Tokenizer> {
    let (file, metadata) = (model.file(), model.file().header().metadata());
    let key = |error: KeyError| gguf::Error::key(file.path())(error);
    let name = |field: &str| format!("tokenizer.ggml.{field}");
    let strings = |field: &str| metadata.array_strings(&name(field)).map_err(key);
    let id = |field: &str| optional(metadata.u32(&name(field))).map_err(key);
    let flag = |field: &str| optional(metadata.bool(&name(field))).map_err(key);
    let kinds = optional(metadata.array_i64(&name("token_type"))).map_err(key)?.unwrap_or_default();
    let vocabulary = GgufVocabulary {
        model: metadata.string(&name("model")).map_err(key)?,
        pre: optional(metadata.string(&name("pre"))).map_err(key)?.unwrap_or_default(),
        tokens: strings("tokens")?.iter().collect(),
        // A kind that no i32 holds is none of those that are known.
        token_types: kinds.into_iter().map(|kind| i32::try_from(kind).unwrap_or(-1)).collect(),
        merges: match metadata.get(&name("merges")) {
            Some(_) => strings("merges")?.iter().collect(),
            None => Vec::new(),
        },
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
    };
    Tokenizer::from_gguf(&vocabulary)
        .with_context(|| format!("cannot use the tokenizer of {}", file.path().display()))
}

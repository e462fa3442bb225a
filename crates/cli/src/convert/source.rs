//! A model to convert, of any kind of files.

use std::path::Path;

use anyhow::{Context as _, bail};
use selvedge_model::gguf::{self, Type};
use selvedge_model::{Config, Slot, hf};
use selvedge_tokenizer::Tokenizer;
use selvedge_train::checkpoint::Loaded;
use selvedge_train::trainer::PARAMETERS;

use crate::published::{file_tokenizer, folder_tokenizer};
use crate::run_folder::{self, RunFile, RunFolder};

/// A model as it lies on disk, checked; of its weights nothing is read yet.
pub(super) enum Source {
    Gguf(gguf::Model),
    HuggingFace(hf::Folder),
    Run(Box<Run>),
}

/// A checkpoint of a run.
pub(super) struct Run {
    folder: RunFolder,
    file: RunFile,
    loaded: Loaded,
}

impl Source {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if path.extension() == Some("safetensors".as_ref()) {
            bail!(
                "{} has weights and does not say of what; name its folder, with config.json",
                path.display()
            );
        }
        if !path.is_dir() {
            return Ok(Source::Gguf(gguf::Model::open(path)?));
        }
        if path.join("config.json").exists() {
            return Ok(Source::HuggingFace(hf::Folder::open(path)?));
        }
        let (folder, loaded) = run_folder::open(Some(path))
            .with_context(|| format!("{} has no config.json, and is no run either", path.display()))?;
        let file = folder.read()?;
        Ok(Source::Run(Box::new(Run { folder, file, loaded })))
    }

    pub(super) fn config(&self) -> &Config {
        match self {
            Source::Gguf(model) => model.config(),
            Source::HuggingFace(folder) => folder.config(),
            Source::Run(run) => &run.file.model,
        }
    }

    /// The name of the model, of its file or folder.
    pub(super) fn name(&self) -> String {
        let path = match self {
            Source::Gguf(model) => model.file().path().with_extension(""),
            Source::HuggingFace(folder) => folder.path().to_owned(),
            Source::Run(run) => run.folder.path().to_owned(),
        };
        let path = path.canonicalize().unwrap_or(path);
        path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// The narrowest type that loses nothing.
    pub(super) fn dtype(&self) -> hf::Dtype {
        match self {
            Source::HuggingFace(folder) => folder.dtype(),
            Source::Run(_) => hf::Dtype::F32,
            Source::Gguf(model) => {
                let mut types = model.file().tensors().map(|tensor| tensor.element_type());
                match types.next() {
                    Some(Type::F16) if types.all(|other| other == Type::F16) => hf::Dtype::F16,
                    Some(Type::BF16) if types.all(|other| other == Type::BF16) => hf::Dtype::BF16,
                    _ => hf::Dtype::F32,
                }
            }
        }
    }

    /// How text should be sampled, as far as the model says, and which tokens begin and end one, by its tokenizer.
    pub(super) fn generation(&self, tokenizer: &Tokenizer) -> hf::Generation {
        let metadata = match self {
            Source::HuggingFace(folder) => return folder.generation().clone(),
            Source::Run(_) => None,
            Source::Gguf(model) => Some(model.file().header().metadata()),
        };
        let bos = metadata.and_then(|metadata| metadata.u32("tokenizer.ggml.bos_token_id").ok());
        let bos = bos.or(tokenizer.prefix().first().copied()).unwrap_or(tokenizer.end_of_text());
        let eos = vec![tokenizer.end_of_text()];
        hf::Generation { bos: Some(bos), eos, ..hf::Generation::default() }
    }

    /// The tokenizer, checked to have no token without a row.
    pub(super) fn tokenizer(&self) -> anyhow::Result<Tokenizer> {
        let tokenizer = match self {
            Source::Gguf(model) => file_tokenizer(model)?,
            Source::HuggingFace(folder) => folder_tokenizer(folder.path())?,
            Source::Run(run) => run.folder.tokenizer(&run.file)?,
        };
        let (tokens, rows) = (tokenizer.vocab_size(), self.config().vocab);
        anyhow::ensure!(
            tokens <= rows,
            "the tokenizer has {tokens} tokens, the model rows for {rows}; they are not of one model"
        );
        Ok(tokenizer)
    }

    /// One weight.
    pub(super) fn read(&self, slot: &Slot, to: &mut [f32]) -> anyhow::Result<()> {
        match self {
            Source::Gguf(model) => model.read(slot, to)?,
            Source::HuggingFace(folder) => folder.read(slot, to),
            Source::Run(run) => run.loaded.file(PARAMETERS)?.copy_into(&slot.name, &slot.shape(), to)?,
        }
        Ok(())
    }
}

//! The run folder: what it holds, and how the newest one is found.
//!
//! ```text
//! runs/run-0001/
//!   run.json           model, recipe and tokenizer digest; written last, so a folder with it is complete
//!   tokenizer.json
//!   train.tokens  valid.tokens
//!   steps.csv  evaluations.csv  loss.svg  samples.txt  waits.svg
//!   checkpoints/step-00000100/
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use selvedge_model::{Architecture, Config, Storage, Weights};
use selvedge_tensor::Context;
use selvedge_tokenizer::Tokenizer;
use selvedge_train::checkpoint::{self, Loaded, MANIFEST};
use selvedge_train::fs_atomic;
use selvedge_train::settings::Recipe;
use selvedge_train::tokens::TokenFile;
use selvedge_train::trainer::PARAMETERS;
use serde::{Deserialize, Serialize};

use crate::memory::{self, Caches};

/// Where runs go unless `--out` says otherwise.
const RUNS: &str = "runs";
const RUN_FILE: &str = "run.json";
/// The tokenizer.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Tokens to train on.
pub(crate) const TRAIN_TOKENS: &str = "train.tokens";
/// Tokens to evaluate on.
pub(crate) const VALID_TOKENS: &str = "valid.tokens";
const VERSION: u32 = 1;

/// What `run.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    version: u32,
    pub(crate) model: Config,
    pub(crate) recipe: Recipe,
    /// BLAKE3 of `tokenizer.json`, in hexadecimal.
    pub(crate) tokenizer: String,
    /// What the corpus was made of, in words.
    pub(crate) corpus: String,
}

/// A run folder.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    /// The next free folder of `runs/`.
    pub(crate) fn fresh() -> Self {
        let free = (1..).map(|n| Path::new(RUNS).join(format!("run-{n:04}"))).find(|path| !path.exists());
        RunFolder { path: free.unwrap_or_else(|| Path::new(RUNS).join("run")) }
    }

    /// The run in `runs/` whose `run.json` is newest.
    pub(crate) fn newest() -> anyhow::Result<Self> {
        let entries = std::fs::read_dir(RUNS)
            .with_context(|| format!("no folder {RUNS}/ here; train first, or name a run"))?;
        let newest = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let modified = path.join(RUN_FILE).metadata().ok()?.modified().ok()?;
                Some((modified, path))
            })
            .max();
        match newest {
            Some((_, path)) => Ok(RunFolder { path }),
            None => bail!("no run in {RUNS}/; train first, or name a run"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Whether a complete run is there.
    pub(crate) fn exists(&self) -> bool {
        self.file(RUN_FILE).is_file()
    }

    pub(crate) fn read(&self) -> anyhow::Result<RunFile> {
        let path = self.file(RUN_FILE);
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "{} is not a run folder, or its run was stopped before it began; name another, or train without --resume: cannot read {}",
                self.path.display(),
                path.display()
            )
        })?;
        let run: RunFile = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; restore it or train anew", path.display()))?;
        if run.version != VERSION {
            bail!("{} has version {}, this program reads {VERSION}", path.display(), run.version);
        }
        run.model.validate().with_context(|| path.display().to_string())?;
        run.recipe.validate().with_context(|| path.display().to_string())?;
        memory::check_model(&run.model).with_context(|| path.display().to_string())?;
        Ok(run)
    }

    pub(crate) fn write(&self, run: &RunFile) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec_pretty(run)?;
        json.push(b'\n');
        Ok(fs_atomic::write(&self.file(RUN_FILE), &json)?)
    }

    /// The tokenizer, checked to be the one of the run.
    pub(crate) fn tokenizer(&self, run: &RunFile) -> anyhow::Result<Tokenizer> {
        let path = self.file(TOKENIZER);
        let tokenizer = Tokenizer::load(&path)?;
        if hex(&tokenizer_digest(&tokenizer)?) != run.tokenizer {
            bail!("{} is not the tokenizer of this run; restore it or train anew", path.display());
        }
        if tokenizer.vocab_size() != run.model.vocab {
            bail!(
                "{} has a model with a vocabulary of {}, its tokenizer has {}; restore it or train anew",
                self.file(RUN_FILE).display(),
                run.model.vocab,
                tokenizer.vocab_size()
            );
        }
        Ok(tokenizer)
    }

    /// The token file of the name, checked to be made by the run's tokenizer.
    pub(crate) fn tokens(&self, name: &str, tokenizer: &Tokenizer) -> anyhow::Result<Arc<TokenFile>> {
        let file = TokenFile::open(self.file(name))?;
        let vocab = u32::try_from(tokenizer.vocab_size())?;
        file.expect(vocab, &tokenizer_digest(tokenizer)?)?;
        file.verify()?;
        Ok(Arc::new(file))
    }
}

impl RunFile {
    pub(crate) fn new(
        model: Config,
        recipe: Recipe,
        tokenizer: &Tokenizer,
        corpus: String,
    ) -> anyhow::Result<Self> {
        let tokenizer = hex(&tokenizer_digest(tokenizer)?);
        Ok(RunFile { version: VERSION, model, recipe, tokenizer, corpus })
    }
}

/// BLAKE3 of a tokenizer's file.
pub(crate) fn tokenizer_digest(tokenizer: &Tokenizer) -> anyhow::Result<[u8; 32]> {
    Ok(*blake3::hash(&tokenizer.to_json()?).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of text each token stands for; none for special tokens, which stand for no text.
pub(crate) fn byte_lengths(tokenizer: &Tokenizer) -> Vec<u32> {
    let special: Vec<u32> = tokenizer.special_tokens().map(|(_, id)| id).collect();
    let length = |id: u32| match tokenizer.token_bytes(id) {
        Some(bytes) if !special.contains(&id) => bytes.len() as u32,
        _ => 0,
    };
    (0..tokenizer.vocab_size() as u32).map(length).collect()
}

/// A run and one of its checkpoints: of a run folder the newest whole one, or the one named.
pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<(RunFolder, Loaded)> {
    let folder = match path {
        Some(path) if path.join(MANIFEST).is_file() => {
            let loaded = checkpoint::load(path)?;
            let run = path.ancestors().nth(2).filter(|run| run.join(RUN_FILE).is_file());
            let run = run.with_context(|| format!("{} is in no run folder", path.display()))?;
            return Ok((RunFolder::new(run), loaded));
        }
        Some(path) => RunFolder::new(path),
        None => RunFolder::newest()?,
    };
    folder.read()?;
    let loaded = checkpoint::latest_good(&folder.checkpoints())?;
    Ok((folder, loaded))
}

/// The weights of a checkpoint for generation, if the machine can hold them and the caches.
pub(crate) fn weights(
    cx: &mut Context,
    model: &dyn Architecture<f32>,
    loaded: &Loaded,
    storage: Storage,
    caches: Caches,
) -> anyhow::Result<Weights<'static, f32>> {
    let (config, layout) = (model.config(), model.layout());
    let bytes = Weights::<f32>::bytes_of(cx.precision(), config, layout, storage);
    memory::check_generation(config, bytes as f64, caches)?;
    let file = loaded.file(PARAMETERS)?;
    Weights::pack_from(cx, config, layout, storage, |slot, to| {
        Ok(file.copy_into(&slot.name, &slot.shape(), to)?)
    })
}

/// The parameters of a checkpoint, laid out as `model` says.
pub(crate) fn parameters(model: &dyn Architecture<f32>, loaded: &Loaded) -> anyhow::Result<Vec<f32>> {
    let file = loaded.file(PARAMETERS)?;
    let mut params = vec![0.0; model.layout().len()];
    for slot in model.layout().slots() {
        file.copy_into(&slot.name, &slot.shape(), &mut params[slot.span.range()])?;
    }
    Ok(params)
}

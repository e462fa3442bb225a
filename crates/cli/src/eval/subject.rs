//! The model that is measured: of a run, or a published one.

use selvedge_model::{Architecture, Scorer, Storage, Weights, build};
use selvedge_tensor::Context;
use selvedge_tokenizer::Tokenizer;
use selvedge_train::settings::Dtype;

use crate::args::{DtypeArg, WeightForm};
use crate::eval::args::EvalArgs;
use crate::memory::{self, Caches};
use crate::published::Published;
use crate::run_folder::{byte_lengths, open, parameters};

/// A model with its tokenizer.
pub(crate) struct Subject {
    /// What it is called.
    pub(crate) name: String,
    pub(crate) tokenizer: Tokenizer,
    /// Tokens that stand before a text.
    pub(crate) prefix: Vec<u32>,
    /// Bytes that each token stands for.
    pub(crate) byte_lengths: Vec<u32>,
    model: Box<dyn Architecture<f32>>,
    params: Vec<f32>,
    /// Weights that are kept as they are in the file.
    own: Option<Weights<'static, f32>>,
    storage: Storage,
}

impl Subject {
    /// Opens what the arguments name, with room for `context` positions of a published model. The context gets the
    /// precision that the model is computed in.
    pub(crate) fn open(args: &EvalArgs, cx: Context, context: usize) -> anyhow::Result<(Self, Context)> {
        let storage = args.weights.into();
        let Some(path) = &args.model else {
            let (folder, loaded) = open(args.run.as_deref())?;
            let file = folder.read()?;
            let tokenizer = folder.tokenizer(&file)?;
            let model = build::<f32>(file.model)?;
            let params = parameters(&*model, &loaded)?;
            let subject = Subject {
                name: folder.path().display().to_string(),
                // Every document of the training data begins after an end-of-text.
                prefix: vec![tokenizer.end_of_text()],
                byte_lengths: byte_lengths(&tokenizer),
                tokenizer,
                model,
                params,
                own: None,
                storage,
            };
            return Ok((subject, cx.with_precision(file.recipe.dtype.into())));
        };
        let published = Published::open(path, context)?;
        let dtype: Dtype = args.dtype.unwrap_or(DtypeArg::F32).into();
        let mut cx = cx.with_precision(dtype.into());
        let model = published.model()?;
        let own = match args.weights {
            WeightForm::Trained => published.weights(&mut cx)?,
            _ => None,
        };
        let params = if own.is_some() {
            Vec::new()
        } else {
            let bytes = (size_of::<f32>() * model.layout().len()) as f64;
            memory::check_generation(model.config(), bytes, Caches::ONE)?;
            published.parameters()?
        };
        let subject = Subject {
            name: path.display().to_string(),
            prefix: published.tokenizer.prefix().to_vec(),
            byte_lengths: byte_lengths(&published.tokenizer),
            tokenizer: published.tokenizer,
            model,
            params,
            own,
            storage,
        };
        Ok((subject, cx))
    }

    /// Positions the model has room for.
    pub(crate) fn context(&self) -> usize {
        self.model.config().context
    }

    /// The weights that are kept as they are in the file, to be given to [`scorer`](Self::scorer).
    pub(crate) fn weights(&mut self) -> Option<Weights<'static, f32>> {
        self.own.take()
    }

    /// What scores its tokens.
    pub(crate) fn scorer<'a>(&'a self, cx: &mut Context, own: Option<Weights<'a, f32>>) -> Scorer<'a> {
        let model = &*self.model;
        let weights = own
            .unwrap_or_else(|| Weights::pack(cx, model.config(), model.layout(), &self.params, self.storage));
        Scorer::new(cx, model, weights)
    }
}

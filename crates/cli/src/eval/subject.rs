//! The model that is measured: of a run, or a published one.

use selvedge_model::{Architecture, Scorer, Weights, build};
use selvedge_tensor::Context;
use selvedge_tokenizer::Tokenizer;
use selvedge_train::settings::Dtype;

use crate::args::DtypeArg;
use crate::eval::args::EvalArgs;
use crate::memory::Caches;
use crate::published::Published;
use crate::run_folder::{byte_lengths, open, weights};

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
}

impl Subject {
    /// Opens what the arguments name, with room for `context` positions of a published model: the model, its weights, and
    /// the context, in the precision that the model is computed in.
    pub(crate) fn open(
        args: &EvalArgs,
        cx: Context,
        context: usize,
    ) -> anyhow::Result<(Self, Weights<'static, f32>, Context)> {
        let Some(path) = &args.model else {
            let (folder, loaded) = open(args.run.as_deref())?;
            let file = folder.read()?;
            let tokenizer = folder.tokenizer(&file)?;
            let model = build::<f32>(file.model)?;
            let mut cx = cx.with_precision(file.recipe.dtype.into());
            let caches = Caches::one(&cx, "--weights of fewer bits");
            let weights = weights(&mut cx, &*model, &loaded, args.weights.into(), caches)?;
            let subject = Subject {
                name: folder.path().display().to_string(),
                // Every document of the training data begins after an end-of-text.
                prefix: vec![tokenizer.end_of_text()],
                byte_lengths: byte_lengths(&tokenizer),
                tokenizer,
                model,
            };
            return Ok((subject, weights, cx));
        };
        let published = Published::open(path, context)?;
        let dtype: Dtype = args.dtype.unwrap_or(DtypeArg::F32).into();
        let mut cx = cx.with_precision(dtype.into());
        let caches = Caches::one(&cx, "a shorter --context, --weights of fewer bits");
        let weights = published.weights(&mut cx, args.weights, caches)?;
        let subject = Subject {
            name: path.display().to_string(),
            prefix: published.tokenizer.prefix().to_vec(),
            byte_lengths: byte_lengths(&published.tokenizer),
            model: published.model()?,
            tokenizer: published.tokenizer,
        };
        Ok((subject, weights, cx))
    }

    /// Positions the model has room for.
    pub(crate) fn context(&self) -> usize {
        self.model.config().context
    }

    /// What scores its tokens.
    pub(crate) fn scorer(&self, cx: &Context, weights: Weights<'static, f32>) -> Scorer<'_> {
        Scorer::new(cx, &*self.model, weights)
    }
}

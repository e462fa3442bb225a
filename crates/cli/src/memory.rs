//! Whether the machine can hold a run, asked before the first large allocation: one that fails ends the process
//! without a word about which setting was too large.

use anyhow::bail;
use selvedge_model::{Architecture, Config, Mode, build};
use selvedge_tensor::Context;
use selvedge_tensor::attention::{CacheType, KvCache};
use selvedge_train::settings::{Recipe, Resources};

/// Bytes of one value.
const F32: f64 = 4.0;

/// What training needs, in bytes. In f64: settings can be large enough to overflow any integer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Need {
    /// Weights that are not trained.
    pub(crate) base: f64,
    /// Parameters and moments.
    pub(crate) state: f64,
    pub(crate) gradients: f64,
    pub(crate) activations: f64,
}

impl Need {
    /// Of training all parameters of a model.
    pub(crate) fn of(model: &dyn Architecture<f32>, recipe: &Recipe, resources: &Resources) -> Self {
        let rows = rows(recipe);
        let mode = if resources.recompute { Mode::Recompute } else { Mode::Train };
        let each = model.activations(1, recipe.context, mode) as f64 * rows.min(resources.microbatch as f64);
        let activations = each + rows * row(model.config(), recipe);
        Need::new(model.layout().len() as f64, activations * resources.workers as f64, recipe)
    }

    fn new(parameters: f64, activations: f64, recipe: &Recipe) -> Self {
        Need {
            base: 0.0,
            state: F32 * parameters * 3.0,
            gradients: F32 * parameters * recipe.shards as f64,
            activations: F32 * activations,
        }
    }

    /// All of it.
    pub(crate) fn total(&self) -> f64 {
        self.base + self.state + self.gradients + self.activations
    }

    /// Refuses what is larger than the machine's memory: "`what` needs ...: `remedy`".
    pub(crate) fn check(&self, what: &str, remedy: &str) -> anyhow::Result<()> {
        let all = self.total();
        let Some(total) = total().filter(|&total| all > total) else { return Ok(()) };
        let gb = |bytes: f64| bytes / 1e9;
        let base =
            if self.base > 0.0 { format!("{:.1} for the base, ", gb(self.base)) } else { String::new() };
        bail!(
            "{what} needs {:.1} GB of memory ({base}{:.1} for parameters and moments, {:.1} for gradients, {:.1} for activations), this machine has {:.1}: {remedy}",
            gb(all),
            gb(self.state),
            gb(self.gradients),
            gb(self.activations),
            gb(total),
        )
    }
}

/// Rows of a shard.
fn rows(recipe: &Recipe) -> f64 {
    (recipe.batch as f64 / recipe.shards as f64).ceil()
}

/// Elements of the gradient of one row's embeddings.
fn row(config: &Config, recipe: &Recipe) -> f64 {
    recipe.context as f64 * config.channels as f64
}

/// Refuses a run that is larger than the machine's memory.
pub(crate) fn check_run(config: &Config, recipe: &Recipe, resources: &Resources) -> anyhow::Result<()> {
    let check = |need: Need| {
        need.check("the run", "use a smaller model, batch, context or microbatch, or fewer shards")
    };
    // Planning a model takes time and memory that grow with its layers and its context: not for one that is far
    // too large.
    let activations = rows(recipe) * row(config, recipe) * resources.workers as f64;
    check(Need::new(matrices(config), activations, recipe))?;
    check(Need::of(&*build::<f32>(config.clone())?, recipe, resources))
}

/// Refuses a model whose parameters alone are larger than the machine's memory.
pub(crate) fn check_model(config: &Config) -> anyhow::Result<()> {
    let bytes = F32 * matrices(config);
    match total().filter(|&total| bytes > total) {
        None => Ok(()),
        Some(total) => bail!(
            "the model's parameters need {:.1} GB of memory, this machine has {:.1}: use another machine",
            bytes / 1e9,
            total / 1e9
        ),
    }
}

/// Caches that are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caches {
    pub(crate) cache_type: CacheType,
    pub(crate) sequences: usize,
    /// What the command has to make them smaller.
    pub(crate) remedy: &'static str,
}

impl Caches {
    /// Those of one sequence that a `Generator` or `Scorer` makes in a context.
    pub(crate) fn one(cx: &Context, remedy: &'static str) -> Self {
        Caches { cache_type: cx.precision().into(), sequences: 1, remedy }
    }
}

/// Refuses to generate with weights of so many bytes and caches of all positions, if that is larger than the memory.
pub(crate) fn check_generation(config: &Config, weights: f64, caches: Caches) -> anyhow::Result<()> {
    let Caches { cache_type, sequences, remedy } = caches;
    let layer =
        KvCache::<f32>::size(sequences, config.context, config.kv_heads, config.head_size(), cache_type);
    let logits = F32 * config.vocab as f64 * sequences as f64;
    let cache = layer.map_or(f64::INFINITY, |bytes| bytes as f64) * config.layers as f64 + logits;
    match total().filter(|&total| weights + cache > total) {
        None => Ok(()),
        Some(total) => bail!(
            "the model needs {:.1} GB of memory ({:.1} for weights, {:.1} for {} positions of {sequences} sequences), this machine has {:.1}: use {remedy} or a smaller model",
            (weights + cache) / 1e9,
            weights / 1e9,
            cache / 1e9,
            config.context,
            total / 1e9
        ),
    }
}

/// Parameters that a model of either wiring has at the least.
fn matrices(config: &Config) -> f64 {
    let (layers, channels) = (config.layers as f64, config.channels as f64);
    let block = 2.0 * channels * channels + 2.0 * channels * config.hidden as f64;
    layers * block + config.vocab as f64 * channels
}

/// Bytes of memory and swap; `None` where the system does not say.
fn total() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024.0)
    };
    Some(bytes("MemTotal:")? + bytes("SwapTotal:").unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use selvedge_tensor::Precision;

    use super::*;

    #[test]
    fn a_small_run_fits_and_a_huge_one_is_refused() {
        if total().is_none() {
            return;
        }
        let small = Config::llama(300, 32, 2, 2, 32);
        check_model(&small).unwrap();
        let huge = Config::llama(1 << 20, 32, 4096, 2, 1 << 18);
        assert!(matrices(&small) <= build::<f32>(small.clone()).unwrap().layout().parameters() as f64);
        let error = check_model(&huge).unwrap_err().to_string();
        assert!(error.contains("GB of memory"), "{error}");
        let of = |cache_type, sequences| Caches { cache_type, sequences, remedy: "a smaller --count" };
        check_generation(&small, 1e6, of(CacheType::F32, 3)).unwrap();
        let error = check_generation(&small, 1e6, of(CacheType::Q8_0, 1 << 40)).unwrap_err().to_string();
        assert!(error.contains("1099511627776 sequences"), "{error}");
        assert!(error.ends_with("use a smaller --count or a smaller model"), "{error}");
        let long = Config { context: 1 << 24, layers: 4096, ..small };
        let one = Caches::one(&Context::solo(), "a shorter --context");
        let error = check_generation(&long, 1e6, one).unwrap_err().to_string();
        assert!(error.contains("16777216 positions") && error.contains("--context"), "{error}");
    }

    #[test]
    fn a_context_may_fit_in_bf16_alone() {
        let Some(total) = total() else { return };
        let config = Config { layers: 64, ..Config::llama(300, 32, 64, 2, 128) };
        // Keys and values of a position, in f32; three quarters of them are too many, of half their size they are not.
        let position = F32 * (2 * config.layers * config.kv_heads * config.head_size()) as f64;
        let config = Config { context: (total / position * 1.5) as usize, ..config };
        let check = |precision| {
            let cx = Context::solo().with_precision(precision);
            check_generation(&config, 1e6, Caches::one(&cx, "a shorter --context"))
        };
        check(Precision::Bf16).unwrap();
        check(Precision::F32).unwrap_err();
    }
}

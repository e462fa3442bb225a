//! Whether the machine can hold a run, asked before the first large allocation: one that fails ends the process
//! without a word about which setting was too large.

use anyhow::bail;
use selvedge_model::{Config, Mode, build};
use selvedge_train::settings::{Recipe, Resources};

/// Refuses a run that is larger than the machine's memory.
///
/// In f64: settings can be large enough to overflow any integer.
pub(crate) fn check_run(config: &Config, recipe: &Recipe, resources: &Resources) -> anyhow::Result<()> {
    const F32: f64 = 4.0;
    let model = build::<f32>(config.clone())?;
    let parameters = model.layout().len() as f64;
    let rows = (recipe.batch as f64 / recipe.shards as f64).ceil();
    let mode = if resources.recompute { Mode::Recompute } else { Mode::Train };
    let each = model.activations(1, recipe.context, mode) as f64 * rows.min(resources.microbatch as f64);
    let dinput = rows * recipe.context as f64 * config.channels as f64;
    let state = F32 * parameters * 3.0;
    let gradients = F32 * parameters * recipe.shards as f64;
    let activations = F32 * (each + dinput) * resources.workers as f64;
    let all = state + gradients + activations;
    match total().filter(|&total| all > total) {
        None => Ok(()),
        Some(total) => bail!(
            "the run needs {:.1} GB of memory ({:.1} for parameters and moments, {:.1} for gradients, {:.1} for activations), this machine has {:.1}: use a smaller model, batch, context or microbatch, or fewer shards",
            all / 1e9,
            state / 1e9,
            gradients / 1e9,
            activations / 1e9,
            total / 1e9,
        ),
    }
}

/// Refuses a model whose parameters alone are larger than the machine's memory.
pub(crate) fn check_model(config: &Config) -> anyhow::Result<()> {
    let bytes = build::<f32>(config.clone())?.layout().len() as f64 * 4.0;
    match total().filter(|&total| bytes > total) {
        None => Ok(()),
        Some(total) => bail!(
            "the model's parameters need {:.1} GB of memory, this machine has {:.1}: use another machine",
            bytes / 1e9,
            total / 1e9
        ),
    }
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
    use super::*;

    #[test]
    fn a_small_run_fits_and_a_huge_one_is_refused_with_its_parts() {
        if total().is_none() {
            return;
        }
        let small = Config::llama(300, 32, 2, 2, 32);
        check_model(&small).unwrap();
        let huge = Config::llama(1 << 20, 32, 4096, 2, 1 << 18);
        let error = check_model(&huge).unwrap_err().to_string();
        assert!(error.contains("GB of memory"), "{error}");
    }
}

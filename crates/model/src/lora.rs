//! Low-rank adapters (LoRA, Hu et al. 2021): W is frozen, and y = x·Wᵀ + (α/r)·(dropout(x)·Aᵀ)·Bᵀ with A (r, C), B (O, r).
//!
//! The parameters of all adapters are one flat buffer with a [`Layout`] of its own, so the optimizer, the reduction and the
//! checkpoint treat them as those of a model. [`Tuned`] is such a model. [`peft`] reads and writes the files of the library of
//! that name, and [`merge`] adds adapters into the weights they are for.

mod adapted;
mod applied;
mod error;
pub mod peft;
mod tuned;

use std::ops::Range;

pub use adapted::Adapted;
use adapted::vectors;
pub(crate) use applied::{Applied, Draw};
pub use error::Error;
pub use tuned::{Tuned, merge};

use crate::architecture::is_product;
use crate::hf::names;
use crate::layout::{Allocator, Init, Layout, Slot, Span};
use crate::{Arch, Config, layout};

/// What adapters are like.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// r, the rank.
    pub rank: usize,
    /// α: what they add is multiplied by α/r.
    pub alpha: f64,
    /// α/√r instead ("rank-stabilized", Kalajdzievski 2023).
    pub rank_stabilized: bool,
    /// Chance of an input of an adapter to be 0 in training.
    pub dropout: f64,
}

impl Settings {
    /// Rank r and α without dropout.
    pub fn new(rank: usize, alpha: f64) -> Self {
        Settings { rank, alpha, rank_stabilized: false, dropout: 0.0 }
    }

    /// What an adapter adds is multiplied by this.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// Checks that they mean something.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first that does not.
    pub fn validate(&self) -> Result<(), Error> {
        let reject = |field, value: String, rule| Err(Error::Setting { field, value, rule });
        if !(1..=MOST_RANK).contains(&self.rank) {
            return reject("rank", self.rank.to_string(), "must be from 1 to 4096");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0 && self.alpha <= 1e6) {
            return reject("alpha", self.alpha.to_string(), "must be above 0 and at most 1000000");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return reject("dropout", self.dropout.to_string(), "must be from 0 to below 1");
        }
        Ok(())
    }
}

/// The largest rank.
const MOST_RANK: usize = 4096;

/// One adapter: which outputs of which weight it is for, and where its matrices lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// The module it is for, as transformers names it: `model.layers.0.self_attn.q_proj`.
    pub(crate) module: String,
    /// The weight's place in the model's listing.
    pub(crate) slot: usize,
    /// Consecutive outputs of the weight.
    pub(crate) outputs: Range<usize>,
    /// A (r, C).
    pub(crate) a: Span,
    /// B (O, r).
    pub(crate) b: Span,
}

/// A set of adapters for a model: where they are and how their parameters lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    settings: Settings,
    places: Vec<Place>,
    layout: Layout,
}

impl Adapters {
    /// Adapters of all blocks for the modules named: the last part of what transformers calls them, such as `q_proj` of
    /// Llama or `c_attn` of GPT-2; [`modules`] lists them.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Target`] for a module that a model of this configuration does not have, and
    /// [`Error::Model`] for a configuration that makes no model.
    pub fn new(config: &Config, settings: Settings, targets: &[String]) -> Result<Self, Error> {
        let known = modules(config.arch);
        if let Some(target) = targets.iter().find(|target| !known.contains(&target.as_str())) {
            return Err(Error::Target { target: target.clone(), known: known.join(", ") });
        }
        if targets.is_empty() {
            return Err(Error::Target { target: String::new(), known: known.join(", ") });
        }
        let wanted = |module: &str| targets.iter().any(|target| Some(target.as_str()) == last(module));
        Adapters::of_modules(config, settings, wanted)
    }

    /// Adapters for the modules that `wanted` says.
    pub(crate) fn of_modules(
        config: &Config,
        settings: Settings,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Self, Error> {
        settings.validate()?;
        let base = layout(config)?;
        let (mut allocator, mut slots, mut places) = (Allocator::default(), Vec::new(), Vec::new());
        for (index, slot) in base.slots().iter().enumerate() {
            if !is_product(slot, config.tied) || !slot.name.starts_with("block.") {
                continue;
            }
            for (module, outputs) in modules_of(config, slot) {
                if !wanted(&module) {
                    continue;
                }
                // The variance of PEFT's start of A, which is uniform within 1/√C; what B adds is 0 at first.
                let deviation = 1.0 / (3.0 * slot.span.cols as f64).sqrt();
                let name = |part: &str| format!("{module}.{part}.weight");
                let a = allocator.matrix(name("lora_A"), settings.rank, slot.span.cols, deviation);
                let b = allocator.matrix(name("lora_B"), outputs.len(), settings.rank, 0.0);
                places.push(Place { slot: index, outputs, a: a.span, b: b.span, module });
                slots.extend([a, Slot { init: Init::Zeros, ..b }]);
            }
        }
        Ok(Adapters { settings, places, layout: Layout::new(slots, allocator.len()) })
    }

    /// What they are like.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where their parameters lie, A and B in turn.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The modules that have one, as transformers names them.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.module.as_str())
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Those of the weight at place `slot` of the listing; with a draw, as training applies them.
    pub(crate) fn of<'a, T>(
        &'a self,
        slot: usize,
        params: &'a [T],
        draw: Option<Draw>,
    ) -> Option<Applied<'a, T>> {
        let first = self.places.partition_point(|place| place.slot < slot);
        let end = self.places.partition_point(|place| place.slot <= slot);
        (first < end).then(|| Applied::new(&self.settings, first, &self.places[first..end], params, draw))
    }
}

/// The modules of a block that can have adapters, as transformers names them.
pub fn modules(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Gpt2 => &["c_attn", "c_proj", "c_fc"],
        Arch::Llama => &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    }
}

/// A module's name without what it is in.
fn last(module: &str) -> Option<&str> {
    module.rsplit('.').next()
}

/// The modules that make up a weight, with the outputs of each.
fn modules_of(config: &Config, slot: &Slot) -> Vec<(String, Range<usize>)> {
    let parts = names::slot_parts(config, slot).into_iter();
    let row = |at: usize| (at - slot.span.offset) / slot.span.cols;
    let module = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_owned();
    parts.map(|part| (module(&part.name), row(part.range.start)..row(part.range.end))).collect()
}

//! Arguments of `selvedge finetune`.

use std::path::PathBuf;

use clap::Args;
use selvedge_model::Arch;
use selvedge_model::lora::{Settings, modules};

use super::{DtypeArg, ResourceArgs, ShapeArg};

const EXAMPLES: &str = "\
Examples:
  selvedge finetune --model SmolLM2-135M-Instruct.Q4_1.gguf --data chats.jsonl --out adapter
  selvedge finetune --model models/Qwen3-0.6B --data chats.jsonl --rank 16 --alpha 32 --targets all --out adapter
  selvedge finetune --model models/gpt2 --data pairs.jsonl --full --lr 0.00002 --out tuned
  selvedge generate \"Who are you?\" --model SmolLM2-135M-Instruct.Q4_1.gguf --adapter adapter

Data is JSON, one example a line: {\"messages\": [{\"role\": \"user\", \"content\": …}, {\"role\": \"assistant\", …}]},
{\"prompt\": …, \"completion\": …} or {\"text\": …}. Only answers are learnt: the assistant's messages, completions, texts.
The adapter is in the format of PEFT: adapter_config.json and adapter_model.safetensors.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FinetuneArgs {
    /// Model to start from: a .gguf file, whose quantized weights stay as they are, or a Hugging Face folder
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    pub(crate) model: PathBuf,
    /// File of examples; may be given several times
    #[arg(long, value_name = "JSONL", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Folder for the adapter, or with --full for the model
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Train all parameters instead of adapters: four times the memory of the model in f32 and more
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the base with the adapters added into it too, in f32, into OUT/merged
    #[arg(long, conflicts_with = "full")]
    pub(crate) merge: bool,
    /// Go on from the last checkpoint in OUT, with the same data and settings
    #[arg(long)]
    pub(crate) resume: bool,

    /// Rank of the adapters
    #[arg(long, value_name = "R", default_value_t = 8, help_heading = "Adapters")]
    pub(crate) rank: usize,
    /// What they add is multiplied by alpha / rank
    #[arg(long, default_value_t = 16.0, help_heading = "Adapters")]
    pub(crate) alpha: f64,
    /// Chance of an input of an adapter to be dropped
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Adapters")]
    pub(crate) dropout: f64,
    /// Modules that get one, with or without _proj: q,k,v,o,gate,up,down, c_attn,c_proj,c_fc of GPT-2, or all
    /// [default: q,v, or c_attn]
    #[arg(long, value_name = "MODULES", value_delimiter = ',', help_heading = "Adapters")]
    pub(crate) targets: Vec<String>,

    /// Times that all examples are seen
    #[arg(long, default_value_t = 1, help_heading = "Recipe", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) epochs: u64,
    /// Steps instead
    #[arg(long, help_heading = "Recipe", conflicts_with = "epochs")]
    pub(crate) steps: Option<u64>,
    /// Rows a step; a row holds as many examples as fit
    #[arg(long, value_name = "ROWS", default_value_t = 4, help_heading = "Recipe")]
    pub(crate) batch: usize,
    /// Tokens of a row; longer examples are cut
    #[arg(long, value_name = "T", default_value_t = 512, help_heading = "Recipe",
        value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: u32,
    /// One example a row
    #[arg(long, help_heading = "Recipe")]
    pub(crate) no_packing: bool,
    /// Parts of fixed size a batch is cut into, each with a gradient of its own; the result depends on them
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Recipe")]
    pub(crate) shards: usize,
    /// Seed of the adapters, of the order and of dropout
    #[arg(long, default_value_t = 1, help_heading = "Recipe")]
    pub(crate) seed: u64,
    /// Highest learning rate [default: 0.0002, or with --full 0.00002]
    #[arg(long, help_heading = "Recipe")]
    pub(crate) lr: Option<f64>,
    /// Steps of linear warmup [default: a twentieth of the run]
    #[arg(long, value_name = "STEPS", help_heading = "Recipe")]
    pub(crate) warmup: Option<u64>,
    /// Learning rate after warmup
    #[arg(long, value_enum, default_value_t = ShapeArg::Cosine, help_heading = "Recipe")]
    pub(crate) schedule: ShapeArg,
    /// Decay of matrices and embeddings
    #[arg(long, default_value_t = 0.0, help_heading = "Recipe")]
    pub(crate) weight_decay: f64,
    /// Largest norm of the gradient; 0 does not clip
    #[arg(long, value_name = "NORM", default_value_t = 1.0, help_heading = "Recipe")]
    pub(crate) clip: f64,
    /// What operands of products are rounded to
    #[arg(long, value_enum, default_value_t = DtypeArg::F32, help_heading = "Recipe")]
    pub(crate) dtype: DtypeArg,
    /// Every so many-th example is held out, for evaluation; 0 holds out none
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Recipe")]
    pub(crate) hold_out: usize,
    /// Steps between evaluations, each of which saves [default: a tenth of the run]
    #[arg(long, value_name = "STEPS", help_heading = "Recipe", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) eval_every: Option<u64>,

    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    /// Rows a worker computes at a time [default: about 512 tokens]
    #[arg(long, value_name = "ROWS", help_heading = "Resources")]
    pub(crate) microbatch: Option<usize>,
    /// Data-parallel workers, each with activations of its own; at most one a shard
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Resources")]
    pub(crate) workers: usize,
    /// Keep only the blocks' outputs and compute the rest again: much less memory, a third more time
    #[arg(long, help_heading = "Resources")]
    pub(crate) recompute: bool,
}

impl FinetuneArgs {
    /// What adapters are like.
    pub(crate) fn settings(&self) -> Settings {
        Settings { dropout: self.dropout, ..Settings::new(self.rank, self.alpha) }
    }

    /// The modules that get an adapter, as transformers names them.
    pub(crate) fn modules(&self, arch: Arch) -> Vec<String> {
        let known = modules(arch);
        let targets: Vec<&str> = match (self.targets.as_slice(), arch) {
            ([], Arch::Gpt2) => vec!["c_attn"],
            ([], Arch::Llama) => vec!["q", "v"],
            (targets, _) => targets.iter().map(|target| target.trim()).collect(),
        };
        if targets == ["all"] {
            return known.iter().map(|&module| module.to_owned()).collect();
        }
        let full = |target: &str| {
            let long = format!("{target}_proj");
            if known.contains(&long.as_str()) { long } else { target.to_owned() }
        };
        targets.into_iter().map(full).collect()
    }
}

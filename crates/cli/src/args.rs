//! The command line. The same flag has the same name in every command.

mod constraint;
mod files;
mod finetune;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use selvedge_model::tensor::attention::CacheType;
use selvedge_model::tensor::quantized::Form;
use selvedge_model::{Arch, Sampling, Storage};
use selvedge_train::schedule::Shape;
use selvedge_train::settings::Dtype;

use crate::eval::args::{EvalArgs, EvalSetArgs};
pub(crate) use constraint::ConstraintArgs;
pub(crate) use files::{ConvertArgs, FormatArg, PublishedArgs, PublishedCommand};
pub(crate) use finetune::FinetuneArgs;

/// Train, evaluate and run GPT-class language models: the same bits on any number of threads.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model on text, from the text to samples
    Train(Box<TrainArgs>),
    /// Fine-tune a published model on examples: adapters (LoRA), or all parameters
    Finetune(Box<FinetuneArgs>),
    /// Continue a text with a trained model
    Generate(GenerateArgs),
    /// Talk with a published model
    Chat(ChatArgs),
    /// How good a model is: loss on held-out text, perplexity of any text, questions answered by likelihood
    Eval(EvalArgs),
    /// Make questions for `eval` from a text that a model has not seen
    EvalSet(EvalSetArgs),
    /// Show what a run folder, a checkpoint, a GGUF or safetensors file or a Hugging Face folder holds
    Inspect(InspectArgs),
    /// Write a model as another kind of files: GGUF or Hugging Face, quantized or not
    Convert(ConvertArgs),
    /// Fetch published models
    Model(PublishedArgs),
    /// Check the promise: the same parameters for any threads, workers, microbatches and instruction sets
    Check(CheckArgs),
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  selvedge train --data notes/                      a folder of text, into runs/run-0001
  selvedge train --data book.txt --steps 200 --out runs/book
  selvedge train --out runs/book --resume           go on after Ctrl-C, a crash or a power cut
  selvedge train --data src/ --arch gpt2 --layers 4 --channels 256 --heads 4

Ctrl-C once finishes the step, saves, and exits with code 130; twice exits at once.
Threads, workers, microbatches and the instruction set change how long it takes, never the result.";

#[derive(Debug, Args)]
#[command(after_help = TRAIN_EXAMPLES)]
pub(crate) struct TrainArgs {
    /// File or folder of text to train on; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Vec<PathBuf>,
    /// List of packages whose Rust sources are the corpus: lines of a name, a tab and a folder (what `cargo xtask train` passes)
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) packages: Option<PathBuf>,
    /// Folder of the run; by default the next free one of runs/run-0001, runs/run-0002, …
    #[arg(long, value_name = "RUN_FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the run in --out (by default the newest in runs/) from its last good checkpoint
    #[arg(long)]
    pub(crate) resume: bool,

    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,

    /// Sequences a worker computes at a time [default: about 512 tokens]
    #[arg(long, value_name = "SEQUENCES", help_heading = "Resources")]
    pub(crate) microbatch: Option<usize>,
    /// Data-parallel workers, each with an equal part of the threads [default: as many as threads and shards allow]
    #[arg(long, value_name = "N", help_heading = "Resources")]
    pub(crate) workers: Option<usize>,
    /// Keep only the blocks' outputs and compute the rest again: less memory, a quarter more time
    #[arg(long, help_heading = "Resources")]
    pub(crate) recompute: bool,
    /// Longest silence of a thread, in seconds, before the run fails
    #[arg(long, value_name = "SECONDS", default_value_t = 300, help_heading = "Resources",
        value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) deadline: u64,

    /// Steps between evaluations, each with a checkpoint [default: a tenth of the run]
    #[arg(long, value_name = "STEPS", help_heading = "Looking up and saving")]
    pub(crate) eval_every: Option<u64>,
    /// Windows of the held-out text an evaluation covers
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Looking up and saving",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) eval_windows: u64,
    /// Text to continue at each evaluation, on a thread beside training, for you to see what the model has learnt
    #[arg(long, value_name = "PROMPT", help_heading = "Looking up and saving")]
    pub(crate) sample: Option<String>,
    /// Steps between further checkpoints; 0 for none
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Looking up and saving")]
    pub(crate) save_every: u64,
    /// Checkpoints to keep besides the best
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Looking up and saving")]
    pub(crate) keep: usize,

    /// Write what each thread did and when (compute, wait, idle) as a trace for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE", help_heading = "Instruments")]
    pub(crate) trace: Option<PathBuf>,
    /// Events in the trace at most: the first ones; about 130 bytes each
    #[arg(
        long,
        value_name = "N",
        default_value_t = 500_000,
        requires = "trace",
        help_heading = "Instruments"
    )]
    pub(crate) trace_events: u64,
    /// Print which thread waited for which, for how long and where; the run folder gets it as waits.svg
    #[arg(long, help_heading = "Instruments")]
    pub(crate) waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchArg {
    Gpt2,
    Llama,
}

impl From<ArchArg> for Arch {
    fn from(arch: ArchArg) -> Arch {
        match arch {
            ArchArg::Gpt2 => Arch::Gpt2,
            ArchArg::Llama => Arch::Llama,
        }
    }
}

/// The model. Fixed for the life of a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Block wiring [default: llama]
    #[arg(long)]
    pub(crate) arch: Option<ArchArg>,
    /// Entries of the tokenizer's vocabulary [default: 4096]
    #[arg(long, value_name = "V")]
    pub(crate) vocab: Option<usize>,
    /// Tokens of a sequence [default: 256]
    #[arg(long, value_name = "T")]
    pub(crate) context: Option<usize>,
    /// Blocks [default: 5]
    #[arg(long, value_name = "L")]
    pub(crate) layers: Option<usize>,
    /// Query heads [default: 6]
    #[arg(long, value_name = "H")]
    pub(crate) heads: Option<usize>,
    /// Key and value heads, for grouped-query attention (llama) [default: as many as query heads]
    #[arg(long, value_name = "HKV")]
    pub(crate) kv_heads: Option<usize>,
    /// Width of the residual stream [default: 384]
    #[arg(long, value_name = "C")]
    pub(crate) channels: Option<usize>,
    /// An output head of its own instead of the token embedding
    #[arg(long)]
    pub(crate) untied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeArg {
    Cosine,
    Wsd,
    Constant,
}

impl From<ShapeArg> for Shape {
    fn from(shape: ShapeArg) -> Shape {
        match shape {
            ShapeArg::Cosine => Shape::Cosine,
            ShapeArg::Wsd => Shape::Wsd,
            ShapeArg::Constant => Shape::Constant,
        }
    }
}

/// What is computed. Fixed for the life of a run, but for the number of steps.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe")]
pub(crate) struct RecipeArgs {
    /// Steps of the run [default: 550]
    #[arg(long)]
    pub(crate) steps: Option<u64>,
    /// Sequences a step [default: 4]
    #[arg(long, value_name = "SEQUENCES")]
    pub(crate) batch: Option<usize>,
    /// Parts of fixed size a batch is cut into; the result depends on them, not on the workers [default: 4, at most the batch]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<usize>,
    /// Seed of the initial weights, the sample order and the held-out text [default: 1]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Highest learning rate [default: 0.001]
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Steps of linear warmup [default: a twentieth of the run]
    #[arg(long, value_name = "STEPS")]
    pub(crate) warmup: Option<u64>,
    /// Learning rate after warmup: half a cosine, warmup-stable-decay, or constant [default: cosine]
    #[arg(long)]
    pub(crate) schedule: Option<ShapeArg>,
    /// Decay of matrices and embeddings [default: 0.1]
    #[arg(long)]
    pub(crate) weight_decay: Option<f64>,
    /// Largest norm of the gradient; 0 does not clip [default: 1]
    #[arg(long, value_name = "NORM")]
    pub(crate) clip: Option<f64>,
    /// What operands of products are rounded to; parameters and sums are f32 either way [default: f32]
    #[arg(long)]
    pub(crate) dtype: Option<DtypeArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArg {
    F32,
    Bf16,
}

impl From<DtypeArg> for Dtype {
    fn from(dtype: DtypeArg) -> Dtype {
        match dtype {
            DtypeArg::F32 => Dtype::F32,
            DtypeArg::Bf16 => Dtype::Bf16,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    Cpu,
}

/// What may be used. Changes how long it takes, never the result.
#[derive(Debug, Args)]
#[command(next_help_heading = "Resources")]
pub(crate) struct ResourceArgs {
    /// Threads in all [default: the machine's cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Instruction set: auto, avx512-bf16, avx512, avx2, neon-dot, neon or scalar
    #[arg(long, default_value = "auto")]
    pub(crate) isa: String,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
}

impl ResourceArgs {
    /// Threads to use.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

const GENERATE_EXAMPLES: &str = "\
Examples:
  selvedge generate \"fn main() {\"                   with the newest run in runs/
  selvedge generate \"Once upon\" --run runs/book --temperature 0
  selvedge generate \"use std::\" --tokens 50 --seed 7
  selvedge generate \"impl Drop\" --weights q8_0           with 8 bits a weight
  selvedge generate \"impl Drop\" -n 4                    four texts at once
  selvedge generate \"The sea is\" --model smollm2        fetched with `selvedge model get smollm2`
  selvedge generate \"The sea is\" --model SmolLM2-135M-Instruct.Q4_1.gguf
  selvedge generate \"The sea is\" --model models/Qwen3-0.6B --dtype bf16
  selvedge generate \"A crab: \" --model smollm2 --json-schema '{\"type\": \"object\", \"properties\":
    {\"name\": {\"type\": \"string\"}, \"legs\": {\"type\": \"integer\"}}, \"required\": [\"name\", \"legs\"]}'
  selvedge generate \"Born in \" --model smollm2 --regex '(18|19)[0-9]{2}' --logprobs 3
  selvedge generate \"Is water wet? \" --model smollm2 --choice yes --choice no";

#[derive(Debug, Args)]
#[command(after_help = GENERATE_EXAMPLES)]
pub(crate) struct GenerateArgs {
    /// Text to continue
    pub(crate) prompt: String,
    /// Run folder or checkpoint [default: the newest run in runs/]
    #[arg(long, value_name = "RUN_OR_CHECKPOINT")]
    pub(crate) run: Option<PathBuf>,
    /// Published model instead: a .gguf file, or a Hugging Face folder, of GPT-2, Llama, Mistral, SmolLM2, Qwen2 or Qwen3;
    /// or smollm2, once it was fetched with `selvedge model get smollm2`
    #[arg(long, value_name = "FILE_OR_FOLDER", conflicts_with = "run")]
    pub(crate) model: Option<PathBuf>,
    /// Adapter for the published model: a folder that `selvedge finetune` or PEFT has written
    #[arg(long, value_name = "FOLDER", requires = "model")]
    pub(crate) adapter: Option<PathBuf>,
    /// Positions of a published model to have room for, prompt included
    #[arg(long, value_name = "N", default_value_t = 4096, requires = "model",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: u32,
    /// What operands of a published model's products are rounded to, where its weights are not quantized [default: f32]
    #[arg(long, requires = "model")]
    pub(crate) dtype: Option<DtypeArg>,
    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) tokens: usize,
    /// Texts to write, side by side; each has a seed of its own, from --seed on
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) count: u32,
    /// How keys and values of earlier positions are kept [default: what products are computed in]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub(crate) cache: Option<CacheArg>,
    /// How weights are kept: as trained, or rounded to 4 to 8 bits each, which takes less memory
    #[arg(long, value_name = "FORM", value_enum, default_value_t = WeightForm::Trained)]
    pub(crate) weights: WeightForm,
    /// Print each token with its log-probability and those of the N likeliest, to standard error, when the text is done
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1000))]
    pub(crate) logprobs: Option<u32>,
    #[command(flatten)]
    pub(crate) constraint: ConstraintArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
}

/// Which of the tokens that could follow is taken.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Below 1 prefers likely tokens; 0 always takes the likeliest
    #[arg(long, default_value_t = 0.8)]
    pub(crate) temperature: f32,
    /// Consider only the K likeliest tokens; 0 considers all
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub(crate) top_k: usize,
    /// Consider only the likeliest tokens that together have this share of the probability; 1 considers all
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Consider only tokens with at least this share of the likeliest one's probability; 0 considers all
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) min_p: f32,
    /// Consider only tokens about as surprising as is to be expected, with this share of the probability; 1 considers all
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) typical: f32,
    /// Makes tokens of the text so far less likely by this factor; 1 does not
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f32,
    /// Taken off the logit of every token that has been generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) presence_penalty: f32,
    /// Taken off the logit of a token as often as it has been generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) frequency_penalty: f32,
    /// Added to the logit of a token, by its id, as in 42=-1.5; -inf bans it; may be given several times
    #[arg(long, value_name = "TOKEN=BIAS", value_parser = constraint::bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Text that ends the output, and is not shown; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl SamplingArgs {
    /// How tokens are chosen.
    pub(crate) fn settings(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            typical: self.typical,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed,
            ..Sampling::default()
        }
    }
}

/// How keys and values are kept for generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheArg {
    F32,
    Bf16,
    F16,
    /// 8.5 bits an element
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<CacheArg> for CacheType {
    fn from(cache: CacheArg) -> Self {
        match cache {
            CacheArg::F32 => CacheType::F32,
            CacheArg::Bf16 => CacheType::Bf16,
            CacheArg::F16 => CacheType::F16,
            CacheArg::Q8_0 => CacheType::Q8_0,
        }
    }
}

const CHAT_EXAMPLES: &str = "\
Examples:
  selvedge chat SmolLM2-135M-Instruct.Q4_1.gguf
  selvedge chat models/Qwen3-0.6B --system \"You are brief.\" --temperature 0
  selvedge chat model.gguf --history ~/.chat-history --context 8192
  selvedge chat model.gguf --json-schema answer.schema.json
  selvedge chat model.gguf --choice yes --choice no
  printf 'What is the sea?\\nAnd salt?\\n' | selvedge chat model.gguf > answers.txt

A line is a message. A backslash at its end goes on to the next line, and lines between \"\"\" and \"\"\" are one message.
Messages that begin with a slash are commands; /help lists them. Ctrl-C ends an answer, Ctrl-D the conversation.
Where input is no terminal, there are no prompts: answers go to standard output, one behind the other.";

#[derive(Debug, Args)]
#[command(after_help = CHAT_EXAMPLES)]
pub(crate) struct ChatArgs {
    /// Published model with a chat template: a .gguf file, or a Hugging Face folder
    #[arg(value_name = "FILE_OR_FOLDER")]
    pub(crate) model: PathBuf,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Positions to have room for: the whole conversation
    #[arg(long, value_name = "N", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: u32,
    /// Chat template to use instead of the model's own, in Jinja
    #[arg(long, value_name = "FILE")]
    pub(crate) template: Option<PathBuf>,
    /// Keep the lines that were typed in this file, and offer those that are there
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// What operands of products are rounded to, where weights are not quantized [default: f32]
    #[arg(long)]
    pub(crate) dtype: Option<DtypeArg>,
    /// How weights are kept: as the model has them, or rounded to 4 to 8 bits each, which takes less memory
    #[arg(long, value_name = "FORM", value_enum, default_value_t = WeightForm::Trained)]
    pub(crate) weights: WeightForm,
    #[command(flatten)]
    pub(crate) constraint: ConstraintArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
}

/// How weights are kept for generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightForm {
    /// In the precision of the run, or as a published model has them
    Trained,
    /// The numbers that a published model's quantized weights stand for, in the precision of --dtype
    Dequantized,
    /// 8.5 bits a weight
    #[value(name = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight
    #[value(name = "q4_0")]
    Q4_0,
    /// 5 bits a weight
    #[value(name = "q4_1")]
    Q4_1,
    /// 5.5 bits a weight
    #[value(name = "q5_0")]
    Q5_0,
    /// 6 bits a weight
    #[value(name = "q5_1")]
    Q5_1,
}

impl From<WeightForm> for Storage {
    fn from(form: WeightForm) -> Self {
        match form {
            WeightForm::Trained | WeightForm::Dequantized => Storage::Packed,
            WeightForm::Q8_0 => Storage::Quantized(Form::Q8_0),
            WeightForm::Q4_0 => Storage::Quantized(Form::Q4_0),
            WeightForm::Q4_1 => Storage::Quantized(Form::Q4_1),
            WeightForm::Q5_0 => Storage::Quantized(Form::Q5_0),
            WeightForm::Q5_1 => Storage::Quantized(Form::Q5_1),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  selvedge inspect runs/book\n  selvedge inspect SmolLM2-135M-Instruct.Q4_1.gguf\n  selvedge inspect models/Qwen3-0.6B\n  selvedge inspect runs/book/checkpoints/step-00000550 --digest"
)]
pub(crate) struct InspectArgs {
    /// Run folder, checkpoint, .gguf or .safetensors file, Hugging Face folder, or the name of a fetched model [default:
    /// the newest run in runs/]
    #[arg(value_name = "MODEL")]
    pub(crate) run: Option<PathBuf>,
    /// Print one line: the digest of all parameters
    #[arg(long)]
    pub(crate) digest: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Steps to train in each setting
    #[arg(long, default_value_t = 20)]
    pub(crate) steps: u64,
    /// Wait a random moment, up to so many microseconds, before each microbatch
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 300)]
    pub(crate) delays: u64,
}

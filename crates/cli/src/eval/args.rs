//! The arguments of `eval` and `eval-set`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use crate::args::{DtypeArg, ResourceArgs, WeightForm};

const EVAL_EXAMPLES: &str = "\
Examples:
  selvedge eval runs/book --windows 1000                   loss on the run's own held-out text
  selvedge eval --model SmolLM2-135M-Instruct.Q4_1.gguf --text book.txt
  selvedge eval --model models/Qwen3-0.6B --text book.txt --context 1024 --chunks 40 --json
  selvedge eval runs/book --choices choices.jsonl --last-word words.jsonl

A text is cut and scored as by llama.cpp's llama-perplexity. Lines of files of questions look like
  {\"context\": \"She opened the\", \"endings\": [\"door.\", \"sky.\"], \"label\": 0}
  {\"text\": \"She opened the door\"}
  {\"context\": \"She opened the\", \"target\": \"door\"}
with a space put between context and what follows where there is no white space.";

#[derive(Debug, Args)]
#[command(after_help = EVAL_EXAMPLES, group(ArgGroup::new("measure").multiple(true)))]
pub(crate) struct EvalArgs {
    /// Run folder or checkpoint [default: the newest run in runs/]
    #[arg(value_name = "RUN_OR_CHECKPOINT")]
    pub(crate) run: Option<PathBuf>,
    /// Published model instead: a .gguf file, or a Hugging Face folder, as for `generate`
    #[arg(long, value_name = "FILE_OR_FOLDER", conflicts_with = "run", requires = "measure")]
    pub(crate) model: Option<PathBuf>,
    /// Windows of the run's held-out text to cover [default: all]
    #[arg(long, value_name = "N", conflicts_with = "measure")]
    pub(crate) windows: Option<u64>,
    /// Perplexity of the text in this file
    #[arg(long, value_name = "FILE", group = "measure")]
    pub(crate) text: Option<PathBuf>,
    /// Share of questions in which the right ending is held likeliest: JSON lines with context, endings, label
    #[arg(long, value_name = "FILE", group = "measure")]
    pub(crate) choices: Option<PathBuf>,
    /// Share of texts whose last word the model would write: JSON lines with text, or with context and target
    #[arg(long, value_name = "FILE", group = "measure")]
    pub(crate) last_word: Option<PathBuf>,
    /// Tokens of a chunk of the text [default: 512], and room for a question [default: 2048]; at most the model's
    #[arg(long, value_name = "N", requires = "measure", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
    /// Chunks of the text to cover [default: all]
    #[arg(long, value_name = "N", requires = "text", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) chunks: Option<u32>,
    /// What operands of a published model's products are rounded to, where its weights are not quantized [default: f32]
    #[arg(long, requires = "model")]
    pub(crate) dtype: Option<DtypeArg>,
    /// How weights are kept: as trained, dequantized, or rounded to 4 to 8 bits each
    #[arg(long, value_name = "FORM", value_enum, default_value_t = WeightForm::Trained, requires = "measure")]
    pub(crate) weights: WeightForm,
    /// Print results as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
}

impl EvalArgs {
    /// Whether anything but the run's own held-out text is asked for.
    pub(crate) fn has_measure(&self) -> bool {
        self.text.is_some() || self.choices.is_some() || self.last_word.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What follows in the text beside three passages from elsewhere in it
    Choices,
    /// A word that the text before it has as well
    LastWord,
}

const EVAL_SET_EXAMPLES: &str = "\
Examples:
  selvedge eval-set --text book.txt --kind choices --count 500 --out choices.jsonl
  selvedge eval-set --text book.txt --kind last-word --count 500 --seed 7 --out words.jsonl

The same text, kind and seed make the same questions; of a larger number, the first are those of a smaller one.";

#[derive(Debug, Args)]
#[command(after_help = EVAL_SET_EXAMPLES)]
pub(crate) struct EvalSetArgs {
    /// Text to make questions from, which the model should not have seen
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// What the questions ask
    #[arg(long)]
    pub(crate) kind: Kind,
    /// Questions to make
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Seed of places and wrong endings
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// File to write, JSON lines; there whole or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

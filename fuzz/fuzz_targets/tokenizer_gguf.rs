//! See `selvedge_fuzz::tokenizer_gguf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selvedge_fuzz::tokenizer_gguf(bytes));

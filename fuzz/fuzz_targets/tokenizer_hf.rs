//! See `selvedge_fuzz::tokenizer_hf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selvedge_fuzz::tokenizer_hf(bytes));

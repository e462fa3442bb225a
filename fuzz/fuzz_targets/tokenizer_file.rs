//! See `selvedge_fuzz::tokenizer_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selvedge_fuzz::tokenizer_file(bytes));

//! See `selvedge_fuzz::gguf_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selvedge_fuzz::gguf_header(bytes));

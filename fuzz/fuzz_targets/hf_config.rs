//! See `selvedge_fuzz::hf_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selvedge_fuzz::hf_config(bytes));

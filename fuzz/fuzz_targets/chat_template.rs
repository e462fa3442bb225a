//! See `selvedge_fuzz::chat_template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selvedge_fuzz::chat_template(bytes));

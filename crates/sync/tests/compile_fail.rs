//! What must not compile, with the messages that say why. After a new compiler: TRYBUILD=overwrite, and read the
//! difference.
#![cfg(not(any(loom, shuttle)))]

#[test]
fn misuse_does_not_compile() {
    // A sanitizer has nothing to look for in a compiler that it did not build.
    let watched = ["TSAN_OPTIONS", "ASAN_OPTIONS", "LSAN_OPTIONS"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    if !watched {
        trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
    }
}

//! Words for the person at the terminal: results on standard output, everything else on standard error.
//!
//! `println!` and `eprintln!` panic when the other end is gone, as in `selvedge inspect | head -1`. Here a result
//! that cannot be written is an error, and a remark that cannot be written is not worth the end of a training run.

use std::fmt::Arguments;
use std::io::{self, Write as _};

use anyhow::Context as _;

/// Prints a result.
pub(crate) fn print_result(text: Arguments<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Prints a remark.
pub(crate) fn print_remark(text: Arguments<'_>) {
    // There is nowhere left to say that it failed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether the error is that the reader of the standard output has left, having seen enough.
pub(crate) fn reader_left(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}

/// [`print_result`] with a format string.
macro_rules! result {
    ($($part:tt)*) => { $crate::say::print_result(format_args!($($part)*)) };
}
/// [`print_remark`] with a format string.
macro_rules! remark {
    ($($part:tt)*) => { $crate::say::print_remark(format_args!($($part)*)) };
}
pub(crate) use {remark, result};

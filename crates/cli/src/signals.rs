//! Ctrl-C once asks the program to stop in good order; twice ends it at once.

use std::sync::Arc;

use anyhow::Context;
use selvedge_sync::CancelToken;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::INTERRUPTED;

/// A token that the first SIGINT or SIGTERM cancels; the second one exits. The handlers only set a flag.
pub(crate) fn install() -> anyhow::Result<CancelToken> {
    let cancel = CancelToken::new();
    let flag = cancel.flag();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first handler looks at the flag before the second one sets it.
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("cannot install the handler for Ctrl-C")?;
    }
    Ok(cancel)
}

/// From now on the first SIGTERM exits, and if `interrupts` the first SIGINT: where nothing is lost by it, and the program
/// may be waiting for input.
pub(crate) fn exit_at_once(interrupts: bool) -> anyhow::Result<()> {
    let always = CancelToken::new();
    always.cancel();
    for signal in [SIGTERM, SIGINT].into_iter().take(1 + usize::from(interrupts)) {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), always.flag())
            .context("cannot install the handler for Ctrl-C")?;
    }
    Ok(())
}

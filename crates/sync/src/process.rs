//! Which process this is, cheaply enough to ask at every parallel region.
#![cfg_attr(unix, expect(unsafe_code, reason = "registering a fork handler with the C library"))]

/// The id of this process.
///
/// Asking the system takes over a hundred nanoseconds, more than an empty region. So the answer is kept until a fork,
/// whose child forgets it: the crate's one global state, a fact about the process and nothing of its users. A
/// process copied behind the C library's back (by a bare `clone` call) is not noticed here.
#[cfg(unix)]
pub(crate) fn id() -> u32 {
    match fork::KEPT.load(std::sync::atomic::Ordering::Relaxed) {
        0 => fork::ask(),
        id => id,
    }
}

#[cfg(not(unix))]
pub(crate) fn id() -> u32 {
    std::process::id()
}

#[cfg(unix)]
mod fork {
    // std's own atomics even under loom, whose atomics cannot be global: nothing here orders any other memory.
    use std::ffi::c_int;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    /// The id, or zero when it has to be asked for.
    pub(super) static KEPT: AtomicU32 = AtomicU32::new(0);
    /// Somebody registers the handler, or has.
    static CLAIMED: AtomicBool = AtomicBool::new(false);
    /// The handler is registered, so the id may be kept.
    static REGISTERED: AtomicBool = AtomicBool::new(false);

    type Handler = Option<unsafe extern "C" fn()>;

    unsafe extern "C" {
        fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
    }

    extern "C" fn forget() {
        KEPT.store(0, Ordering::Relaxed);
    }

    /// Never waits for another thread: in a fork's child the other thread may not exist.
    #[cold]
    pub(super) fn ask() -> u32 {
        if !CLAIMED.swap(true, Ordering::Relaxed) {
            // SAFETY: the handler lives as long as the code does, and only stores to an atomic, which a fork's child
            // may do. A failure leaves the id to be asked for each time.
            let status = unsafe { pthread_atfork(None, None, Some(forget)) };
            REGISTERED.store(status == 0, Ordering::Relaxed);
        }
        let id = std::process::id();
        if REGISTERED.load(Ordering::Relaxed) {
            KEPT.store(id, Ordering::Relaxed);
        }
        id
    }
}

//! What the processor is told about memory that is used soon: hints, which change no result.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "hints name any address, and none is followed")
)]

/// Tells the processor that `count` elements from `start` on are about to be used.
#[inline(always)]
pub(crate) fn prefetch<T>(start: *const T, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..count).step_by(64 / size_of::<T>()) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, count);
}

/// Tells the processor that the line of an element is used after what is used now: it is put into the second cache, for the
/// nearest is full of that.
#[inline(always)]
pub(crate) fn call_for<T>(element: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, which may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(element.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

/// Tells the processor that `count` elements from `start` on are about to be written. Where another core has read or written
/// them last, its copies must go first, and stores would wait for that one after another.
#[inline(always)]
pub(crate) fn claim<T>(start: *mut T, count: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        let ends = [start.addr(), start.wrapping_add(count).addr()];
        for line in (ends[0] / 64..ends[1].div_ceil(64)).map(|line| line * 64) {
            // SAFETY: a hint, which may name any address, and nothing to processors that do not know it.
            unsafe {
                core::arch::asm!("prefetchw [{0}]", in(reg) line, options(nostack, preserves_flags, readonly));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, count);
}

/// Orders what was written past the caches before everything that is written from now on.
pub(crate) fn settle() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: of SSE, which every x86-64 has.
    unsafe {
        core::arch::x86_64::_mm_sfence()
    };
}

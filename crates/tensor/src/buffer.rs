//! Zeroed memory for many elements, in large pages where the system gives them.
//!
//! Kernels that walk down columns touch another page with every row; with pages of 4 KiB most of their time would go to
//! looking up where those pages are.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// A slice of its own, zeroed when made, aligned to cache lines if it is large.
pub struct Buffer<T> {
    memory: Memory<T>,
    len: usize,
}

enum Memory<T> {
    Small(Vec<T>),
    Large(MmapMut),
}

/// Bytes from which on large pages are worth asking for: two of them.
const LARGE: usize = 4 << 20;

impl<T: Pod> Buffer<T> {
    /// `len` zeros.
    ///
    /// The memory is not taken from the system before it is touched.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let memory = match (bytes >= LARGE).then(|| MmapMut::map_anon(bytes)) {
            Some(Ok(map)) => {
                // Where the system has none, or gives none, small ones serve too.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                Memory::Large(map)
            }
            // The allocator reports in the usual way what cannot be had.
            Some(Err(_)) | None => Memory::Small(vec![T::zeroed(); len]),
        };
        Buffer { memory, len }
    }
}

impl<T: Pod> From<&[T]> for Buffer<T> {
    fn from(values: &[T]) -> Self {
        let mut buffer = Buffer::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.memory {
            Memory::Small(vec) => vec,
            Memory::Large(map) => &bytemuck::cast_slice(map)[..self.len],
        }
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Small(vec) => vec,
            Memory::Large(map) => &mut bytemuck::cast_slice_mut(map)[..self.len],
        }
    }
}

impl<T: Pod> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_ones_are_zeroed_and_hold_what_is_written() {
        for len in [0, 1, 1000, LARGE / 4, LARGE / 2 + 3] {
            let mut buffer = Buffer::<f32>::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0));
            buffer.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            assert!(buffer.iter().enumerate().all(|(i, &x)| x == i as f32));
            assert_eq!(*Buffer::from(&*buffer), *buffer);
        }
    }
}

//! Token files: a text as token ids, memory-mapped, checked before use.
//!
//! All numbers are little-endian. The header is 128 bytes:
//!
//! | byte | field |
//! | --- | --- |
//! | 0 | magic, `SLVDGTOK` |
//! | 8 | format version, u32 |
//! | 12 | bytes per token, u32: 2 for a vocabulary of at most 65,536, else 4 |
//! | 16 | vocabulary size, u64 |
//! | 24 | number of tokens, u64 |
//! | 32 | bytes of the text they encode, u64: what bits per byte is counted over |
//! | 40 | digest of the tokenizer, 32 bytes |
//! | 72 | BLAKE3 of the tokens as stored, 32 bytes |
//! | 104 | first 24 bytes of the BLAKE3 of bytes 0 to 103 |
//!
//! The ids follow. [`TokenWriter`] makes such a file, [`TokenFile`] maps one.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it under the map")]

mod header;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::Error;
pub use header::{HEADER_BYTES, Header, VERSION};
pub use writer::TokenWriter;

/// A memory-mapped token file.
///
/// # The file must stay as it is while it is mapped
/// Shortening a mapped file makes the next read of it a bus error that no program can catch, and changing it in place
/// changes the training data. [`TokenWriter`] does neither: it writes another file and moves the name, so that
/// tokenizing again under a running training is safe. Leave token files alone otherwise.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    header: Header,
    map: Mmap,
}

impl TokenFile {
    /// Maps the file and checks its header and length. The tokens themselves are checked as they are read, and all at
    /// once by [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, and the `Token…` errors if it is not a whole token file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            return Err(Error::io("open", path)(std::io::ErrorKind::IsADirectory.into()));
        }
        if metadata.len() < HEADER_BYTES {
            // Too short to map at all if empty, and too short for its magic to say what it is.
            return Err(Error::TokenLength {
                path: path.to_path_buf(),
                expected: HEADER_BYTES,
                found: metadata.len(),
            });
        }
        // SAFETY: the file must not be shortened or rewritten while the map lives. The writer in this module never
        // touches an existing file, and the type's documentation asks the user for the same.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let header = Header::decode(path, &map[..HEADER_BYTES as usize])?;
        let expected = HEADER_BYTES + header.payload_bytes();
        if map.len() as u64 != expected {
            return Err(Error::TokenLength { path: path.to_path_buf(), expected, found: map.len() as u64 });
        }
        Ok(Self { path: path.to_path_buf(), header, map })
    }

    /// The file's path as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.header.tokens
    }

    /// True if there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.tokens == 0
    }

    /// Vocabulary size: every id is below it.
    #[must_use]
    pub fn vocab(&self) -> u32 {
        self.header.vocab
    }

    /// Checks that the file was made with this run's tokenizer.
    ///
    /// # Errors
    /// [`Error::TokenVocab`] or [`Error::TokenTokenizer`].
    pub fn expect(&self, vocab: u32, tokenizer: &[u8; 32]) -> Result<(), Error> {
        if self.header.vocab != vocab {
            return Err(Error::TokenVocab {
                path: self.path.clone(),
                expected: vocab,
                found: self.header.vocab,
            });
        }
        if self.header.tokenizer != *tokenizer {
            return Err(Error::TokenTokenizer {
                path: self.path.clone(),
                expected: header::hex(tokenizer),
                found: header::hex(&self.header.tokenizer),
            });
        }
        Ok(())
    }

    /// Reads every token and compares the digest (about a second per two gigabytes when the file is in memory).
    ///
    /// # Errors
    /// [`Error::TokenDigest`].
    pub fn verify(&self) -> Result<(), Error> {
        let found = *blake3::hash(&self.map[HEADER_BYTES as usize..]).as_bytes();
        if found == self.header.digest {
            Ok(())
        } else {
            Err(Error::TokenDigest {
                path: self.path.clone(),
                expected: header::hex(&self.header.digest),
                found: header::hex(&found),
            })
        }
    }

    /// Copies tokens `start..start + out.len()` into `out`.
    ///
    /// # Errors
    /// [`Error::TokenRange`] if not all of them exist, [`Error::TokenId`] naming the byte offset of the first id that
    /// is not below the vocabulary size; what `out` then holds is unspecified.
    pub fn get_window(&self, start: u64, out: &mut [u32]) -> Result<(), Error> {
        let count = out.len() as u64;
        if start > self.header.tokens || count > self.header.tokens - start {
            return Err(Error::TokenRange {
                path: self.path.clone(),
                start,
                count,
                tokens: self.header.tokens,
            });
        }
        let width = u64::from(self.header.width);
        let from = (HEADER_BYTES + start * width) as usize;
        let bytes = &self.map[from..from + out.len() * width as usize];
        if width == 2 {
            for (id, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *id = u32::from(u16::from_le_bytes(*pair));
            }
        } else {
            for (id, four) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *id = u32::from_le_bytes(*four);
            }
        }
        // One branch per window, not per token: the place is looked for only when there is something to find.
        if out.iter().fold(0, |a, &b| a.max(b)) < self.header.vocab {
            return Ok(());
        }
        match out.iter().position(|&id| id >= self.header.vocab) {
            Some(bad) => Err(Error::TokenId {
                path: self.path.clone(),
                offset: from as u64 + bad as u64 * width,
                id: out[bad],
                vocab: self.header.vocab,
            }),
            None => Ok(()),
        }
    }

    /// Number of training windows of `context` inputs: window w holds tokens `w*context ..= (w+1)*context`, so that
    /// neighbours share one token and every token but the first is a target exactly once.
    ///
    /// # Errors
    /// [`Error::ContextTooLong`] if there is none, [`Error::Setting`] if `context` is 0.
    pub fn windows(&self, context: usize) -> Result<u64, Error> {
        if context == 0 {
            return Err(Error::setting("context", context, "at least 1 token"));
        }
        match self.header.tokens.saturating_sub(1) / context as u64 {
            0 => Err(Error::ContextTooLong {
                path: self.path.clone(),
                tokens: self.header.tokens,
                context: context as u64,
            }),
            windows => Ok(windows),
        }
    }
}

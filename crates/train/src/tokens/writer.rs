//! Streams token ids into a token file that appears whole or not at all.

use std::path::Path;

use super::header::{HEADER_BYTES, Header};
use crate::Error;
use crate::fs_atomic::AtomicFile;

/// Bytes gathered before a write.
const BUFFER: usize = 1 << 20;

/// Writes a token file, however long, with one megabyte of memory.
///
/// The ids go to a temporary file beside the final one; [`finish`](Self::finish) makes it durable and gives it its
/// name. Dropped before that, it leaves nothing.
///
/// ```
/// use selvedge_train::tokens::{TokenFile, TokenWriter};
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("train.tokens");
/// let mut writer = TokenWriter::create(&path, 512, [7; 32])?;
/// writer.push(&[17, 4, 511], 9)?; // three tokens that stand for nine bytes of text
/// writer.finish()?;
///
/// let file = TokenFile::open(&path)?;
/// let mut window = [0; 2];
/// file.get_window(1, &mut window)?;
/// assert_eq!((file.len(), window), (3, [4, 511]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TokenWriter {
    out: AtomicFile,
    header: Header,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl TokenWriter {
    /// Begins a token file at `path` for ids below `vocab`, made by the tokenizer with this digest.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written, [`Error::Setting`] if `vocab` is 0.
    pub fn create(path: impl AsRef<Path>, vocab: u32, tokenizer: [u8; 32]) -> Result<Self, Error> {
        if vocab == 0 {
            return Err(Error::setting("vocabulary size", vocab, "at least 1"));
        }
        let mut out = AtomicFile::create(path.as_ref())?;
        // Room for the header, whose counts and digest are known at the end.
        out.write(&[0; HEADER_BYTES as usize])?;
        Ok(Self {
            out,
            header: Header::new(vocab, tokenizer),
            hasher: blake3::Hasher::new(),
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Appends `ids`, which encode `text_bytes` bytes of text.
    ///
    /// # Errors
    /// [`Error::TokenId`] if an id is not below the vocabulary size, [`Error::Io`] if the disk refuses. After an error
    /// drop the writer: the file is not complete.
    pub fn push(&mut self, ids: &[u32], text_bytes: u64) -> Result<(), Error> {
        let vocab = self.header.vocab;
        if let Some(bad) = ids.iter().position(|&id| id >= vocab) {
            return Err(Error::TokenId {
                path: self.out.path().to_path_buf(),
                offset: HEADER_BYTES + (self.header.tokens + bad as u64) * u64::from(self.header.width),
                id: ids[bad],
                vocab,
            });
        }
        let width = self.header.width as usize;
        for part in ids.chunks(BUFFER / 4) {
            if self.buffer.len() + part.len() * width > BUFFER {
                self.flush()?;
            }
            for id in part {
                self.buffer.extend_from_slice(&id.to_le_bytes()[..width]);
            }
        }
        self.header.tokens += ids.len() as u64;
        self.header.text_bytes += text_bytes;
        Ok(())
    }

    /// Completes the file, makes it durable and moves it to its name, replacing an older one.
    ///
    /// # Errors
    /// [`Error::Io`]; an older file of that name is then still there.
    pub fn finish(mut self) -> Result<Header, Error> {
        self.flush()?;
        self.header.digest = *self.hasher.finalize().as_bytes();
        self.out.rewrite_start(&self.header.encode())?;
        self.out.commit()?;
        Ok(self.header)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.buffer);
        self.out.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

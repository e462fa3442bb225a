//! The 128 bytes before the tokens.

use std::path::Path;

use crate::Error;

/// Length of the header, in bytes.
pub const HEADER_BYTES: u64 = 128;

/// The format version this program writes and reads.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"SLVDGTOK";
const CHECK_AT: usize = 104;

/// What a token file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Bytes per token: 2 or 4.
    pub width: u32,
    /// Vocabulary size, at least 1.
    pub vocab: u32,
    /// Number of tokens.
    pub tokens: u64,
    /// Bytes of the text the tokens encode.
    pub text_bytes: u64,
    /// Digest of the tokenizer that made them.
    pub tokenizer: [u8; 32],
    /// BLAKE3 of the tokens as stored.
    pub digest: [u8; 32],
}

impl Header {
    pub(super) fn new(vocab: u32, tokenizer: [u8; 32]) -> Self {
        Self { width: width(vocab), vocab, tokens: 0, text_bytes: 0, tokenizer, digest: [0; 32] }
    }

    /// Bytes all tokens take. Cannot overflow: [`decode`](Self::decode) and the writer hold it below 2⁶³.
    pub(super) fn payload_bytes(&self) -> u64 {
        self.tokens * u64::from(self.width)
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.width.to_le_bytes());
        out[16..24].copy_from_slice(&u64::from(self.vocab).to_le_bytes());
        out[24..32].copy_from_slice(&self.tokens.to_le_bytes());
        out[32..40].copy_from_slice(&self.text_bytes.to_le_bytes());
        out[40..72].copy_from_slice(&self.tokenizer);
        out[72..104].copy_from_slice(&self.digest);
        let check = blake3::hash(&out[..CHECK_AT]);
        out[CHECK_AT..].copy_from_slice(&check.as_bytes()[..HEADER_BYTES as usize - CHECK_AT]);
        out
    }

    /// Reads and checks `bytes`, the first [`HEADER_BYTES`] of the file at `path`.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let array = |at: usize| -> [u8; 8] { std::array::from_fn(|i| bytes[at + i]) };
        let digest = |at: usize| -> [u8; 32] { std::array::from_fn(|i| bytes[at + i]) };
        let low = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let path = || path.to_path_buf();

        // Who wrote it and how first: a file of another kind or version is not a damaged one.
        if array(0) != MAGIC {
            return Err(Error::TokenMagic { path: path(), found: array(0) });
        }
        if low(8) != VERSION {
            return Err(Error::TokenVersion { path: path(), found: low(8), expected: VERSION });
        }
        let check = blake3::hash(&bytes[..CHECK_AT]);
        if bytes[CHECK_AT..] != check.as_bytes()[..bytes.len() - CHECK_AT] {
            return Err(Error::TokenHeader { path: path(), offset: CHECK_AT as u64 });
        }

        // The checksum holds, so what is left is a writer with a defect or with intent.
        let field = |offset, field, found, expected| Error::TokenField {
            path: path(),
            offset,
            field,
            found,
            expected,
        };
        let vocab = u64::from_le_bytes(array(16));
        let vocab = match u32::try_from(vocab) {
            Ok(0) | Err(_) => return Err(field(16, "vocabulary size", vocab, u64::from(u32::MAX))),
            Ok(vocab) => vocab,
        };
        if low(12) != width(vocab) {
            return Err(field(12, "bytes per token", u64::from(low(12)), u64::from(width(vocab))));
        }
        let tokens = u64::from_le_bytes(array(24));
        let most = i64::MAX as u64 / 8;
        if tokens > most {
            return Err(field(24, "number of tokens", tokens, most));
        }
        Ok(Self {
            width: width(vocab),
            vocab,
            tokens,
            text_bytes: u64::from_le_bytes(array(32)),
            tokenizer: digest(40),
            digest: digest(72),
        })
    }
}

/// Bytes per token for a vocabulary: u16 holds every id below 65,536.
fn width(vocab: u32) -> u32 {
    if vocab <= 1 << 16 { 2 } else { 4 }
}

pub(super) fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

//! Ids to text: all at once, or as a stream that never cuts a character.

use crate::{Error, TokenId, Tokenizer};

impl Tokenizer {
    /// The bytes that the tokens stand for; a special token stands for its name.
    ///
    /// Bytes, because tokens may begin or end inside a character: see [`decode_lossy`](Self::decode_lossy).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`] for the first id that the vocabulary does not have.
    pub fn decode(&self, ids: &[TokenId]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(4 * ids.len());
        for (position, &id) in ids.iter().enumerate() {
            out.extend_from_slice(self.bytes_or_error(id, position)?);
        }
        Ok(out)
    }

    /// The text of the tokens, with U+FFFD in place of what is not UTF-8.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`] for the first id that the vocabulary does not have.
    pub fn decode_lossy(&self, ids: &[TokenId]) -> Result<String, Error> {
        let bytes = self.decode(ids)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// A decoder for tokens that come one by one.
    pub fn decoder(&self) -> Decoder {
        Decoder { tokenizer: self.clone(), held: Vec::new(), tokens: 0 }
    }

    fn bytes_or_error(&self, id: TokenId, position: usize) -> Result<&[u8], Error> {
        self.token_bytes(id).ok_or_else(|| Error::UnknownToken {
            id,
            position,
            vocab_size: self.vocab_size(),
        })
    }
}

/// Decodes a stream of tokens into whole characters.
///
/// The bytes of a character that is not complete yet are held back until the rest comes. What was pushed, joined and
/// [finished](Self::finish), is what [`Tokenizer::decode_lossy`] gives for all the tokens at once.
///
/// ```
/// # use selvedge_tokenizer::{Error, Trainer};
/// # let tokenizer = Trainer { vocab_size: 257, ..Trainer::default() }.train(["a"], |_| {})?;
/// let mut decoder = tokenizer.decoder();
/// let mut shown = String::new();
/// decoder.push(0xC3, &mut shown)?; // in this vocabulary a byte's id is the byte
/// assert_eq!(shown, "");
/// decoder.push(0xA9, &mut shown)?;
/// assert_eq!(shown, "é");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    tokenizer: Tokenizer,
    /// At most three bytes between calls: the beginning of one character.
    held: Vec<u8>,
    tokens: usize,
}

impl Decoder {
    /// Takes a token and appends the characters that it completes.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`] if the vocabulary does not have the id; the decoder is then as it was before.
    pub fn push(&mut self, id: TokenId, out: &mut String) -> Result<(), Error> {
        let bytes = self.tokenizer.bytes_or_error(id, self.tokens)?;
        self.tokens += 1;
        self.held.extend_from_slice(bytes);
        let mut chunks = self.held.utf8_chunks().peekable();
        let mut incomplete = 0;
        while let Some(chunk) = chunks.next() {
            out.push_str(chunk.valid());
            if chunks.peek().is_none() && may_continue(chunk.invalid()) {
                incomplete = chunk.invalid().len();
            } else if !chunk.invalid().is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.held.drain(..self.held.len() - incomplete);
        Ok(())
    }

    /// Ends the stream: an incomplete character is shown as U+FFFD. The decoder is then as new.
    pub fn finish(&mut self, out: &mut String) {
        if !self.held.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        self.held.clear();
        self.tokens = 0;
    }
}

/// Whether bytes that are not UTF-8 would be so with more behind them.
fn may_continue(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

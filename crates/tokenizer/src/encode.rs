//! Text to ids: the three stages in a row, for one text or for many.

use std::ops::Range;

use rayon::prelude::*;

use crate::cache::Cache;
use crate::merge::merge;
use crate::{TokenId, Tokenizer};

/// A group of documents encoded in one go by one thread has at least this many bytes (if there are as many), so that a
/// cache is well used before the next group starts with an empty one.
const GROUP_BYTES: usize = 1 << 20;

impl Tokenizer {
    /// The tokens of a text: `&str`, `String`, or any bytes.
    ///
    /// ```
    /// # use selvedge_tokenizer::{Error, Trainer};
    /// # let tokenizer = Trainer { vocab_size: 260, ..Trainer::default() }.train(["abc"], |_| {})?;
    /// let typed = tokenizer.encode("<|endoftext|>");
    /// assert!(!typed.contains(&tokenizer.end_of_text()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn encode(&self, text: impl AsRef<[u8]>) -> Vec<TokenId> {
        let text = text.as_ref();
        let mut out = Vec::new();
        self.append(text, &mut out, &mut Cache::for_text(text.len()));
        out
    }

    /// Appends the tokens of a text: [`encode`](Self::encode) for callers with many texts, who keep a cache and a vector.
    pub fn encode_into(&self, text: impl AsRef<[u8]>, out: &mut Vec<TokenId>, cache: &mut Cache) {
        self.append(text.as_ref(), out, cache);
    }

    /// The tokens of each document, in order, encoded on the threads of the current rayon pool.
    pub fn encode_batch<T: AsRef<[u8]> + Sync>(&self, docs: &[T]) -> Vec<Vec<TokenId>> {
        let groups: Vec<Vec<Vec<TokenId>>> = groups(docs)
            .into_par_iter()
            .map_init(Cache::default, |cache, group| {
                let encode = |doc: &T| {
                    let mut out = Vec::new();
                    self.append(doc.as_ref(), &mut out, cache);
                    out
                };
                docs[group].iter().map(encode).collect()
            })
            .collect();
        groups.into_iter().flatten().collect()
    }

    fn append(&self, text: &[u8], out: &mut Vec<TokenId>, cache: &mut Cache) {
        let vocab = &**self.vocab();
        cache.adopt(self.vocab());
        out.reserve(text.len() / 4);
        self.pretokenizer().for_each(text, |start, end| {
            if end - start == 1 {
                return out.push(vocab.byte(text[start]));
            }
            let key = cache.key(text, start, end);
            if key.is_some_and(|key| cache.append(key, out)) {
                return;
            }
            let before = out.len();
            let piece = &text[start..end];
            match vocab.exception(piece) {
                Some(id) => out.push(id),
                None => merge(vocab, piece, &mut cache.scratch, out),
            }
            if let Some(key) = key {
                cache.insert(key, &out[before..]);
            }
        });
    }
}

/// Neighbouring documents, grouped by size: a matter of the documents alone.
fn groups<T: AsRef<[u8]>>(docs: &[T]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, doc) in docs.iter().enumerate() {
        bytes += doc.as_ref().len();
        if bytes >= GROUP_BYTES || i + 1 == docs.len() {
            groups.push(start..i + 1);
            (start, bytes) = (i + 1, 0);
        }
    }
    groups
}

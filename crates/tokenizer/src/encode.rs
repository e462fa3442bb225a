//! Text to ids: the three stages in a row, for one text or for many.

use std::ops::Range;

use rayon::prelude::*;

use crate::added::Matcher;
use crate::cache::Cache;
use crate::merge::{Scratch, merge};
use crate::published::Gap;
use crate::vocab::{NO_TOKEN, Vocab};
use crate::{TokenId, Tokenizer};

/// A group of documents encoded in one go by one thread has at least this many bytes (if there are as many), so that a
/// cache is well used before the next group starts with an empty one.
const GROUP_BYTES: usize = 1 << 20;

impl Tokenizer {
    /// The tokens of a text: `&str`, `String`, or any bytes.
    ///
    /// Special tokens are not looked for: their names are text like any other. Tokens that a model's makers added and that
    /// are not special are always found.
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

    /// The tokens of a text in which the names of special tokens stand for these tokens, as in a prompt that a program has
    /// put together from a model's template. Of several at one place the longest counts.
    ///
    /// What users typed should not come into such a text unseen: they could type the names as well.
    ///
    /// ```
    /// # use selvedge_tokenizer::{Error, Trainer};
    /// # let tokenizer = Trainer { vocab_size: 260, ..Trainer::default() }.train(["abc"], |_| {})?;
    /// let ids = tokenizer.encode_with_specials("abc<|endoftext|>");
    /// assert_eq!(ids.last(), Some(&tokenizer.end_of_text()));
    /// assert_eq!(tokenizer.decode(&ids)?, b"abc<|endoftext|>");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn encode_with_specials(&self, text: impl AsRef<[u8]>) -> Vec<TokenId> {
        let text = text.as_ref();
        let (mut out, mut cache) = (Vec::new(), Cache::for_text(text.len()));
        cache.adopt(self.vocab());
        self.append_around_added(text, &mut out, &mut cache, true);
        out
    }

    fn append(&self, text: &[u8], out: &mut Vec<TokenId>, cache: &mut Cache) {
        cache.adopt(self.vocab());
        out.reserve(text.len() / 4);
        if self.vocab().added().any(false) || self.vocab().normalizes() {
            self.append_around_added(text, out, cache, false);
        } else {
            self.append_ordinary(text, out, cache);
        }
    }

    /// Finds added tokens first: those that are looked for in the text as it is, and between them, once it is normalized,
    /// the others.
    fn append_around_added(&self, text: &[u8], out: &mut Vec<TokenId>, cache: &mut Cache, specials: bool) {
        let added = self.vocab().added();
        around(&added.verbatim, text, specials, out, |text, out| {
            let text = self.vocab().normalize(text);
            around(&added.normalized, &text, specials, out, |text, out| {
                self.append_ordinary(text, out, cache);
            });
        });
    }

    fn append_ordinary(&self, text: &[u8], out: &mut Vec<TokenId>, cache: &mut Cache) {
        let vocab = &**self.vocab();
        self.pretokenizer().for_each(text, |start, end| {
            if end - start == 1 {
                let id = vocab.byte(text[start]);
                if id != NO_TOKEN {
                    return out.push(id);
                }
            }
            let key = cache.key(text, start, end);
            if key.is_some_and(|key| cache.append(key, out)) {
                return;
            }
            let before = out.len();
            let piece = &text[start..end];
            match (vocab.exception(piece), vocab.gap()) {
                (Some(id), _) => out.push(id),
                (None, None) => merge(vocab, piece, &mut cache.scratch, out),
                (None, Some(gap)) => merge_around_gaps(vocab, gap, piece, &mut cache.scratch, out),
            }
            if let Some(key) = key {
                cache.insert(key, &out[before..]);
            }
        });
    }
}

/// The tokens that a matcher finds, and what `between` makes of the text between them.
fn around(
    matcher: &Matcher,
    text: &[u8],
    specials: bool,
    out: &mut Vec<TokenId>,
    mut between: impl FnMut(&[u8], &mut Vec<TokenId>),
) {
    let mut at = 0;
    while let Some(found) = matcher.find(text, at, specials) {
        between(&text[at..found.start], out);
        out.push(found.id);
        at = found.end;
    }
    between(&text[at..], out);
}

/// Merges a pretoken in which bytes may have no token.
fn merge_around_gaps(vocab: &Vocab, gap: Gap, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
    let has_token = |byte: &u8| vocab.byte(*byte) != NO_TOKEN;
    if gap == Gap::Close {
        let kept: Vec<u8> = piece.iter().copied().filter(has_token).collect();
        return merge(vocab, &kept, scratch, out);
    }
    for part in piece.chunk_by(|a, b| has_token(a) == has_token(b)) {
        match gap {
            _ if has_token(&part[0]) => merge(vocab, part, scratch, out),
            Gap::Token(id) => out.extend(part.iter().map(|_| id)),
            Gap::Close | Gap::Cut => {}
        }
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

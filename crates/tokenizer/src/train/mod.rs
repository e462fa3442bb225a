//! Learning a vocabulary from documents.
//!
//! Two steps: [`count`] cuts the documents on all cores and counts the distinct pretokens; [`learn`] repeatedly makes the
//! most frequent pair of neighbouring tokens a token of its own.

mod count;
mod learn;

use rayon::prelude::*;

use crate::vocab::{Vocab, check_names};
use crate::{END_OF_TEXT, Error, MAX_VOCABULARY, Pretokenizer, TokenId, Tokenizer};

/// What to learn.
///
/// ```
/// use selvedge_tokenizer::{Progress, Trainer};
///
/// let trainer = Trainer { vocab_size: 270, ..Trainer::default() };
/// let tokenizer = trainer.train(["low lower lowest", "new newer newest"], |progress| {
///     if let Progress::Exhausted { vocab_size, .. } = progress {
///         println!("the text gives no more than {vocab_size} tokens");
///     }
/// })?;
/// assert!(tokenizer.vocab_size() <= 270);
/// # Ok::<(), selvedge_tokenizer::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainer {
    /// Entries of the vocabulary: 256 bytes, the merges, and the special tokens, which have the highest ids.
    pub vocab_size: usize,
    /// A pair that occurs less often than this is not merged (below 1 counts as 1).
    pub min_frequency: u64,
    /// Names of the special tokens, in the order of their ids; `<|endoftext|>` must be among them.
    pub special_tokens: Vec<String>,
    /// How text is cut, in training and later.
    pub pretokenizer: Pretokenizer,
}

impl Default for Trainer {
    /// 8192 entries, pairs that occur at least twice, `<|endoftext|>` alone, [`Pretokenizer::Gpt4`].
    fn default() -> Self {
        Self {
            vocab_size: 8192,
            min_frequency: 2,
            special_tokens: vec![END_OF_TEXT.into()],
            pretokenizer: Pretokenizer::default(),
        }
    }
}

/// How far training is; see [`Trainer::train`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// All documents are cut and counted.
    Counted {
        /// Documents seen.
        documents: u64,
        /// Their bytes.
        bytes: u64,
        /// Their pretokens.
        pretokens: u64,
        /// Pretokens that differ.
        distinct: usize,
    },
    /// Some more merges are learnt; the last report of this kind has `done == wanted`, unless pairs run out before.
    Merging {
        /// Merges learnt so far.
        done: usize,
        /// Merges wanted.
        wanted: usize,
    },
    /// No pair is left that occurs `min_frequency` times: the vocabulary stays smaller than asked for.
    Exhausted {
        /// Entries of the vocabulary, special tokens included.
        vocab_size: usize,
        /// Entries asked for.
        wanted: usize,
    },
}

impl Trainer {
    /// Learns a tokenizer from documents: `&str`, `String`, or any bytes. Documents are cut on the threads of the current
    /// rayon pool and may be read while they are asked for; memory holds distinct pretokens only.
    ///
    /// The merge learnt next is that of the most frequent pair, counted over all pretokens; of pairs with one count, that
    /// with the smallest left id, then the smallest right id. A pair is passed over if its bytes are a token already, or
    /// longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES). So the result depends on which documents there are, and
    /// neither on their order nor on the number of threads.
    ///
    /// `progress` is called on the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::VocabularyTooSmall`], [`Error::VocabularyTooLarge`], [`Error::SpecialToken`], [`Error::EmptyCorpus`],
    /// [`Error::CorpusTooVaried`]. A text too short for the wanted vocabulary is no error: see [`Progress::Exhausted`].
    pub fn train<D>(&self, docs: D, mut progress: impl FnMut(Progress)) -> Result<Tokenizer, Error>
    where
        D: IntoParallelIterator,
        D::Item: AsRef<[u8]>,
    {
        let wanted = self.merges()?;
        let counts = count::count(docs.into_par_iter(), self.pretokenizer);
        let count::Counts { documents, bytes, pretokens, .. } = counts;
        if bytes == 0 {
            return Err(Error::EmptyCorpus);
        }
        progress(Progress::Counted { documents, bytes, pretokens, distinct: counts.distinct() });
        let merges = learn::Learner::new(&counts, self.min_frequency.max(1))?
            .learn(wanted, |done| progress(Progress::Merging { done, wanted }));
        let vocab_size = 256 + merges.len() + self.special_tokens.len();
        if merges.len() < wanted {
            progress(Progress::Exhausted { vocab_size, wanted: self.vocab_size });
        }
        let special_ids = (256 + merges.len()) as TokenId..;
        let specials = self.special_tokens.iter().cloned().zip(special_ids).collect();
        Ok(Tokenizer::new(Vocab::from_merges(merges, specials)?, self.pretokenizer))
    }

    /// Checks the request; the number of merges that it leaves room for.
    fn merges(&self) -> Result<usize, Error> {
        check_names(self.special_tokens.iter().map(String::as_str))?;
        let (wanted, least) = (self.vocab_size, 256 + self.special_tokens.len());
        if wanted > MAX_VOCABULARY {
            return Err(Error::VocabularyTooLarge { wanted, limit: MAX_VOCABULARY });
        }
        wanted.checked_sub(least).ok_or(Error::VocabularyTooSmall { wanted, least })
    }
}

//! The vocabulary: what each id stands for, checked in full when it is put together.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::error::{MergeProblem, SpecialProblem, TokenProblem};
use crate::merge::{Scratch, merge};
use crate::pairs::PairTable;
use crate::{END_OF_TEXT, Error, MAX_TOKEN_BYTES, MAX_VOCABULARY, TokenId};

/// Most pairs that a list of ranks may give rise to: four times what the largest published vocabularies need.
const MAX_PAIRS: usize = 1 << 24;

/// Ids, their bytes, and which of them merge. Immutable.
///
/// Invariants: every byte has a token; ids are below `MAX_VOCABULARY`; tokens have 1 to `MAX_TOKEN_BYTES` bytes, and
/// ordinary tokens differ in their bytes.
pub(crate) struct Vocab {
    tokens: Arena,
    byte_ids: [TokenId; 256],
    pairs: PairTable,
    /// Tokens that merging would not form from their own bytes; only lists of ranks have such, and few.
    exceptions: HashMap<Box<[u8]>, TokenId>,
    /// By id.
    specials: Vec<(String, TokenId)>,
    end_of_text: TokenId,
    origin: Origin,
}

/// What the vocabulary was put together from, as its file keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Id `b` is the byte `b`, id 256 + i what the i-th pair merges into.
    Merges(Vec<(TokenId, TokenId)>),
    /// Tokens with ids of their own; what merges follows from their bytes.
    Ranks,
}

impl Vocab {
    /// Puts together a vocabulary from merges in the order in which they were learnt.
    pub(crate) fn from_merges(
        merges: Vec<(TokenId, TokenId)>,
        specials: Vec<(String, TokenId)>,
    ) -> Result<Self, Error> {
        check_size(256 + merges.len())?;
        let mut tokens = Distinct::default();
        for byte in 0..=255 {
            tokens.push(&[byte], byte.into())?;
        }
        let mut pairs = PairTable::with_capacity(merges.len());
        let mut bytes = Vec::new();
        for (index, &(left, right)) in merges.iter().enumerate() {
            let merged = 256 + index as TokenId;
            let error = |problem| Error::Merge { index, left, right, problem };
            if left.max(right) >= merged {
                return Err(error(MergeProblem::Undefined));
            }
            bytes.clear();
            bytes.extend_from_slice(tokens.arena.get(left as usize));
            bytes.extend_from_slice(tokens.arena.get(right as usize));
            if bytes.len() > MAX_TOKEN_BYTES {
                return Err(error(MergeProblem::TooLong));
            }
            if let Some(same) = tokens.find(&bytes) {
                return Err(error(MergeProblem::Duplicate(same)));
            }
            tokens.push(&bytes, merged)?;
            pairs.insert(left, right, merged);
        }
        tokens.into_vocab(pairs, specials, Origin::Merges(merges))
    }

    /// Puts together a vocabulary from tokens and their ranks.
    pub(crate) fn from_ranks(
        mut ranks: Vec<(Vec<u8>, TokenId)>,
        specials: Vec<(String, TokenId)>,
    ) -> Result<Self, Error> {
        check_size(ranks.len())?;
        ranks.sort_unstable_by_key(|&(_, id)| id);
        let mut tokens = Distinct::default();
        let mut previous = None;
        for (bytes, id) in &ranks {
            if previous == Some(*id) {
                return Err(Error::Token { id: *id, problem: TokenProblem::IdTaken });
            }
            previous = Some(*id);
            tokens.push(bytes, *id)?;
        }
        let pairs = tokens.all_pairs(ranks.iter().map(|(bytes, id)| (bytes.as_slice(), *id)))?;
        let mut vocab = tokens.into_vocab(pairs, specials, Origin::Ranks)?;
        vocab.exceptions = vocab.find_exceptions(&ranks);
        Ok(vocab)
    }

    fn find_exceptions(&self, ranks: &[(Vec<u8>, TokenId)]) -> HashMap<Box<[u8]>, TokenId> {
        let (mut scratch, mut formed) = (Scratch::default(), Vec::new());
        let mut is_exception = |bytes: &[u8], id: TokenId| {
            formed.clear();
            merge(self, bytes, &mut scratch, &mut formed);
            formed != [id]
        };
        ranks
            .iter()
            .filter(|(bytes, id)| is_exception(bytes, *id))
            .map(|(bytes, id)| (bytes.clone().into(), *id))
            .collect()
    }

    /// What an id stands for, if it is in use.
    #[inline]
    pub(crate) fn bytes(&self, id: TokenId) -> Option<&[u8]> {
        ((id as usize) < self.size()).then(|| self.tokens.get(id as usize)).filter(|bytes| !bytes.is_empty())
    }

    /// The token of a single byte.
    #[inline]
    pub(crate) fn byte(&self, byte: u8) -> TokenId {
        self.byte_ids[usize::from(byte)]
    }

    /// The token of a whole pretoken which merging would not find.
    #[inline]
    pub(crate) fn exception(&self, piece: &[u8]) -> Option<TokenId> {
        if self.exceptions.is_empty() { None } else { self.exceptions.get(piece).copied() }
    }

    #[inline]
    pub(crate) fn pairs(&self) -> &PairTable {
        &self.pairs
    }

    /// One more than the largest id.
    pub(crate) fn size(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn specials(&self) -> &[(String, TokenId)] {
        &self.specials
    }

    pub(crate) fn end_of_text(&self) -> TokenId {
        self.end_of_text
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Every token that is not special, lowest id first.
    pub(crate) fn ordinary(&self) -> impl Iterator<Item = (&[u8], TokenId)> {
        (0..self.size() as TokenId)
            .filter(|&id| self.specials.binary_search_by_key(&id, |&(_, id)| id).is_err())
            .filter_map(|id| Some((self.bytes(id)?, id)))
    }
}

fn check_size(wanted: usize) -> Result<(), Error> {
    if wanted > MAX_VOCABULARY {
        return Err(Error::VocabularyTooLarge { wanted, limit: MAX_VOCABULARY });
    }
    Ok(())
}

/// Checks names that are not yet tied to ids: none empty, too long or twice, and the end of text among them.
pub(crate) fn check_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<(), Error> {
    let error = |name: &str, problem| Err(Error::SpecialToken { name: name.into(), problem });
    let mut seen = HashMap::new();
    for name in names {
        if name.is_empty() {
            return error(name, SpecialProblem::Empty);
        }
        if name.len() > MAX_TOKEN_BYTES {
            return error(name, SpecialProblem::TooLong);
        }
        if seen.insert(name, ()).is_some() {
            return error(name, SpecialProblem::Duplicate);
        }
    }
    if seen.contains_key(END_OF_TEXT) { Ok(()) } else { error(END_OF_TEXT, SpecialProblem::Missing) }
}

/// Byte strings one behind the other, found by their number. An unused number has the empty string.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    /// At most `MAX_VOCABULARY * MAX_TOKEN_BYTES` = 2²⁹ bytes in all.
    ends: Vec<u32>,
}

impl Arena {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    /// Appends a string under the next number.
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Leaves numbers below `len` unused.
    fn skip_to(&mut self, len: usize) {
        self.ends.resize(len.max(self.ends.len()), self.bytes.len() as u32);
    }
}

/// Tokens with distinct bytes, found by their bytes. Ids come in increasing order.
#[derive(Default)]
pub(crate) struct Distinct {
    pub(crate) arena: Arena,
    ids: HashTable<TokenId>,
    hasher: DefaultHashBuilder,
}

impl Distinct {
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<TokenId> {
        let hash = self.hasher.hash_one(bytes);
        self.ids.find(hash, |&id| self.arena.get(id as usize) == bytes).copied()
    }

    /// Adds a token; `id` is above all ids before.
    pub(crate) fn push(&mut self, bytes: &[u8], id: TokenId) -> Result<(), Error> {
        let error = |problem| Err(Error::Token { id, problem });
        if id as usize >= MAX_VOCABULARY {
            return error(TokenProblem::IdTooLarge);
        }
        if bytes.is_empty() {
            return error(TokenProblem::Empty);
        }
        if bytes.len() > MAX_TOKEN_BYTES {
            return error(TokenProblem::TooLong);
        }
        if let Some(same) = self.find(bytes) {
            return error(TokenProblem::Duplicate(same));
        }
        self.arena.skip_to(id as usize);
        self.arena.push(bytes);
        let Self { arena, ids, hasher } = self;
        let hash = |id: &TokenId| hasher.hash_one(arena.get(*id as usize));
        ids.insert_unique(hash(&id), id, hash);
        Ok(())
    }

    /// Every way in which a token is two tokens one behind the other.
    fn all_pairs<'t>(
        &self,
        tokens: impl Iterator<Item = (&'t [u8], TokenId)> + Clone,
    ) -> Result<PairTable, Error> {
        let mut found = Vec::new();
        for (bytes, id) in tokens {
            for cut in 1..bytes.len() {
                if let Some(left) = self.find(&bytes[..cut])
                    && let Some(right) = self.find(&bytes[cut..])
                {
                    found.push((left, right, id));
                }
            }
            if found.len() > MAX_PAIRS {
                return Err(Error::TooManyPairs { limit: MAX_PAIRS });
            }
        }
        let mut pairs = PairTable::with_capacity(found.len());
        for (left, right, id) in found {
            pairs.insert(left, right, id);
        }
        Ok(pairs)
    }

    fn into_vocab(
        self,
        pairs: PairTable,
        mut specials: Vec<(String, TokenId)>,
        origin: Origin,
    ) -> Result<Vocab, Error> {
        let mut byte_ids = [0; 256];
        for (id, byte) in byte_ids.iter_mut().zip(0..=255) {
            *id = self.find(&[byte]).ok_or(Error::MissingByte { byte })?;
        }
        check_names(specials.iter().map(|(name, _)| name.as_str()))?;
        specials.sort_unstable_by_key(|&(_, id)| id);
        let tokens = with_specials(&self.arena, &specials)?;
        let end_of_text = specials.iter().find(|(name, _)| name == END_OF_TEXT).map(|&(_, id)| id);
        let end_of_text = end_of_text.ok_or_else(|| Error::SpecialToken {
            name: END_OF_TEXT.into(),
            problem: SpecialProblem::Missing,
        })?;
        Ok(Vocab { tokens, byte_ids, pairs, exceptions: HashMap::new(), specials, end_of_text, origin })
    }
}

/// Lays special tokens, sorted by id, among the ordinary ones.
fn with_specials(ordinary: &Arena, specials: &[(String, TokenId)]) -> Result<Arena, Error> {
    let word = |id: usize| if id < ordinary.len() { ordinary.get(id) } else { &[] };
    let mut tokens = Arena::default();
    for (name, id) in specials {
        let id = *id as usize;
        let error = |problem| Err(Error::SpecialToken { name: name.clone(), problem });
        if id >= MAX_VOCABULARY {
            return error(SpecialProblem::IdTooLarge);
        }
        if !word(id).is_empty() || tokens.len() > id {
            return error(SpecialProblem::IdTaken);
        }
        (tokens.len()..id).for_each(|before| tokens.push(word(before)));
        tokens.push(name.as_bytes());
    }
    (tokens.len()..ordinary.len()).for_each(|behind| tokens.push(word(behind)));
    Ok(tokens)
}

//! The vocabulary: what each id stands for, checked in full when it is put together.

use std::borrow::Cow;

use hashbrown::{HashMap, HashSet};

use crate::added::{Added, AddedTokens};
use crate::distinct::{Arena, Distinct, overlay};
use crate::error::{MergeProblem, SpecialProblem};
use crate::merge::{Scratch, merge};
use crate::pairs::PairTable;
use crate::published::{Gap, Published, nfc};
use crate::{END_OF_TEXT, Error, MAX_TOKEN_BYTES, MAX_VOCABULARY, TokenId};

/// Ids, their bytes, and which of them merge. Immutable.
///
/// Invariants: every byte has a token, unless `gap` says what becomes of the others; ids are below `MAX_VOCABULARY`;
/// tokens have 1 to `MAX_TOKEN_BYTES` bytes, and ordinary tokens differ in their bytes.
pub(crate) struct Vocab {
    tokens: Arena,
    /// `NO_TOKEN` for a byte without one.
    byte_ids: [TokenId; 256],
    pairs: PairTable,
    /// What the merge of each rank makes, if a rank is a place in a list and not itself what the merge makes.
    results: Option<Vec<TokenId>>,
    /// Tokens that merging would not form from their own bytes, but a whole pretoken is: few, in real vocabularies.
    exceptions: HashMap<Box<[u8]>, TokenId>,
    /// By id.
    specials: Vec<(String, TokenId)>,
    added: AddedTokens,
    /// Set if some byte has no token.
    gap: Option<Gap>,
    end_of_text: TokenId,
    origin: Origin,
}

/// What the vocabulary was put together from, as its file keeps it.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// Id `b` is the byte `b`, id 256 + i what the i-th pair merges into.
    Merges(Vec<(TokenId, TokenId)>),
    /// Tokens with ids of their own; what merges follows from their bytes.
    Ranks,
    /// Tokens with ids of their own and a list of merges; without what the other fields of the vocabulary hold.
    Published(Box<Published>),
}

/// Stands for the id of a byte that has none.
pub(crate) const NO_TOKEN: TokenId = TokenId::MAX;

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
        let tokens = Distinct::from_unsorted(&mut ranks)?;
        let pairs = tokens.all_pairs(ranks.iter().map(|(bytes, id)| (bytes.as_slice(), *id)))?;
        let mut vocab = tokens.into_vocab(pairs, specials, Origin::Ranks)?;
        vocab.exceptions = vocab.find_exceptions(&ranks);
        Ok(vocab)
    }

    /// Puts together a vocabulary from tokens and a list of merges.
    pub(crate) fn from_published(mut published: Published) -> Result<Self, Error> {
        let mut ordinary = std::mem::take(&mut published.tokens);
        let merges = std::mem::take(&mut published.merges);
        let Published { added, unreachable, .. } = &published;
        check_size(ordinary.len().saturating_add(unreachable.len()).saturating_add(added.len()))?;
        let tokens = Distinct::from_unsorted(&mut ordinary)?;
        let (pairs, results) = tokens.ranked_pairs(&merges)?;
        let mut byte_ids = [NO_TOKEN; 256];
        for (id, byte) in byte_ids.iter_mut().zip(0..=255) {
            *id = tokens.find(&[byte]).unwrap_or(NO_TOKEN);
        }
        let gap = byte_ids.contains(&NO_TOKEN).then_some(published.gap);
        check_added(added)?;
        let arena = overlay(&tokens.arena, added, unreachable)?;
        let mut vocab = Self {
            tokens: arena,
            byte_ids,
            pairs,
            results: Some(results),
            exceptions: HashMap::new(),
            specials: by_id(added.iter().filter(|token| token.special)),
            added: AddedTokens::new(added, published.nfc),
            gap,
            end_of_text: published.end_of_text,
            origin: Origin::Ranks,
        };
        let around = published.prefix.iter().chain(&published.suffix).chain([&published.end_of_text]);
        for (position, &id) in around.enumerate() {
            if vocab.bytes(id).is_none() {
                return Err(Error::UnknownToken { id, position, vocab_size: vocab.size() });
            }
        }
        if let Some(Gap::Token(id)) = vocab.gap
            && vocab.bytes(id).is_none()
        {
            return Err(Error::UnknownToken { id, position: 0, vocab_size: vocab.size() });
        }
        if published.whole {
            vocab.exceptions = vocab.find_exceptions(&ordinary);
        }
        vocab.origin = Origin::Published(Box::new(published));
        Ok(vocab)
    }

    /// What [`from_published`](Self::from_published) put this vocabulary together from, given what [`Origin`] keeps of it.
    pub(crate) fn published(&self, rest: &Published) -> Published {
        let mut merges: Vec<(TokenId, TokenId, u32)> = self.pairs.iter().collect();
        merges.sort_unstable_by_key(|&(_, _, rank)| rank);
        let apart: HashSet<TokenId> = rest.apart().collect();
        let tokens = (0..self.size() as TokenId)
            .filter(|id| !apart.contains(id))
            .filter_map(|id| Some((self.bytes(id)?.to_vec(), id)))
            .collect();
        let merges = merges.into_iter().map(|(left, right, _)| (left, right)).collect();
        Published { tokens, merges, ..rest.clone() }
    }

    fn find_exceptions(&self, ranks: &[(Vec<u8>, TokenId)]) -> HashMap<Box<[u8]>, TokenId> {
        let (mut scratch, mut formed) = (Scratch::default(), Vec::new());
        let mut is_exception = |bytes: &[u8], id: TokenId| {
            formed.clear();
            // A token with a byte that has none cannot be formed, and as a whole pretoken it is itself.
            if bytes.iter().any(|&byte| self.byte(byte) == NO_TOKEN) {
                return true;
            }
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

    /// The token of a single byte, or `NO_TOKEN`.
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

    /// What the merge of each rank makes; `None` if a rank is itself what its merge makes.
    #[inline]
    pub(crate) fn results(&self) -> Option<&[TokenId]> {
        self.results.as_deref()
    }

    /// The tokens that are found in a text before it is cut.
    #[inline]
    pub(crate) fn added(&self) -> &AddedTokens {
        &self.added
    }

    /// What becomes of bytes without a token; `None` if every byte has one.
    #[inline]
    pub(crate) fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// Whether [`normalize`](Self::normalize) may change a text.
    #[inline]
    pub(crate) fn normalizes(&self) -> bool {
        matches!(&self.origin, Origin::Published(published) if published.nfc)
    }

    /// The text in the form that tokens are made of.
    pub(crate) fn normalize<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if self.normalizes() { nfc(text) } else { Cow::Borrowed(text) }
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

    pub(crate) fn prefix(&self) -> &[TokenId] {
        if let Origin::Published(published) = &self.origin { &published.prefix } else { &[] }
    }

    pub(crate) fn suffix(&self) -> &[TokenId] {
        if let Origin::Published(published) = &self.origin { &published.suffix } else { &[] }
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
    let seen = check_distinct(names)?;
    if seen.contains_key(END_OF_TEXT) {
        return Ok(());
    }
    Err(Error::SpecialToken { name: END_OF_TEXT.into(), problem: SpecialProblem::Missing })
}

fn check_added(added: &[Added]) -> Result<(), Error> {
    check_distinct(added.iter().map(|token| token.text.as_str())).map(|_| ())
}

fn check_distinct<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<HashMap<&'n str, ()>, Error> {
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
    Ok(seen)
}

impl Distinct {
    fn into_vocab(
        self,
        pairs: PairTable,
        specials: Vec<(String, TokenId)>,
        origin: Origin,
    ) -> Result<Vocab, Error> {
        let mut byte_ids = [NO_TOKEN; 256];
        for (id, byte) in byte_ids.iter_mut().zip(0..=255) {
            *id = self.find(&[byte]).ok_or(Error::MissingByte { byte })?;
        }
        check_names(specials.iter().map(|(name, _)| name.as_str()))?;
        let added: Vec<Added> = specials.into_iter().map(|(text, id)| Added::special(text, id)).collect();
        let end_of_text = added.iter().find(|token| token.text == END_OF_TEXT).map(|token| token.id);
        let end_of_text = end_of_text.ok_or_else(|| Error::SpecialToken {
            name: END_OF_TEXT.into(),
            problem: SpecialProblem::Missing,
        })?;
        Ok(Vocab {
            tokens: overlay(&self.arena, &added, &[])?,
            byte_ids,
            pairs,
            results: None,
            exceptions: HashMap::new(),
            specials: by_id(added.iter()),
            added: AddedTokens::new(&added, false),
            gap: None,
            end_of_text,
            origin,
        })
    }
}

fn by_id<'a>(added: impl Iterator<Item = &'a Added>) -> Vec<(String, TokenId)> {
    let mut specials: Vec<(String, TokenId)> = added.map(|token| (token.text.clone(), token.id)).collect();
    specials.sort_unstable_by_key(|&(_, id)| id);
    specials
}

//! Tokens by their ids and by their bytes, as a vocabulary is put together.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::added::Added;
use crate::error::{MergeProblem, SpecialProblem, TokenProblem};
use crate::pairs::{MAX_MERGES, PairTable};
use crate::{Error, MAX_TOKEN_BYTES, MAX_VOCABULARY, TokenId};

/// Most pairs that a list of ranks may give rise to: four times what the largest published vocabularies need.
const MAX_PAIRS: usize = 1 << 24;

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
    pub(crate) fn all_pairs<'t>(
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

    /// Tokens in any order, sorted here.
    pub(crate) fn from_unsorted(tokens: &mut [(Vec<u8>, TokenId)]) -> Result<Self, Error> {
        tokens.sort_unstable_by_key(|&(_, id)| id);
        let mut distinct = Self::default();
        let mut previous = None;
        for (bytes, id) in tokens {
            if previous == Some(*id) {
                return Err(Error::Token { id: *id, problem: TokenProblem::IdTaken });
            }
            previous = Some(*id);
            distinct.push(bytes, *id)?;
        }
        Ok(distinct)
    }

    /// The merges of a list with their places in it, and what each makes. Of two alike the first counts.
    pub(crate) fn ranked_pairs(
        &self,
        merges: &[(TokenId, TokenId)],
    ) -> Result<(PairTable, Vec<TokenId>), Error> {
        if merges.len() > MAX_MERGES {
            return Err(Error::TooManyPairs { limit: MAX_MERGES });
        }
        let ordinary = |id: TokenId| {
            let id = id as usize;
            (id < self.arena.len()).then(|| self.arena.get(id)).filter(|bytes| !bytes.is_empty())
        };
        let mut pairs = PairTable::with_capacity(merges.len());
        let mut results = Vec::with_capacity(merges.len());
        for (index, &(left, right)) in merges.iter().enumerate() {
            let error = |problem| Error::Merge { index, left, right, problem };
            let (Some(first), Some(second)) = (ordinary(left), ordinary(right)) else {
                return Err(error(MergeProblem::NotOrdinary));
            };
            let made = self.find(&[first, second].concat()).ok_or(error(MergeProblem::NoToken))?;
            if pairs.get(left, right) == PairTable::NONE {
                pairs.insert(left, right, results.len() as u32);
                results.push(made);
            }
        }
        Ok((pairs, results))
    }
}

/// Lays added tokens and those that no text gives among the ordinary ones.
pub(crate) fn overlay(
    ordinary: &Arena,
    added: &[Added],
    unreachable: &[(Vec<u8>, TokenId)],
) -> Result<Arena, Error> {
    enum Source<'a> {
        Added(&'a Added),
        Unreachable(TokenId),
    }
    use Source::{Added as FromAdded, Unreachable};
    let word = |id: usize| if id < ordinary.len() { ordinary.get(id) } else { &[] };
    let mut above: Vec<(usize, &[u8], Source<'_>)> = Vec::new();
    for token in added {
        let bytes = token.text.as_bytes();
        let id = token.id as usize;
        if !token.ordinary {
            above.push((id, bytes, FromAdded(token)));
        } else if token.special || id >= MAX_VOCABULARY || word(id).is_empty() {
            let problem = SpecialProblem::NotOrdinary;
            return Err(Error::SpecialToken { name: token.text.clone(), problem });
        }
    }
    for (bytes, id) in unreachable {
        above.push((*id as usize, bytes, Unreachable(*id)));
    }
    above.sort_unstable_by_key(|&(id, ..)| id);
    let mut tokens = Arena::default();
    for (id, bytes, source) in above {
        let error = |special, problem| match &source {
            FromAdded(token) => Err(Error::SpecialToken { name: token.text.clone(), problem: special }),
            Unreachable(id) => Err(Error::Token { id: *id, problem }),
        };
        if id >= MAX_VOCABULARY {
            return error(SpecialProblem::IdTooLarge, TokenProblem::IdTooLarge);
        }
        if !word(id).is_empty() || tokens.len() > id {
            return error(SpecialProblem::IdTaken, TokenProblem::IdTaken);
        }
        if bytes.len() > MAX_TOKEN_BYTES {
            return error(SpecialProblem::TooLong, TokenProblem::TooLong);
        }
        (tokens.len()..id).for_each(|before| tokens.push(word(before)));
        tokens.push(bytes);
    }
    (tokens.len()..ordinary.len()).for_each(|behind| tokens.push(word(behind)));
    Ok(tokens)
}

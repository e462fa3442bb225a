//! Learning merges: the most frequent pair of neighbours becomes a token, again and again.
//!
//! Nothing is counted twice. All distinct pretokens lie in one array of symbols, each pair knows where it occurs, and a
//! merge touches only those places: it takes from the counts of the pairs that it breaks and adds to those that it makes.
//! A pair is found through a heap whose entries may be out of date, since counts of old pairs only fall; an entry is
//! compared with the true count when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::count::Counts;
use crate::distinct::Distinct;
use crate::{Error, TokenId};

/// Marks a symbol that is no token: see [`Learner::symbols`].
const MARK: u32 = 1 << 31;

/// Between pretokens.
const BORDER: u32 = MARK;

/// Merges between two reports of progress.
const REPORT_EVERY: usize = 256;

type Pair = (TokenId, TokenId);

/// How often a pair occurs, over all pretokens, and where.
#[derive(Default)]
struct Occurrences {
    count: u64,
    /// Where the left token begins, in increasing order. Places that are no longer so stay in the list.
    places: Vec<u32>,
}

pub(crate) struct Learner {
    /// One symbol for each byte of the distinct pretokens, with a `BORDER` before, between and behind them. A token's id
    /// stands where the token begins; if it is longer than a byte, `MARK | length` stands where it ends, so that the token
    /// before any place can be found; what lies between has a `MARK` too.
    symbols: Vec<u32>,
    /// Which pretoken each symbol belongs to.
    owners: Vec<u32>,
    /// How often each pretoken occurs.
    counts: Vec<u64>,
    pairs: HashMap<Pair, Occurrences>,
    /// The most frequent pair on top, among equals that with the smallest ids.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
    tokens: Distinct,
    min_frequency: u64,
}

impl Learner {
    pub(crate) fn new(counts: &Counts, min_frequency: u64) -> Result<Self, Error> {
        // A pretoken of one byte has no neighbours in it.
        let pretokens = counts.iter().filter(|(piece, _)| piece.len() > 1);
        let bytes = 1 + pretokens.clone().map(|(piece, _)| piece.len() + 1).sum::<usize>();
        let limit = u32::MAX as usize;
        if bytes > limit {
            return Err(Error::CorpusTooVaried { bytes, limit });
        }
        let mut learner = Self {
            symbols: Vec::with_capacity(bytes),
            owners: Vec::with_capacity(bytes),
            counts: Vec::new(),
            pairs: HashMap::new(),
            queue: BinaryHeap::new(),
            tokens: Distinct::default(),
            min_frequency,
        };
        for byte in 0..=255 {
            learner.tokens.push(&[byte], byte.into())?;
        }
        learner.lay_out(pretokens);
        Ok(learner)
    }

    fn lay_out<'p>(&mut self, pretokens: impl Iterator<Item = (&'p [u8], u64)>) {
        let mut byte_pairs: Vec<Occurrences> = (0..1 << 16).map(|_| Occurrences::default()).collect();
        self.symbols.push(BORDER);
        self.owners.push(0);
        for (owner, (piece, count)) in (0..).zip(pretokens) {
            for (place, pair) in (self.symbols.len() as u32..).zip(piece.windows(2)) {
                let occurrences = &mut byte_pairs[usize::from(pair[0]) << 8 | usize::from(pair[1])];
                occurrences.count += count;
                occurrences.places.push(place);
            }
            self.symbols.extend(piece.iter().map(|&byte| u32::from(byte)));
            self.symbols.push(BORDER);
            self.owners.resize(self.symbols.len(), owner);
            self.counts.push(count);
        }
        for (key, occurrences) in (0..).zip(byte_pairs) {
            // Counts never rise, so rarer pairs need not be followed.
            if occurrences.count >= self.min_frequency {
                let pair = (key >> 8, key & 0xFF);
                self.queue.push((occurrences.count, Reverse(pair)));
                self.pairs.insert(pair, occurrences);
            }
        }
    }

    /// Learns up to `wanted` merges; fewer if no pair is frequent enough.
    pub(crate) fn learn(mut self, wanted: usize, mut report: impl FnMut(usize)) -> Vec<Pair> {
        let mut merges = Vec::with_capacity(wanted);
        let mut bytes = Vec::new();
        while merges.len() < wanted
            && let Some((count, Reverse(pair))) = self.queue.pop()
        {
            let now = self.pairs.get(&pair).map_or(0, |occurrences| occurrences.count);
            if now < count {
                if now >= self.min_frequency {
                    self.queue.push((now, Reverse(pair)));
                } else {
                    self.pairs.remove(&pair);
                }
                continue;
            }
            let Some(occurrences) = self.pairs.remove(&pair) else { continue };
            bytes.clear();
            bytes.extend_from_slice(self.tokens.arena.get(pair.0 as usize));
            bytes.extend_from_slice(self.tokens.arena.get(pair.1 as usize));
            let merged = 256 + merges.len() as TokenId;
            // Too long, or a token already: the pair is passed over, for good.
            if self.tokens.push(&bytes, merged).is_err() {
                continue;
            }
            self.merge(pair, merged, &occurrences.places);
            merges.push(pair);
            if merges.len() % REPORT_EVERY == 0 || merges.len() == wanted {
                report(merges.len());
            }
        }
        merges
    }

    /// Replaces a pair by its token wherever it occurs, from left to right.
    fn merge(&mut self, (left, right): Pair, merged: TokenId, places: &[u32]) {
        let length = |token: TokenId| self.tokens.arena.get(token as usize).len();
        let (left_len, right_len) = (length(left), length(right));
        let mut made = Vec::new();
        for &place in places {
            let start = place as usize;
            let middle = start + left_len;
            // A place may have been taken by another merge, or by this one ("aaa" has two places for "aa").
            if self.symbols[start] != left || self.symbols[middle] != right {
                continue;
            }
            let end = middle + right_len;
            let count = self.counts[self.owners[start] as usize];
            let before = self.symbols[start - 1];
            if before != BORDER {
                // A byte stands for itself; a longer token left its length.
                let neighbour = if before & MARK == 0 { start - 1 } else { start - (before ^ MARK) as usize };
                let token = self.symbols[neighbour];
                self.take((token, left), count);
                self.give((token, merged), count, neighbour, &mut made);
            }
            let after = self.symbols[end];
            if after != BORDER {
                self.take((right, after), count);
                self.give((merged, after), count, start, &mut made);
            }
            self.symbols[start] = merged;
            self.symbols[middle] = MARK;
            self.symbols[end - 1] = MARK | (end - start) as u32;
        }
        for pair in made {
            match self.pairs.get(&pair) {
                Some(now) if now.count >= self.min_frequency => self.queue.push((now.count, Reverse(pair))),
                _ => drop(self.pairs.remove(&pair)),
            }
        }
    }

    fn take(&mut self, pair: Pair, count: u64) {
        // Not there: the pair being merged ("aaa"), one passed over, or one too rare to be followed.
        if let Some(occurrences) = self.pairs.get_mut(&pair) {
            occurrences.count -= count;
        }
    }

    fn give(&mut self, pair: Pair, count: u64, place: usize, made: &mut Vec<Pair>) {
        let occurrences = self.pairs.entry(pair).or_insert_with(|| {
            made.push(pair);
            Occurrences::default()
        });
        occurrences.count += count;
        occurrences.places.push(place as u32);
    }
}

//! Stage 3: joining the bytes of one pretoken into tokens.
//!
//! The rule: of all neighbours that merge, those with the lowest rank go first, the leftmost among equals; until no two
//! neighbours merge. The rank is what they merge into, or the place of their merge in a list. Two ways to do it give the
//! same result: a scan for the minimum is fastest while everything fits a few cache lines, and a heap keeps long runs from
//! costing the square of their length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::TokenId;
use crate::pairs::{PairTable, RANK_BITS};
use crate::vocab::Vocab;

/// Pretokens up to this many bytes are merged by scanning.
const SCAN_BYTES: usize = 64;

/// A position takes this many bits of a heap entry; the rank has the bits above.
const POSITION_BITS: u32 = 64 - RANK_BITS;

/// Working memory for long pretokens, kept between calls up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    nodes: Vec<Node>,
    heap: Vec<Reverse<u64>>,
}

/// Nodes and heap entries kept: about 2 MiB.
const KEPT: usize = 1 << 16;

/// A token that begins at the node's index; a list, so that a merge moves nothing.
#[derive(Debug, Clone, Copy)]
struct Node {
    prev: usize,
    next: usize,
    id: TokenId,
    /// The rank of the merge of this token and the next.
    rank: u32,
}

/// Appends the tokens of a pretoken, each byte of which has a token.
pub(crate) fn merge(vocab: &Vocab, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
    match vocab.results() {
        None => by_rank(vocab, |rank| rank, piece, scratch, out),
        Some(results) => by_rank(vocab, |rank| results[rank as usize], piece, scratch, out),
    }
}

/// `result` says what the merge of a rank makes.
fn by_rank(
    vocab: &Vocab,
    result: impl Fn(u32) -> TokenId,
    piece: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<TokenId>,
) {
    if piece.len() <= SCAN_BYTES {
        scan(vocab, result, piece, out);
    } else {
        heap(vocab, result, piece, scratch, out);
    }
}

fn scan(vocab: &Vocab, result: impl Fn(u32) -> TokenId, piece: &[u8], out: &mut Vec<TokenId>) {
    let mut ids = [0; SCAN_BYTES];
    // ranks[i]: of the merge of ids[i] and ids[i + 1]; NONE for the last.
    let mut ranks = [PairTable::NONE; SCAN_BYTES];
    let mut len = piece.len();
    for (id, &byte) in ids.iter_mut().zip(piece) {
        *id = vocab.byte(byte);
    }
    for i in 1..len {
        ranks[i - 1] = vocab.pairs().get(ids[i - 1], ids[i]);
    }
    loop {
        let (mut best, mut at) = (PairTable::NONE, 0);
        for (i, &rank) in ranks[..len].iter().enumerate() {
            if rank < best {
                (best, at) = (rank, i);
            }
        }
        if best == PairTable::NONE {
            break;
        }
        let merged = result(best);
        ids[at] = merged;
        ids.copy_within(at + 2..len, at + 1);
        ranks.copy_within(at + 1..len, at);
        len -= 1;
        if at > 0 {
            ranks[at - 1] = vocab.pairs().get(ids[at - 1], merged);
        }
        if at + 1 < len {
            ranks[at] = vocab.pairs().get(merged, ids[at + 1]);
        }
    }
    out.extend_from_slice(&ids[..len]);
}

fn heap(
    vocab: &Vocab,
    result: impl Fn(u32) -> TokenId,
    piece: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<TokenId>,
) {
    let entry = |rank: u32, at: usize| Reverse(u64::from(rank) << POSITION_BITS | at as u64);
    let Scratch { nodes, heap } = scratch;
    nodes.clear();
    heap.clear();
    let len = piece.len();
    for (at, &byte) in piece.iter().enumerate() {
        let id = vocab.byte(byte);
        let rank = piece.get(at + 1).map_or(PairTable::NONE, |&next| vocab.pairs().get(id, vocab.byte(next)));
        if rank != PairTable::NONE {
            heap.push(entry(rank, at));
        }
        nodes.push(Node { prev: at.wrapping_sub(1), next: at + 1, id, rank });
    }
    let mut queue = BinaryHeap::from(std::mem::take(heap));
    while let Some(Reverse(word)) = queue.pop() {
        let best = (word >> POSITION_BITS) as u32;
        let at = (word & ((1 << POSITION_BITS) - 1)) as usize;
        // Entries are not taken out when their pair goes; what they say is checked here instead.
        if nodes[at].rank != best {
            continue;
        }
        let merged = result(best);
        let eaten = nodes[at].next;
        let after = nodes[eaten].next;
        nodes[eaten].rank = PairTable::NONE;
        nodes[at].id = merged;
        nodes[at].next = after;
        let rank = if after < len {
            nodes[after].prev = at;
            vocab.pairs().get(merged, nodes[after].id)
        } else {
            PairTable::NONE
        };
        nodes[at].rank = rank;
        if rank != PairTable::NONE {
            queue.push(entry(rank, at));
        }
        if at > 0 {
            let before = nodes[at].prev;
            let rank = vocab.pairs().get(nodes[before].id, merged);
            nodes[before].rank = rank;
            if rank != PairTable::NONE {
                queue.push(entry(rank, before));
            }
        }
    }
    let mut at = 0;
    while at < len {
        out.push(nodes[at].id);
        at = nodes[at].next;
    }
    *heap = queue.into_vec();
    nodes.clear();
    heap.clear();
    nodes.shrink_to(KEPT);
    heap.shrink_to(KEPT);
}

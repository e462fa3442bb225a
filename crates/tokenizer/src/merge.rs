//! Stage 3: joining the bytes of one pretoken into tokens.
//!
//! The rule: of all neighbours that merge, those with the lowest merged id go first, the leftmost among equals; until no
//! two neighbours merge. Two ways to do it give the same result: a scan for the minimum is fastest while everything fits a
//! few cache lines, and a heap keeps long runs from costing the square of their length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::TokenId;
use crate::pairs::PairTable;
use crate::vocab::Vocab;

/// Pretokens up to this many bytes are merged by scanning.
const SCAN_BYTES: usize = 64;

/// A position takes this many bits of a heap entry; the id has the bits above.
const POSITION_BITS: u32 = 44;

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
    /// What this token and the next merge into.
    merged: TokenId,
}

/// Appends the tokens of a pretoken.
pub(crate) fn merge(vocab: &Vocab, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
    if piece.len() <= SCAN_BYTES { scan(vocab, piece, out) } else { heap(vocab, piece, scratch, out) }
}

fn scan(vocab: &Vocab, piece: &[u8], out: &mut Vec<TokenId>) {
    let mut ids = [0; SCAN_BYTES];
    // merged[i]: what ids[i] and ids[i + 1] merge into; NONE for the last.
    let mut merged = [PairTable::NONE; SCAN_BYTES];
    let mut len = piece.len();
    for (id, &byte) in ids.iter_mut().zip(piece) {
        *id = vocab.byte(byte);
    }
    for i in 1..len {
        merged[i - 1] = vocab.pairs().get(ids[i - 1], ids[i]);
    }
    loop {
        let (mut best, mut at) = (PairTable::NONE, 0);
        for (i, &id) in merged[..len].iter().enumerate() {
            if id < best {
                (best, at) = (id, i);
            }
        }
        if best == PairTable::NONE {
            break;
        }
        ids[at] = best;
        ids.copy_within(at + 2..len, at + 1);
        merged.copy_within(at + 1..len, at);
        len -= 1;
        if at > 0 {
            merged[at - 1] = vocab.pairs().get(ids[at - 1], best);
        }
        if at + 1 < len {
            merged[at] = vocab.pairs().get(best, ids[at + 1]);
        }
    }
    out.extend_from_slice(&ids[..len]);
}

fn heap(vocab: &Vocab, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
    let entry = |merged: TokenId, at: usize| Reverse(u64::from(merged) << POSITION_BITS | at as u64);
    let Scratch { nodes, heap } = scratch;
    nodes.clear();
    heap.clear();
    let len = piece.len();
    for (at, &byte) in piece.iter().enumerate() {
        let id = vocab.byte(byte);
        let merged =
            piece.get(at + 1).map_or(PairTable::NONE, |&next| vocab.pairs().get(id, vocab.byte(next)));
        if merged != PairTable::NONE {
            heap.push(entry(merged, at));
        }
        nodes.push(Node { prev: at.wrapping_sub(1), next: at + 1, id, merged });
    }
    let mut queue = BinaryHeap::from(std::mem::take(heap));
    while let Some(Reverse(word)) = queue.pop() {
        let best = (word >> POSITION_BITS) as TokenId;
        let at = (word & ((1 << POSITION_BITS) - 1)) as usize;
        // Entries are not taken out when their pair goes; what they say is checked here instead.
        if nodes[at].merged != best {
            continue;
        }
        let eaten = nodes[at].next;
        let after = nodes[eaten].next;
        nodes[eaten].merged = PairTable::NONE;
        nodes[at].id = best;
        nodes[at].next = after;
        let merged = if after < len {
            nodes[after].prev = at;
            vocab.pairs().get(best, nodes[after].id)
        } else {
            PairTable::NONE
        };
        nodes[at].merged = merged;
        if merged != PairTable::NONE {
            queue.push(entry(merged, at));
        }
        if at > 0 {
            let before = nodes[at].prev;
            let merged = vocab.pairs().get(nodes[before].id, best);
            nodes[before].merged = merged;
            if merged != PairTable::NONE {
                queue.push(entry(merged, before));
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

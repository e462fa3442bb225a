//! Counting distinct pretokens, each thread for itself, and adding up.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::prelude::*;

use crate::Pretokenizer;

/// Distinct pretokens and how often each occurs. Their order is chance and must not matter to anyone.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) documents: u64,
    pub(crate) bytes: u64,
    pub(crate) pretokens: u64,
    /// The distinct pretokens one behind the other.
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// Indices into `entries`, by the pretoken's bytes.
    table: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    end: usize,
    count: u64,
}

/// Counts the pretokens of all documents.
pub(crate) fn count<D>(docs: D, pretokenizer: Pretokenizer) -> Counts
where
    D: ParallelIterator,
    D::Item: AsRef<[u8]>,
{
    let count_document = |mut counts: Counts, doc: D::Item| {
        let text = doc.as_ref();
        pretokenizer.for_each(text, |start, end| counts.add(&text[start..end], 1));
        counts.documents += 1;
        counts.bytes += text.len() as u64;
        counts
    };
    docs.fold(Counts::default, count_document).reduce(Counts::default, Counts::join)
}

impl Counts {
    pub(crate) fn distinct(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> + Clone {
        self.entries.iter().map(|entry| (&self.text[entry.start..entry.end], entry.count))
    }

    fn add(&mut self, piece: &[u8], count: u64) {
        self.pretokens += count;
        let Self { text, entries, table, hasher, .. } = self;
        let hash = hasher.hash_one(piece);
        let bytes = |&index: &usize| &text[entries[index].start..entries[index].end];
        if let Some(&index) = table.find(hash, |index| bytes(index) == piece) {
            entries[index].count += count;
        } else {
            table.insert_unique(hash, entries.len(), |index| hasher.hash_one(bytes(index)));
            entries.push(Entry { start: text.len(), end: text.len() + piece.len(), count });
            text.extend_from_slice(piece);
        }
    }

    fn join(self, other: Self) -> Self {
        let (mut more, less) =
            if self.entries.len() >= other.entries.len() { (self, other) } else { (other, self) };
        more.documents += less.documents;
        more.bytes += less.bytes;
        less.iter().for_each(|(piece, count)| more.add(piece, count));
        more
    }
}

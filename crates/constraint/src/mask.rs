//! A set of tokens, a bit each.

/// The tokens that may come next, out of the V of a model.
///
/// The layout is that of `Sampler::sample_among` of selvedge-model: token t is bit t % 32, from the least significant on, of
/// word t / 32. There are ⌈V / 32⌉ words, and no bit at V or beyond is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u32>,
    size: usize,
}

impl Mask {
    /// Of words that may go on beyond the `size` tokens of the model.
    pub(crate) fn new(mut words: Vec<u32>, size: usize) -> Self {
        words.resize(size.div_ceil(32), 0);
        if let (Some(last), used @ 1..) = (words.last_mut(), size % 32) {
            *last &= (1 << used) - 1;
        }
        Mask { words, size }
    }

    /// The words.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Size of the model's vocabulary, V.
    pub fn vocab(&self) -> usize {
        self.size
    }

    /// Whether the token may come next; false for one outside the vocabulary.
    pub fn contains(&self, token: u32) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// The tokens in it, lowest id first.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        (0..self.size as u32).filter(|&token| self.contains(token))
    }

    /// How many tokens may come next.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no token may come next.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_vocabulary_are_dropped() {
        let mask = Mask::new(vec![u32::MAX; 3], 37);
        assert_eq!(mask.words(), [u32::MAX, 0b11111]);
        assert_eq!((mask.len(), mask.vocab()), (37, 37));
        assert!(mask.contains(36) && !mask.contains(37) && !mask.contains(u32::MAX));
        assert!(Mask::new(vec![u32::MAX], 0).is_empty());
        assert_eq!(Mask::new(vec![0b1010], 64).tokens().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(Mask::new(vec![u32::MAX], 32).len(), 32);
    }
}

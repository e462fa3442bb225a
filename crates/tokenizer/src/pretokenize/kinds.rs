//! The finer classes that newer patterns tell apart: cases, marks, punctuation and symbols.
//!
//! One more table beside that of [`classes`](super::classes), so that the older patterns keep their small one.

use super::classes::{Class, char_at};
use super::ranges::{LETTERS, LOWERCASE, MARKS, NUMBERS, PUNCTUATION, SPACES, SYMBOLS, UPPERCASE};

/// Unicode's general categories, as far as a pattern tells them apart. What is not well-formed UTF-8 is `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Other = 0,
    /// Lm and Lo: letters without case.
    Letter = 1,
    /// Lu and Lt.
    Upper = 2,
    /// Ll.
    Lower = 3,
    Mark = 4,
    Number = 5,
    Punctuation = 6,
    Symbol = 7,
    Space = 8,
}

/// The order in which ranges are laid over each other: the cases are parts of the letters.
const LAYERS: [(&[u32], Kind); 8] = [
    (LETTERS, Kind::Letter),
    (UPPERCASE, Kind::Upper),
    (LOWERCASE, Kind::Lower),
    (MARKS, Kind::Mark),
    (NUMBERS, Kind::Number),
    (PUNCTUATION, Kind::Punctuation),
    (SYMBOLS, Kind::Symbol),
    (SPACES, Kind::Space),
];

/// Code points below this have four bits each in [`TABLE`]; beyond are ideographs and a few marks.
const TABLE_END: u32 = 0x2_0000;

static TABLE: [u8; TABLE_END as usize / 2] = table();

const fn table() -> [u8; TABLE_END as usize / 2] {
    let mut packed = [0; TABLE_END as usize / 2];
    let mut layer = 0;
    while layer < LAYERS.len() {
        let (ranges, kind) = LAYERS[layer];
        let mut i = 0;
        while i < ranges.len() && ranges[i] < TABLE_END {
            let mut c = ranges[i];
            while c <= ranges[i + 1] && c < TABLE_END {
                let shift = (c & 1) * 4;
                let slot = &mut packed[(c >> 1) as usize];
                *slot = *slot & !(0xF << shift) | (kind as u8) << shift;
                c += 1;
            }
            i += 2;
        }
        layer += 1;
    }
    packed
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Other,
        Self::Letter,
        Self::Upper,
        Self::Lower,
        Self::Mark,
        Self::Number,
        Self::Punctuation,
        Self::Symbol,
        Self::Space,
    ];

    fn of(c: u32) -> Self {
        if c < TABLE_END {
            return Self::ALL[usize::from(TABLE[(c >> 1) as usize] >> ((c & 1) * 4) & 0xF)];
        }
        let found = LAYERS.iter().rev().find(|(ranges, _)| within(ranges, c));
        found.map_or(Self::Other, |&(_, kind)| kind)
    }

    pub(crate) fn is_letter(self) -> bool {
        matches!(self, Self::Letter | Self::Upper | Self::Lower)
    }
}

/// Whether a code point lies in one of the ranges, pairs of (first, last).
pub(crate) fn within(ranges: &[u32], c: u32) -> bool {
    let after = ranges.partition_point(|&bound| bound <= c);
    after % 2 == 1 || after > 0 && ranges[after - 1] == c
}

/// The kind and the length in bytes of the character at `i`; `None` at the end of the text.
#[inline]
pub(crate) fn kind_at(text: &[u8], i: usize) -> Option<(Kind, usize)> {
    let (c, len) = char_at(text, i)?;
    Some((c.map_or(Kind::Other, Kind::of), len))
}

/// The classes of patterns in which a mark is as good as a letter.
pub(crate) fn class_with_marks(text: &[u8], i: usize) -> Option<(Class, usize)> {
    let (kind, len) = kind_at(text, i)?;
    let class = match kind {
        Kind::Letter | Kind::Upper | Kind::Lower | Kind::Mark => Class::Letter,
        Kind::Number => Class::Number,
        Kind::Space => Class::Space,
        Kind::Punctuation | Kind::Symbol | Kind::Other => Class::Other,
    };
    Some((class, len))
}

#[cfg(test)]
mod tests {
    use super::super::classes::tests::oracle;
    use super::*;

    #[test]
    fn every_character_has_the_oracles_kind() {
        let patterns = [
            (r"[\p{Lm}\p{Lo}]", Kind::Letter),
            (r"[\p{Lu}\p{Lt}]", Kind::Upper),
            (r"\p{Ll}", Kind::Lower),
            (r"\p{M}", Kind::Mark),
            (r"\p{N}", Kind::Number),
            (r"\p{P}", Kind::Punctuation),
            (r"\p{S}", Kind::Symbol),
            (r"\s", Kind::Space),
        ];
        let mut expected = vec![Kind::Other; 0x11_0000];
        for (pattern, kind) in patterns {
            for (first, last) in oracle(pattern) {
                expected[first as usize..=last as usize].fill(kind);
            }
        }
        for c in '\0'..=char::MAX {
            let mut utf8 = [0; 4];
            let text = c.encode_utf8(&mut utf8);
            let found = kind_at(text.as_bytes(), 0);
            assert_eq!(found, Some((expected[c as usize], c.len_utf8())), "{c:?} U+{:04X}", c as u32);
        }
    }
}

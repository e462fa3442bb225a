//! Which of the four classes a character belongs to, straight from UTF-8 bytes.
//!
//! `\p{L}`, `\p{N}` and `\s` are Unicode's general categories L and N and its property White_Space, as the published
//! patterns mean them. The standard library's `char::is_alphabetic` is another, larger set (it has marks and circled
//! letters), so the ranges are our own: see [`ranges`](super::ranges).

use super::kinds::within;
use super::ranges::{LETTERS, NUMBERS, SPACES};

/// What the patterns tell apart. A byte that is not part of well-formed UTF-8 is `Other`, alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Other = 0,
    Letter = 1,
    Number = 2,
    Space = 3,
}

/// Code points below this have two bits each in [`TABLE`]: all scripts in daily use, and the emoji.
const TABLE_END: u32 = 0x2_0000;

static TABLE: [u8; TABLE_END as usize / 4] = table();

static ASCII: [Class; 128] = ascii();

const fn table() -> [u8; TABLE_END as usize / 4] {
    let mut packed = [0; TABLE_END as usize / 4];
    fill(&mut packed, LETTERS, Class::Letter);
    fill(&mut packed, NUMBERS, Class::Number);
    fill(&mut packed, SPACES, Class::Space);
    packed
}

const fn fill(packed: &mut [u8; TABLE_END as usize / 4], ranges: &[u32], class: Class) {
    let mut i = 0;
    while i < ranges.len() && ranges[i] < TABLE_END {
        let mut c = ranges[i];
        while c <= ranges[i + 1] && c < TABLE_END {
            packed[(c >> 2) as usize] |= (class as u8) << ((c & 3) * 2);
            c += 1;
        }
        i += 2;
    }
}

const fn ascii() -> [Class; 128] {
    let mut classes = [Class::Other; 128];
    let mut c = 0;
    while c < 128 {
        classes[c as usize] = in_table(c);
        c += 1;
    }
    classes
}

const fn in_table(c: u32) -> Class {
    match TABLE[(c >> 2) as usize] >> ((c & 3) * 2) & 3 {
        0 => Class::Other,
        1 => Class::Letter,
        2 => Class::Number,
        _ => Class::Space,
    }
}

/// The class of a code point.
fn class_of(c: u32) -> Class {
    if c < TABLE_END {
        return in_table(c);
    }
    // Beyond the table live only rare ideographs: a search among a few dozen ranges.
    if within(LETTERS, c) {
        Class::Letter
    } else if within(NUMBERS, c) {
        Class::Number
    } else {
        Class::Other
    }
}

/// The class and the length in bytes of the character at `i`; `None` at the end of the text.
#[inline]
pub(crate) fn class_at(text: &[u8], i: usize) -> Option<(Class, usize)> {
    match *text.get(i)? {
        byte @ 0..128 => Some((ASCII[byte as usize], 1)),
        _ => Some(beyond_ascii(&text[i..])),
    }
}

/// Where the run of characters of one class that begins at `i` ends.
#[inline]
pub(crate) fn run_end(text: &[u8], mut i: usize, class: Class) -> usize {
    while let Some((found, len)) = class_at(text, i)
        && found == class
    {
        i += len;
    }
    i
}

/// The code point and the length in bytes of the character at `i`: `None` and one for a byte that is not part of
/// well-formed UTF-8.
#[inline]
pub(crate) fn char_at(text: &[u8], i: usize) -> Option<(Option<u32>, usize)> {
    match *text.get(i)? {
        byte @ 0..128 => Some((Some(byte.into()), 1)),
        _ => Some(decode(&text[i..]).map_or((None, 1), |(c, len)| (Some(c), len))),
    }
}

/// The class of one character of two to four bytes; what is not well-formed UTF-8 is `Other`, one byte long.
fn beyond_ascii(text: &[u8]) -> (Class, usize) {
    decode(text).map_or((Class::Other, 1), |(c, len)| (class_of(c), len))
}

/// Decodes one character of two to four bytes.
#[inline]
fn decode(text: &[u8]) -> Option<(u32, usize)> {
    let low = |byte: u8| u32::from(byte & 0x3F);
    match *text {
        [a @ 0xC2..=0xDF, b @ 0x80..=0xBF, ..] => Some((u32::from(a & 0x1F) << 6 | low(b), 2)),
        [a @ 0xE0..=0xEF, b @ 0x80..=0xBF, c @ 0x80..=0xBF, ..] => {
            let code = u32::from(a & 0xF) << 12 | low(b) << 6 | low(c);
            // Overlong forms and surrogates.
            (code >= 0x800 && !(0xD800..0xE000).contains(&code)).then_some((code, 3))
        }
        [a @ 0xF0..=0xF4, b @ 0x80..=0xBF, c @ 0x80..=0xBF, d @ 0x80..=0xBF, ..] => {
            let code = u32::from(a & 7) << 18 | low(b) << 12 | low(c) << 6 | low(d);
            (0x1_0000..0x11_0000).contains(&code).then_some((code, 4))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use regex_syntax::hir::{Class as HirClass, HirKind};

    use super::*;

    /// The ranges of a pattern such as `\p{L}`, as an independent Unicode database has them.
    pub(in super::super) fn oracle(pattern: &str) -> Vec<(u32, u32)> {
        let hir = regex_syntax::parse(pattern).unwrap();
        let HirKind::Class(HirClass::Unicode(class)) = hir.kind() else { panic!("{pattern} is no class") };
        class.ranges().iter().map(|range| (range.start() as u32, range.end() as u32)).collect()
    }

    fn rust_array(name: &str, doc: &str, ranges: &[(u32, u32)]) -> String {
        let mut text = format!("\n/// {doc}\n#[rustfmt::skip]\npub(crate) const {name}: &[u32] = &[\n");
        for line in ranges.chunks(6) {
            let bounds: Vec<String> = line.iter().map(|(a, b)| format!("{a:#x}, {b:#x},")).collect();
            text += &format!("    {}\n", bounds.join(" "));
        }
        text + "];\n"
    }

    /// The file of ranges is exactly what the oracle's tables give. After an update of Unicode there, run this test
    /// with SELVEDGE_BLESS=1 to write it anew.
    #[test]
    fn the_range_file_is_the_oracles() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pretokenize/ranges.rs");
        let expected = [
            "//! Unicode 16.0.0: first and last code points of the ranges of the classes that patterns name.\n\
             //!\n//! Written and checked by the test `the_range_file_is_the_oracles` in `classes.rs`.\n"
                .to_string(),
            rust_array("LETTERS", r"`\p{L}`: general category Letter.", &oracle(r"\p{L}")),
            rust_array("NUMBERS", r"`\p{N}`: general category Number.", &oracle(r"\p{N}")),
            rust_array("SPACES", r"`\s`: property White_Space.", &oracle(r"\s")),
            rust_array("UPPERCASE", r"`[\p{Lu}\p{Lt}]`: upper and title case.", &oracle(r"[\p{Lu}\p{Lt}]")),
            rust_array("LOWERCASE", r"`\p{Ll}`: lower case.", &oracle(r"\p{Ll}")),
            rust_array("MARKS", r"`\p{M}`: general category Mark.", &oracle(r"\p{M}")),
            rust_array("PUNCTUATION", r"`\p{P}`: general category Punctuation.", &oracle(r"\p{P}")),
            rust_array("SYMBOLS", r"`\p{S}`: general category Symbol.", &oracle(r"\p{S}")),
        ]
        .concat();
        if std::env::var_os("SELVEDGE_BLESS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    #[test]
    fn every_character_has_the_oracles_class() {
        let mut expected = vec![Class::Other; 0x11_0000];
        for (pattern, class) in [(r"\p{L}", Class::Letter), (r"\p{N}", Class::Number), (r"\s", Class::Space)]
        {
            for (first, last) in oracle(pattern) {
                expected[first as usize..=last as usize].fill(class);
            }
        }
        for c in '\0'..=char::MAX {
            let mut utf8 = [0; 4];
            let text = c.encode_utf8(&mut utf8);
            let found = class_at(text.as_bytes(), 0);
            assert_eq!(found, Some((expected[c as usize], c.len_utf8())), "{c:?} U+{:04X}", c as u32);
        }
    }

    #[test]
    fn well_formed_means_what_the_standard_library_means() {
        // Every lead byte with every second byte and the edges of the third and fourth.
        for lead in 0x80..=0xFF {
            for second in 0..=0xFF {
                for third in [0x00, 0x7F, 0x80, 0xBF, 0xC0] {
                    for fourth in [0x00, 0x7F, 0x80, 0xBF, 0xC0] {
                        let bytes = [lead, second, third, fourth];
                        let whole = (2..=4).find(|&n| std::str::from_utf8(&bytes[..n]).is_ok());
                        let (class, len) = beyond_ascii(&bytes);
                        assert_eq!(len, whole.unwrap_or(1), "{bytes:x?}");
                        assert!(whole.is_some() || class == Class::Other, "{bytes:x?}");
                        // Cut short is ill-formed too.
                        if let Some(n) = whole {
                            assert_eq!(beyond_ascii(&bytes[..n - 1]), (Class::Other, 1), "{bytes:x?}");
                        }
                    }
                }
            }
        }
    }
}

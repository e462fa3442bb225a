//! The characters that stand for bytes in GPT-2's vocabulary and all that follow its format.
//!
//! A byte that is a visible character of Latin-1 stands for itself; the others, in order, are U+0100 and up. Source:
//! `bytes_to_unicode` of OpenAI's GPT-2.

/// Whether the byte is written as the character of the same number.
const fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The bytes from U+0100 on, in order.
const HIDDEN: [u8; 68] = {
    let mut hidden = [0; 68];
    let (mut byte, mut len) = (0, 0);
    while byte < 256 {
        if !is_visible(byte as u8) {
            hidden[len] = byte as u8;
            len += 1;
        }
        byte += 1;
    }
    assert!(len == hidden.len());
    hidden
};

/// The byte that a character stands for.
fn byte(c: char) -> Option<u8> {
    match u8::try_from(u32::from(c)) {
        Ok(byte) => is_visible(byte).then_some(byte),
        Err(_) => HIDDEN.get((c as usize).checked_sub(0x100)?).copied(),
    }
}

/// The bytes that a token is written for; `None` if some character stands for no byte.
pub(crate) fn from_text(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte).collect()
}

/// The characters that bytes are written as.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| character(byte)).collect()
}

/// The character that stands for a byte.
fn character(byte: u8) -> char {
    let hidden = || HIDDEN.iter().position(|&hidden| hidden == byte);
    match hidden() {
        Some(at) => char::from_u32(0x100 + at as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        None => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_one_character() {
        let mut found: Vec<u8> = ('\0'..=char::MAX).filter_map(byte).collect();
        assert_eq!(found.len(), 256);
        found.sort_unstable();
        assert!(found.into_iter().eq(0..=255));
    }

    #[test]
    fn bytes_come_back_from_their_characters() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_text(&to_text(&all)).unwrap(), all);
    }

    #[test]
    fn as_gpt2_writes_them() {
        let written = |text| from_text(text).unwrap();
        assert_eq!(written("Ġhello"), b" hello");
        assert_eq!(written("Ċ"), b"\n");
        assert_eq!(written("ĉ"), b"\t");
        assert_eq!(written("Ã©"), "é".as_bytes());
        assert_eq!(from_text("▁a"), None);
        assert_eq!(from_text("a b"), None);
    }
}

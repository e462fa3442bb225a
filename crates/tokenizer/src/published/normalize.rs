//! Unicode's normalization form C of what is UTF-8 in a text.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The text in normalization form C; bytes that are not UTF-8 stay as they are.
pub(crate) fn nfc(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    if let Ok(text) = std::str::from_utf8(text)
        && is_nfc_quick(text.chars()) == IsNormalized::Yes
    {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.extend(chunk.valid().nfc().collect::<String>().into_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_join_their_letters_and_damage_stays() {
        assert_eq!(nfc("e\u{301}".as_bytes()), "é".as_bytes());
        assert_eq!(nfc("한".as_bytes()), "한".as_bytes());
        assert_eq!(nfc(b"\xFFe\xCC\x81\xC3"), b"\xFF\xC3\xA9\xC3".as_slice());
        assert!(matches!(nfc("é".as_bytes()), Cow::Borrowed(_)));
    }
}

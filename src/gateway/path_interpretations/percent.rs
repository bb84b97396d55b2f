//! Percent-decoding, and the ways in which servers decode bytes to text.

use std::borrow::Cow;

/// Decodes one layer of percent-encoding, including that of IIS (`%u0041`).
pub(super) fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let is_wide = after.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'u'));
        let digits = if is_wide { after.get(1..5) } else { after.get(..2) };
        let code = digits.filter(|_| byte == b'%').and_then(hexadecimal);
        let letter = code.filter(|_| is_wide).and_then(char::from_u32);
        rest = match (letter, code.and_then(|code| u8::try_from(code).ok())) {
            (Some(letter), _) => {
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                &after[5..]
            }
            (None, Some(decoded)) if !is_wide => {
                out.push(decoded);
                &after[2..]
            }
            (None, _) => {
                out.push(byte);
                after
            }
        };
    }
    out
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let all_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// Returns the bytes as text, and other texts for bytes that are not UTF-8: some servers replace
/// broken bytes, IIS reads all bytes in the system's code page, and old servers decode overlong
/// forms.
pub(super) fn decode_text(bytes: &[u8]) -> (Cow<'_, str>, Vec<String>) {
    let text = String::from_utf8_lossy(bytes);
    let others = match text {
        Cow::Borrowed(_) => vec![],
        Cow::Owned(_) => {
            let shortest = shortest_forms(bytes);
            vec![windows_1252(bytes), String::from_utf8_lossy(&shortest).into_owned()]
        }
    };
    (text, others)
}

/// Shortens overlong UTF-8: `C0 AF` and `E0 80 AF` were slashes to old servers.
fn shortest_forms(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let (letter, length) = match *rest {
            [0xc0 | 0xc1, last, ..] if is_continuation(last) => ((byte & 1) << 6 | last & 0x3f, 2),
            [0xe0, high @ (0x80 | 0x81), last, ..]
            | [0xf0, 0x80, high @ (0x80 | 0x81), last, ..]
                if is_continuation(last) =>
            {
                ((high & 1) << 6 | last & 0x3f, if byte == 0xe0 { 3 } else { 4 })
            }
            _ => (byte, 1),
        };
        out.push(letter);
        rest = &after[length - 1..];
    }
    out
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Reads bytes in the code page of a Western Windows.
fn windows_1252(bytes: &[u8]) -> String {
    let letter = |byte: &u8| match *byte {
        high @ 0x80..=0x9f => WINDOWS_1252[usize::from(high - 0x80)],
        byte => char::from(byte),
    };
    bytes.iter().map(letter).collect()
}

/// The 32 letters in which the code page differs from Latin-1.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

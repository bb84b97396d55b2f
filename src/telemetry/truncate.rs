//! Cuts values that a peer chose to the length of a log line.

use std::borrow::Cow;

/// Cuts `text` after `MAX_BYTES` bytes, between two characters, and marks the cut.
pub fn truncate(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_BYTES {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_BYTES).rev().find(|at| text.is_char_boundary(*at));
    Cow::Owned(format!("{}{ELLIPSIS}", &text[..end.unwrap_or(0)]))
}

/// Escapes all but printable ASCII and cuts the outcome after `MAX_BYTES` bytes, between two
/// escapes. A longer value costs no more.
pub fn escape_truncated(value: &[u8]) -> String {
    let mut text = String::new();
    for byte in value {
        let escaped = std::ascii::escape_default(*byte);
        if text.len() + escaped.len() > MAX_BYTES {
            text.push_str(ELLIPSIS);
            break;
        }
        text.extend(escaped.map(char::from));
    }
    text
}

/// The longest value in a log line: a host name has 253 bytes at most, a path that needs more is
/// known by its beginning.
const MAX_BYTES: usize = 200;

/// Stands for what was cut off.
const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters_and_marked() {
        assert_eq!(truncate("/api/x"), "/api/x");
        let long = format!("/{}", "é".repeat(40_000));
        let cut = truncate(&long);
        assert_eq!(cut.len(), 199 + ELLIPSIS.len());
        assert!(cut.ends_with("éé…"));
    }

    #[test]
    fn an_escaped_value_is_cut_between_escapes() {
        assert_eq!(escape_truncated(b"a\x1b"), "a\\x1b");
        let cut = escape_truncated(&[b"xxx", &[0xff; 30_000][..]].concat());
        assert_eq!(cut, format!("xxx{}{ELLIPSIS}", "\\xff".repeat(49)));
    }
}

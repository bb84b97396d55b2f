//! Strings of JSON without their escapes, and with them again.

use super::Error;

/// Writes the characters of a string as it stands between its quotation marks. Half a surrogate pair
/// becomes U+FFFD.
///
/// # Errors
///
/// [`Error::Syntax`] for an escape that JSON does not have, [`Error::Encoding`] for invalid UTF-8.
pub(crate) fn unescape(raw: &[u8], out: &mut String) -> Result<(), Error> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(std::str::from_utf8(plain).map_err(|_| Error::Encoding)?);
        let letter = match escape.get(1).ok_or(Error::Syntax)? {
            b'u' => {
                let (letter, length) = unicode(escape)?;
                out.push(letter);
                rest = &escape[length..];
                continue;
            }
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            mark @ (b'"' | b'\\' | b'/') => char::from(*mark),
            _ => return Err(Error::Syntax),
        };
        out.push(letter);
        rest = &escape[2..];
    }
    out.push_str(std::str::from_utf8(rest).map_err(|_| Error::Encoding)?);
    Ok(())
}

/// Reads `\uXXXX`, or two of them, and returns the length in bytes.
fn unicode(escape: &[u8]) -> Result<(char, usize), Error> {
    let first = hex(escape.get(2..6))?;
    if let Some(letter) = char::from_u32(first) {
        return Ok((letter, 6));
    }
    let second = match escape.get(6..8) {
        Some(b"\\u") => hex(escape.get(8..12))?,
        Some(_) | None => 0,
    };
    if (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second) {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12));
    }
    Ok((char::REPLACEMENT_CHARACTER, 6))
}

fn hex(digits: Option<&[u8]>) -> Result<u32, Error> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(Error::Syntax)?;
    u32::from_str_radix(digits, 16).map_err(|_| Error::Syntax)
}

/// Appends a text as it stands between the quotation marks of a JSON string.
pub fn write_escaped(text: &str, out: &mut Vec<u8>) {
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
            out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// Returns the last place at or before `limit` that is neither inside an escape nor inside a
/// character.
pub(crate) fn boundary(raw: &[u8], limit: usize) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]).map(|found| at + found) {
        if found >= limit {
            break;
        }
        // A pair of surrogates stays together.
        let is_unicode = raw.get(found + 1) == Some(&b'u');
        let is_high = is_unicode
            && matches!(
                raw.get(found + 2..found + 4),
                Some([b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B'])
            );
        at = found
            + if is_high {
                12
            } else if is_unicode {
                6
            } else {
                2
            };
        if at > limit {
            return found;
        }
    }
    let mut end = limit.min(raw.len());
    while end > at && raw.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Result<String, Error> {
        let mut out = String::new();
        unescape(raw.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn every_escape_is_read() {
        assert_eq!(
            text(r#"\u0045mail \"\\\/\b\f\n\r\t \ud83d\ude00"#).unwrap(),
            "Email \"\\/\u{8}\u{c}\n\r\t 😀"
        );
        assert_eq!(text(r"\ud83d \ude00\ud83dx").unwrap(), "\u{fffd} \u{fffd}\u{fffd}x");
        for wrong in [r"\", r"\x", r"\u12", r"\u12g4", r"\u+123"] {
            assert_eq!(text(wrong), Err(Error::Syntax), "{wrong}");
        }
        assert_eq!(unescape(b"\xff", &mut String::new()), Err(Error::Encoding));
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        let all: String = (0..0x500).filter_map(char::from_u32).collect();
        let mut out = vec![];
        write_escaped(&all, &mut out);
        assert_eq!(text(std::str::from_utf8(&out).unwrap()).unwrap(), all);
        let json = format!("\"{}\"", std::str::from_utf8(&out).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
    }

    #[test]
    fn a_boundary_parts_no_escape_and_no_character() {
        let raw = r"ab\u0041\n\ud83d\ude00é".as_bytes();
        let parts: Vec<_> = (0..=raw.len()).map(|limit| boundary(raw, limit)).collect();
        assert_eq!(parts[..9], [0, 1, 2, 2, 2, 2, 2, 2, 8]);
        assert_eq!(parts[9..23], [8, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 22]);
        assert_eq!(parts[23..], [22, 24]);
    }
}

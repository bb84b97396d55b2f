//! Bytes beyond ASCII in a request target, percent-encoded as RFC 3986 has it.
//!
//! curl, PHP, Go and R send them raw: in UTF-8, or in the code page of their machine. hyper takes
//! the former, and refuses the latter before anything of ours sees the target. So that head is
//! encoded and read again.

use bytes::Bytes;

/// Returns a target in which each byte beyond ASCII is percent-encoded; `None` if there is none.
pub fn encode_non_ascii(target: &[u8]) -> Option<String> {
    if target.is_ascii() {
        return None;
    }
    let mut encoded = String::with_capacity(target.len() + 32);
    for byte in target {
        if byte.is_ascii() {
            encoded.push(char::from(*byte));
        } else {
            let digits = b"0123456789ABCDEF";
            let digit = |value: u8| char::from(digits[usize::from(value)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    Some(encoded)
}

/// Returns the beginning of a request with its target encoded; `None` if that changes nothing.
/// `unread` is what hyper has refused: a request line up to the end of its target at least.
pub(super) fn encode_head(unread: &[u8]) -> Option<Bytes> {
    // An empty line before a request is not part of it (RFC 9112 §2.2).
    let start = unread.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = unread[start..].split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let method = line.iter().position(|byte| *byte == b' ')? + 1;
    let length = line[method..].iter().position(|byte| *byte == b' ')?;
    let (before, rest) = unread.split_at(start + method);
    let (target, after) = rest.split_at(length);
    let target = encode_non_ascii(target)?;
    Some([before, target.as_bytes(), after].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_beyond_ascii_change() {
        for (raw, encoded) in [
            (&b"/caf\xc3\xa9?n=Jos\xc3\xa9%20x"[..], Some("/caf%C3%A9?n=Jos%C3%A9%20x")),
            (b"/caf\xe9", Some("/caf%E9")),
            (b"/\x80\xff", Some("/%80%FF")),
            (b"/a%C3%A9[1]|", None),
        ] {
            assert_eq!(encode_non_ascii(raw).as_deref(), encoded, "{raw:?}");
        }
    }

    #[test]
    fn a_head_is_encoded_in_its_target_alone() {
        for (raw, encoded) in [
            (
                &b"\r\nGET /\xe9 HTTP/1.1\r\nx: \xe9\r\n\r\n"[..],
                Some(&b"\r\nGET /%E9 HTTP/1.1\r\nx: \xe9\r\n\r\n"[..]),
            ),
            // The rest of the head has not come yet.
            (b"GET /\xe9 HT", Some(b"GET /%E9 HT")),
            (b"GET / HTTP/1.1\r\nx: \xe9\r\n\r\n", None),
            (b"G\xe9T / HTTP/1.1\r\n\r\n", None),
            (b"GET /\xe9", None),
            (b"\xe9\xe9 \xe9", None),
            (b"", None),
        ] {
            assert_eq!(encode_head(raw).as_deref(), encoded, "{raw:?}");
        }
    }
}

//! Numbers and the three names of JSON.

/// Returns how many bytes at the start may stand in a number or a name.
pub(crate) fn length(text: &[u8]) -> usize {
    text.iter().position(|byte| !IS_PART[usize::from(*byte)]).unwrap_or(text.len())
}

static IS_PART: [bool; 256] = {
    let mut parts = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        parts[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        byte += 1;
    }
    parts
};

/// A value that is neither a string nor a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Number,
    /// `true`, `false` or `null`.
    Name,
}

/// Reads a whole scalar; `None` if it is none of JSON.
pub(crate) fn parse(text: &[u8]) -> Option<Scalar> {
    match text {
        b"true" | b"false" | b"null" => Some(Scalar::Name),
        _ if is_number(text) => Some(Scalar::Number),
        _ => None,
    }
}

/// RFC 8259 §6.
fn is_number(text: &[u8]) -> bool {
    // Most numbers are plain.
    if matches!(text, [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit)) {
        return true;
    }
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = digits(rest);
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
        return false;
    }
    let rest = match rest.strip_prefix(b".").map(digits) {
        Some(([], _)) => return false,
        Some((_, rest)) => rest,
        None => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', power @ ..] | [b'e' | b'E', power @ ..] => {
            !power.is_empty() && power.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
        for text in ["0", "-0", "10", "1.5", "1e3", "1E+3", "-1.25e-07", "123456789012345678901"] {
            assert_eq!(parse(text.as_bytes()), Some(Scalar::Number), "{text}");
        }
        for text in
            ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "1.e3", "0x1", "NaN", "1-", "nul"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"false"), Some(Scalar::Name));
    }
}

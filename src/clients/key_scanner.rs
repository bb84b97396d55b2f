//! Finds client keys by their shape, in whatever a request holds.
//!
//! A key that a tool sends in the wrong place or form must neither count as no key nor be
//! forwarded. The shape is the prefix and at least as many letters as a key has, in any case. No
//! letter, digit, `_` or `-` may stand before the prefix: inside a random token the same bytes are
//! no key. A longer run of letters counts too. Percent-encoding is undone however often it was
//! applied, `%u0041` included; other encodings are not, except for Basic, which
//! `gateway/client_auth.rs` undoes. Nothing here allocates.

use memchr::memchr2_iter;

use super::key::{LENGTH, PREFIX};

/// Says whether `text` contains the shape of a key, plain or percent-encoded.
pub fn contains_key(text: &[u8]) -> bool {
    let mut left = usize::MAX;
    contains_key_within(text, &mut left)
}

/// Says the same, or that it may be so, as soon as undoing the percent-encoding of `text` takes
/// more work than is `left` (at first `MAX_DECODED_BYTES`).
pub fn contains_key_within(text: &[u8], left: &mut usize) -> bool {
    contains(text, |before| !is_token_byte(before), LENGTH - PREFIX.len(), left)
}

/// Says whether a credential in `text`, the value of an authorization header, begins as a key does:
/// at its start, or at the start of a parameter.
pub fn contains_key_start(text: &[u8]) -> bool {
    let mut left = usize::MAX;
    contains_key_start_within(text, &mut left)
}

/// As [`contains_key_start`], within the budget of [`contains_key_within`].
pub fn contains_key_start_within(text: &[u8], left: &mut usize) -> bool {
    let separates = |before: u8| before.is_ascii_whitespace() || b"\"'=,:;<([{".contains(&before);
    contains(text, separates, 0, left)
}

/// Returns `path` as it may be logged: redacted if it contains a key.
pub fn loggable_path(path: &str) -> &str {
    if contains_key(path.as_bytes()) { REDACTED } else { path }
}

/// Stands in the log for a text that contains a key.
pub const REDACTED: &str = "[redacted]";

/// Looks for the prefix followed by so many letters, at the start or after a byte that may precede
/// them.
fn contains(
    text: &[u8],
    may_precede: impl Fn(u8) -> bool,
    letters: usize,
    left: &mut usize,
) -> bool {
    let (prefix, whole) = (PREFIX.as_bytes(), PREFIX.len() + letters);
    if text.len() < whole {
        return false;
    }
    // `_` is the rarest byte of the prefix in what tools send.
    for at in memchr2_iter(b'_', b'%', text) {
        if text[at] == b'%' {
            return contains_decoded(text, may_precede, whole, left);
        }
        let Some(start) = (at + 1).checked_sub(prefix.len()) else { continue };
        let is_it = text[start..=at].eq_ignore_ascii_case(prefix)
            && start.checked_sub(1).is_none_or(|before| may_precede(text[before]))
            && text[at + 1..].iter().take_while(|byte| is_base32(**byte)).count() >= letters;
        if is_it {
            return true;
        }
    }
    false
}

/// As [`contains`], in the percent-decoded `text`.
fn contains_decoded(
    text: &[u8],
    may_precede: impl Fn(u8) -> bool,
    whole: usize,
    left: &mut usize,
) -> bool {
    let prefix = PREFIX.as_bytes();
    let (mut at, mut matched, mut can_start) = (0, 0, true);
    while at < text.len() {
        let byte;
        (byte, at) = decoded(text, at, MAX_NESTED_ENCODING, left);
        if *left == 0 {
            return true;
        }
        let goes_on = match prefix.get(matched) {
            Some(expected) => (matched > 0 || can_start) && byte.eq_ignore_ascii_case(expected),
            None => is_base32(byte),
        };
        // No prefix begins inside another: its bytes are letters and `_`.
        matched = if goes_on { matched + 1 } else { 0 };
        if matched == whole {
            return true;
        }
        can_start = may_precede(byte);
    }
    false
}

/// Returns the byte at `at` with every layer of percent-encoding decoded, and where the next one
/// begins. Digits may be encoded themselves, to a `depth`.
fn decoded(text: &[u8], at: usize, depth: usize, left: &mut usize) -> (u8, usize) {
    let mut next = at + 1;
    *left = left.saturating_sub(1);
    if text[at] != b'%' || depth == 0 || *left == 0 {
        return (text[at], next);
    }
    loop {
        let is_wide = text.get(next).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'u'));
        let code = if is_wide {
            digits(text, next + 1, 4, depth, left)
        } else {
            digits(text, next, 2, depth, left)
        };
        match code {
            // An encoded `%` may begin another encoded byte.
            Some((0x25, after)) => next = after,
            Some((code, after)) => return (u8::try_from(code).unwrap_or(b'?'), after),
            None => return (b'%', next),
        }
    }
}

fn digits(
    text: &[u8],
    mut at: usize,
    count: usize,
    depth: usize,
    left: &mut usize,
) -> Option<(u32, usize)> {
    let mut code = 0;
    for _ in 0..count {
        text.get(at)?;
        let digit;
        (digit, at) = decoded(text, at, depth - 1, left);
        code = code << 4 | char::from(digit).to_digit(16)?;
    }
    Some((code, at))
}

/// Says whether a byte before the prefix makes the prefix part of a longer token.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Base 32, in upper or lower case (RFC 4648 §6).
fn is_base32(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'2'..=b'7')
}

/// How deep digits of percent-encoded bytes may be percent-encoded themselves. No server decodes
/// more layers, and each costs time.
const MAX_NESTED_ENCODING: usize = 4;

/// Bytes and digits that are read to decode the percent-encoding in one head: less than a
/// millisecond, and more than a whole usual cookie.
pub const MAX_DECODED_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "nxp_abcdefghijklmnopqrstuvwxyz234567abcdef";

    #[test]
    fn a_key_is_found_in_any_surroundings_and_spelling() {
        let upper = KEY.to_uppercase();
        for text in [
            KEY,
            &upper,
            &format!("\"{KEY}\""),
            &format!("token={KEY}; path=/"),
            &format!("/api/{KEY}/x"),
            &format!("?key={KEY}&x=1"),
            &format!("Digest username={KEY}"),
            &format!("me:{KEY}:x"),
            &format!("x,{KEY},y"),
            // More letters, a digit that no key has, and a letter beyond ASCII.
            &format!("{KEY}abc"),
            &format!("{KEY}0189"),
            &format!("é{KEY}"),
            // The first two are not keys.
            &format!("nxp_ nxp_x {KEY}"),
        ] {
            assert!(contains_key(text.as_bytes()), "{text}");
        }
        for text in [
            KEY.replacen('_', "%5F", 1),
            KEY.replacen('_', "%5f", 1),
            KEY.replacen('n', "%6E", 1),
            KEY.replacen('_', "%255F", 1),
            KEY.replacen('n', "%25256e", 1),
            KEY.replacen('n', "%%36E", 1),
            KEY.replacen('n', "%25%36%45", 1),
            KEY.replacen('n', "%u006E", 1),
            KEY.replacen("xyz", "%78yz", 1),
            format!("%20{KEY}"),
            format!("q%3D{KEY}"),
            format!("%{KEY}"),
            format!("100%&{KEY}"),
            KEY.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        ] {
            assert!(contains_key(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn text_that_only_resembles_a_key_is_not_one() {
        let short = &KEY[..KEY.len() - 1];
        for text in [
            "",
            "nxp_",
            short,
            "/api/spaces/coworkers?q=nxp_holdings",
            "q=nxp_holdings_international_incorporated_of_london_and_paris",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
            &format!("{}.{}", short, "abc"),
            // Inside a random token.
            &format!("abc{KEY}"),
            &format!("A{KEY}"),
            &format!("9{KEY}"),
            &format!("_{KEY}"),
            &format!("-{KEY}"),
            &format!("%41{KEY}"),
            &format!("%2541{KEY}"),
            &KEY.replacen('_', "-", 1),
            &KEY.replacen("a", "1", 1),
            &KEY.replacen("abc", "%00bc", 1),
        ] {
            assert!(!contains_key(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_credential_that_begins_like_a_key_counts_as_one() {
        for text in ["nxp_", "NXP_x", "\"nxp_x\"", "Digest username=nxp_x", "a:nxp_x", "%6exp_x"] {
            assert!(contains_key_start(text.as_bytes()), "{text}");
        }
        for text in ["", "nxp", "Bearer abcnxp_x", "Bearer abc.nxp_x", "Bearer a/nxp_x", "nxpx_"] {
            assert!(!contains_key_start(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn percent_signs_cost_no_more_time_than_their_length() {
        for piece in ["%", "%25", "%%", "%2%35", "%u0025", "n%", "%25%32%35"] {
            let text = piece.repeat((1 << 20) / piece.len());
            assert!(!contains_key(text.as_bytes()));
            assert!(contains_key(format!("{text} {KEY}").as_bytes()), "{piece}");
        }
    }

    #[test]
    fn text_that_costs_too_much_to_decode_counts_as_a_key() {
        let looks = |text: &str, left: &mut usize| contains_key_within(text.as_bytes(), left);
        for piece in ["%%32%35", "%25%32%35", "%2%35"] {
            let mut left = MAX_DECODED_BYTES;
            assert!(looks(&piece.repeat((128 << 10) / piece.len()), &mut left), "{piece}");
            assert_eq!(left, 0);
        }
        let mut left = MAX_DECODED_BYTES;
        assert!((0..90).any(|_| looks(&"%25".repeat(400), &mut left)));
        let mut left = MAX_DECODED_BYTES;
        assert!(!looks(&"%7B%22a%22%3A1%7D".repeat(400), &mut left) && left > 0);
        // Plain text costs nothing.
        let mut left = 1;
        assert!(!looks(&"a=b; ".repeat(400), &mut left) && left == 1);
    }

    proptest! {
        /// Decoding while reading finds the same as decoding layer after layer.
        #[test]
        fn layers_of_encoding_are_decoded_in_any_order(
            layers in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 180), 1..3),
        ) {
            let mut text = format!("/api?x= {KEY}").into_bytes();
            for layer in layers {
                text = encoded(&text, &layer);
            }
            prop_assert!(contains_key(&text), "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn a_plain_key_is_found_where_no_letter_precedes_it(
            before in "[ -~]{0,20}", after in "[ -~]{0,20}",
        ) {
            let text = format!("{before}{KEY}{after}");
            let is_word = before.bytes().next_back().is_some_and(is_token_byte);
            if !before.contains('%') && !after.contains('%') {
                prop_assert_eq!(contains_key(text.as_bytes()), !is_word, "{}", text);
            }
        }
    }

    fn encoded(text: &[u8], which: &[bool]) -> Vec<u8> {
        let each = text.iter().zip(which.iter().cycle());
        let each =
            each.map(
                |(&byte, &is_encoded)| {
                    if is_encoded { format!("%{byte:02X}").into_bytes() } else { vec![byte] }
                },
            );
        each.flatten().collect()
    }
}

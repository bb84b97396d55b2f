//! One-time codes (RFC 6238: SHA-1, six digits, 30 seconds, one step of skew).

use totp_rs::{Builder, Totp};

/// Returns the code for a base32 secret at a Unix time, as an authenticator app would show it.
///
/// `None` when the secret is not base32 or longer than 20 bytes.
pub fn code(secret: &str, unix: u64) -> Option<String> {
    Some(generator(secret)?.generate(unix).to_string())
}

/// Returns the step in which `code` is valid at a Unix time.
pub(crate) fn step(secret: &str, code: &str, unix: u64) -> Option<u64> {
    generator(secret)?.check(code.trim(), unix)
}

fn generator(secret: &str) -> Option<Totp> {
    let decoded = base32(secret)?;
    // HMAC pads a short key with zeros, so padding it here changes no code.
    let mut key = [0; 20];
    key.get_mut(..decoded.len())?.copy_from_slice(&decoded);
    Some(Builder::new().with_secret(key).build_noncompliant())
}

fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut held, mut bytes) = (0_u32, 0_u32, Vec::new());
    for letter in text.bytes().filter(|b| !matches!(b, b' ' | b'-' | b'=')) {
        let value = match letter.to_ascii_uppercase() {
            upper @ b'A'..=b'Z' => upper - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        held = (held << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B, cut to six digits; the secret is `12345678901234567890`.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_the_rfc() {
        assert_eq!(code(SECRET, 59).unwrap(), "287082");
        assert_eq!(code(SECRET, 1_111_111_109).unwrap(), "081804");
    }

    #[test]
    fn a_code_is_valid_one_step_early_and_late() {
        assert_eq!(step(SECRET, "287082", 59), Some(1));
        assert_eq!(step(SECRET, "287082", 89), Some(1));
        assert_eq!(step(SECRET, "287082", 120), None);
        assert_eq!(code("not base32!", 0), None);
    }
}

//! A client's key: `nxp_`, 32 random characters, 6 of checksum.
//!
//! With the prefix and the checksum, a secret scanner recognizes a key offline, and we refuse a
//! mistyped key without a look-up. Only the SHA-256 of a key is stored: 160 random bits cannot be
//! guessed, so a slow password hash would cost time and add nothing.

use std::hash::{Hash, Hasher};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, rand};

use crate::secret::Secret;

/// The beginning of every key.
pub const PREFIX: &str = "nxp_";

/// The SHA-256 of a key.
#[derive(Clone, Debug)]
pub(super) struct KeyHash([u8; 32]);

/// Generates a key.
pub(super) fn generate() -> Secret {
    let mut random = [0; 20];
    rand::fill(&mut random).expect("the system has random numbers, or TLS would not work either");
    let body = format!("{PREFIX}{}", base32(&random));
    let check = checksum(&body);
    Secret::new(format!("{body}{check}"))
}

/// Says whether this has the form of a key, with a correct checksum. Looks up no client.
pub fn is_well_formed(presented: &[u8]) -> bool {
    KeyHash::from_key(presented).is_some()
}

impl KeyHash {
    /// Hashes a presented key; `None` if its form or its checksum is wrong.
    pub(super) fn from_key(presented: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(presented).ok()?;
        let (body, check) = text.split_at_checked(PREFIX.len() + RANDOM_LENGTH)?;
        let well_formed = body.starts_with(PREFIX) && checksum(body) == check;
        well_formed.then(|| Self(sha256(presented)))
    }

    /// Hashes a presented key, whatever its form.
    pub(super) fn of(presented: &[u8]) -> Self {
        Self(sha256(presented))
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    pub(super) fn from_hex(hexadecimal: &str) -> Option<Self> {
        let digits = hexadecimal.as_bytes().as_chunks::<2>();
        let bytes = digits.0.iter().map(|pair| {
            let plain = pair.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(pair).ok().filter(|_| plain)?;
            u8::from_str_radix(text, 16).ok()
        });
        let bytes: Vec<u8> = bytes.collect::<Option<_>>().filter(|_| digits.1.is_empty())?;
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl PartialEq for KeyHash {
    /// The one candidate of a look-up is compared in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for KeyHash {}

impl Hash for KeyHash {
    /// A few bytes are enough to enter a table: all of them are random.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.first_chunk::<8>().hash(state);
    }
}

fn checksum(body: &str) -> String {
    base32(&sha256(body.as_bytes())[..5])[..CHECKSUM_LENGTH].to_owned()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// RFC 4648 §6 in lower case, without padding: every five bytes are eight characters.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for five in bytes.as_chunks::<5>().0 {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for at in (0..8).rev() {
            let index = usize::try_from(bits >> (5 * at) & 31).expect("31 fits");
            text.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[index]));
        }
    }
    text
}

/// Length of every key, in bytes.
pub const LENGTH: usize = PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH;

/// Characters of the random part: 20 bytes in base 32.
const RANDOM_LENGTH: usize = 32;

/// Characters of the checksum, 30 bits: one mistyped key in a thousand million looks well-formed.
const CHECKSUM_LENGTH: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_the_prefix_and_is_different() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.expose().len(), 42);
        assert!(one.expose().starts_with("nxp_"));
        assert_ne!(one, other);
        let hash = |key: &Secret| KeyHash::from_key(key.expose().as_bytes()).unwrap();
        assert!(hash(&one).matches(&hash(&one)));
        assert!(!hash(&one).matches(&hash(&other)));
    }

    #[test]
    fn a_mistyped_key_is_not_accepted() {
        let key = generate();
        for at in 0..key.expose().len() {
            let mut typed = key.expose().as_bytes().to_vec();
            typed[at] = if typed[at] == b'a' { b'b' } else { b'a' };
            assert!(KeyHash::from_key(&typed).is_none());
        }
        for text in ["", "nxp_", "nxp_é", &format!("{} ", key.expose())] {
            assert!(KeyHash::from_key(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = KeyHash::from_key(generate().expose().as_bytes()).unwrap();
        assert!(KeyHash::from_hex(&hash.to_hex()).unwrap().matches(&hash));
        for text in ["", "00", "+1", &"zz".repeat(32), &"0".repeat(63)] {
            assert!(KeyHash::from_hex(text).is_none(), "{text}");
        }
    }
}

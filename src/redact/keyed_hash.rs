//! HMAC-SHA256 of short texts under one key, as fast as the compression function alone.
//!
//! A list has thousands of values. The generic code around that function, which takes keys and texts in
//! pieces of any length, costs as much as the function itself.

use std::fmt;

use sha2::block_api::compress256;
use zeroize::Zeroizing;

/// A key, as the states that every inner and every outer hash begins with.
pub(super) struct KeyedHash {
    inner: Zeroizing<HashState>,
    outer: Zeroizing<HashState>,
}

type HashState = [u32; 8];

impl KeyedHash {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let [inner, outer] = [0x36, 0x5c].map(|mask| Zeroizing::new(state_after(key, mask)));
        Self { inner, outer }
    }

    /// Returns the first eight bytes of the HMAC of a text, as a number.
    pub(super) fn first_eight_bytes(&self, text: &[u8]) -> u64 {
        let hash = finish(*self.inner, text);
        let mut bytes = [0; 32];
        for (four, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(hash) {
            *four = word.to_be_bytes();
        }
        let [high, low, ..] = finish(*self.outer, &bytes);
        u64::from(high) << 32 | u64::from(low)
    }
}

/// Returns the state after the key, masked and filled up to a block.
fn state_after(key: &[u8; 32], mask: u8) -> HashState {
    let mut block = Zeroizing::new([mask; BLOCK]);
    block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte ^= of_key);
    let mut state = INITIAL;
    compress256(&mut state, std::slice::from_ref(&*block));
    state
}

/// Returns the hash of one block, which led to `state`, and this text behind it.
fn finish(mut state: HashState, text: &[u8]) -> HashState {
    let (whole, rest) = text.as_chunks::<BLOCK>();
    if !whole.is_empty() {
        compress256(&mut state, whole);
    }
    // The text ends with one bit and the length of all in bits, in one more block where both do not fit.
    let mut last = [[0; BLOCK]; 2];
    last[0][..rest.len()].copy_from_slice(rest);
    last[0][rest.len()] = 0x80;
    let count = if rest.len() < BLOCK - LENGTH { 1 } else { 2 };
    let bits = ((BLOCK + text.len()) as u64) * 8;
    last[count - 1][BLOCK - LENGTH..].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &last[..count]);
    state
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// Bytes of the length at the end of a text.
const LENGTH: usize = 8;

/// The state that SHA-256 begins with (FIPS 180-4, 5.3.3).
const INITIAL: HashState = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    #[test]
    fn it_is_the_hmac_of_another_library_for_texts_of_every_length() {
        let key: [u8; 32] = std::array::from_fn(|at| at as u8 ^ 0xa5);
        let (ours, theirs) = (KeyedHash::new(&key), hmac::Key::new(hmac::HMAC_SHA256, &key));
        let text: Vec<u8> = (0..300_u16).map(|at| at as u8).collect();
        for length in 0..=text.len() {
            let tag = hmac::sign(&theirs, &text[..length]);
            let first = u64::from_be_bytes(*tag.as_ref().first_chunk().unwrap());
            assert_eq!(ours.first_eight_bytes(&text[..length]), first, "{length}");
        }
        assert_eq!(format!("{ours:?}"), "KeyedHash(..)");
    }
}

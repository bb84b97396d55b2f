//! The encryption of a sealed file: AES-256-GCM under a key derived by HKDF-SHA256.
//!
//! Layout: the part in the clear, a random nonce (12 bytes), the sealed bytes, the tag (16 bytes).
//! The part in the clear is authenticated with the rest (`binding.rs`), so that neither the version
//! nor the origin nor the profile of a record can be swapped.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

/// The key of a sealed file.
pub(crate) struct SealingKey(RandomizedNonceKey);

/// The purpose of a sealed file: a file of one purpose never opens as one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The token pair.
    Session,
    /// The e-mail address, the password and the 2FA secret.
    Login,
    /// The issuing key of a certificate authority.
    Authority,
    /// The state of a member of a fleet.
    Member,
    /// The values that the tokens of redacted clients stand for.
    Tokens,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"session file 1",
            Self::Login => b"login file 1",
            Self::Authority => b"certificate authority file 1",
            Self::Member => b"fleet member file 1",
            Self::Tokens => b"token file 1",
        }
    }
}

/// Why a record cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The bytes are no record, or one of another version.
    #[error("is not a sealed file of a known version")]
    UnknownVersion,
    /// The key is wrong, or the bytes are not those that were written.
    #[error("cannot be decrypted: the file is damaged, or the key is wrong")]
    CannotDecrypt,
}

impl SealingKey {
    /// Derives the key of this purpose from its material; `None` when that is shorter than
    /// [`MIN_KEY_LENGTH`].
    pub(crate) fn derive(material: &[u8], purpose: Purpose) -> Option<Self> {
        let bytes = derive_secret(material, &[purpose.label()])?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*bytes);
        Some(Self(key.expect("AES-256 takes 32 bytes")))
    }

    /// Seals `plain`, authenticated with the part that stands in the `clear`.
    pub(crate) fn seal(&self, clear: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(clear), &mut sealed)
            .expect("AES-GCM seals anything that fits into memory");
        [clear, nonce.as_ref().as_slice(), &sealed].concat()
    }

    /// Decrypts the record that [`SealingKey::seal`] made, taken apart again.
    ///
    /// # Errors
    ///
    /// [`Error::CannotDecrypt`].
    pub(crate) fn open(&self, clear: &[u8], rest: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(Error::CannotDecrypt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::CannotDecrypt)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(clear), &mut plain);
        let length = opened.map_err(|_| Error::CannotDecrypt)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// Derives a secret from the material of a key, for the purpose that `labels` name one after another;
/// `None` when the material is shorter than [`MIN_KEY_LENGTH`].
pub(crate) fn derive_secret(material: &[u8], labels: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>> {
    if material.len() < MIN_KEY_LENGTH {
        return None;
    }
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"nexudus-proxy").extract(material);
    let mut bytes = Zeroizing::new([0; 32]);
    secret
        .expand(labels, hkdf::HKDF_SHA256)
        .and_then(|derived| derived.fill(&mut *bytes))
        .expect("HKDF-SHA256 yields 32 bytes");
    Some(bytes)
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Shortest key material, in bytes: 128 bits, if it is random.
pub(crate) const MIN_KEY_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn session_key(material: &[u8]) -> Option<SealingKey> {
        SealingKey::derive(material, Purpose::Session)
    }

    #[test]
    fn a_file_of_one_purpose_opens_as_no_other() {
        let material = b"sixteen bytes ok";
        let login = SealingKey::derive(material, Purpose::Login).unwrap();
        let sealed = login.seal(b"", b"plain");

        assert!(login.open(b"", &sealed).is_ok());
        assert_eq!(
            session_key(material).unwrap().open(b"", &sealed).unwrap_err(),
            Error::CannotDecrypt
        );
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_only() {
        let key = session_key(b"sixteen bytes ok").unwrap();
        let sealed = key.seal(b"clear", b"plain");
        let rest = sealed.strip_prefix(b"clear").unwrap();

        assert_eq!(*key.open(b"clear", rest).unwrap(), b"plain");
        assert_ne!(sealed, key.seal(b"clear", b"plain"));
        assert!(!sealed.windows(5).any(|window| window == b"plain"));
        let other = session_key(b"sixteen bytes no").unwrap();
        assert_eq!(other.open(b"clear", rest).unwrap_err(), Error::CannotDecrypt);
        assert_eq!(key.open(b"cleaR", rest).unwrap_err(), Error::CannotDecrypt);
    }

    #[test]
    fn every_flipped_or_missing_byte_keeps_it_closed() {
        let key = session_key(&[7; 16]).unwrap();
        let sealed = key.seal(b"clear", b"plain");
        let open = |bytes: &[u8]| {
            let (clear, rest) =
                bytes.split_at_checked(b"clear".len()).ok_or(Error::CannotDecrypt)?;
            key.open(clear, rest)
        };
        assert!(open(&sealed).is_ok());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(open(&flipped).is_err(), "byte {at}");
            assert!(open(&sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn short_material_makes_no_key() {
        assert!(session_key(&[7; MIN_KEY_LENGTH - 1]).is_none());
        assert!(session_key(&[7; MIN_KEY_LENGTH]).is_some());
        assert_eq!(format!("{:?}", session_key(&[7; 16]).unwrap()), "Key(..)");
    }
}

//! The secrets of tokens, and the key that seals what tokens stand for; both come from the session's
//! key.
//!
//! A secret is derived and not stored: it is the same after a restart, and after the values were wiped.

use zeroize::Zeroizing;

use super::sealing::crypto::{Error, Purpose, SealingKey, derive_secret};
use crate::secret::KeyMaterial;

/// Makes the secrets of one profile's tokens, and seals their values.
#[derive(Debug)]
pub struct TokenSealer {
    key: SealingKey,
    root: RootSecret,
    profile: String,
}

/// The secret that all others are derived from.
struct RootSecret(Zeroizing<[u8; 32]>);

impl TokenSealer {
    /// Derives the key; `None` when the material is too short for one.
    pub fn new(material: &KeyMaterial, profile: &str) -> Option<Self> {
        let key = SealingKey::derive(material.as_bytes(), Purpose::Tokens)?;
        let labels = [b"token secrets 1 ".as_slice(), profile.as_bytes()];
        let root = RootSecret(derive_secret(material.as_bytes(), &labels)?);
        Some(Self { key, root, profile: profile.to_owned() })
    }

    /// Returns the profile.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Returns the secret of the table with this name.
    pub fn secret(&self, table: &str) -> Zeroizing<[u8; 32]> {
        derive_secret(&*self.root.0, &[b"token secret 1 ", table.as_bytes()])
            .expect("the root has 32 bytes")
    }

    /// Says whether `other` makes the same secrets.
    pub fn is_same(&self, other: &Self) -> bool {
        self.root.0 == other.root.0
    }

    /// Seals `plain`, authenticated with what stands in the `clear` before it; returns the sealed part
    /// alone.
    pub fn seal(&self, clear: &[u8], plain: &[u8]) -> Vec<u8> {
        self.key.seal(clear, plain).split_off(clear.len())
    }

    /// Opens what [`TokenSealer::seal`] has sealed.
    ///
    /// # Errors
    ///
    /// The sentence behind the file's path.
    pub fn open(&self, clear: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        self.key.open(clear, sealed).map_err(|error: Error| error.to_string())
    }
}

impl std::fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn sealer(material: &str, profile: &str) -> TokenSealer {
        TokenSealer::new(&KeyMaterial::from_secret(&Secret::new(material)), profile).unwrap()
    }

    #[test]
    fn each_table_profile_and_key_has_a_secret_of_its_own_that_stays() {
        let own = sealer("sixteen bytes ok", "work");
        let again = sealer("sixteen bytes ok", "work");
        assert_eq!(own.secret("client a"), again.secret("client a"));
        assert!(own.is_same(&again));
        for other in [sealer("sixteen bytes no", "work"), sealer("sixteen bytes ok", "home")] {
            assert_ne!(own.secret("client a"), other.secret("client a"));
            assert!(!own.is_same(&other));
        }
        assert_ne!(own.secret("client a"), own.secret("client b"));
        let short = KeyMaterial::from_secret(&Secret::new("fifteen bytes o"));
        assert!(TokenSealer::new(&short, "work").is_none());
    }

    #[test]
    fn a_sealed_value_opens_with_its_key_and_at_its_place_alone() {
        let own = sealer("sixteen bytes ok", "work");
        let sealed = own.seal(b"first", b"plain");
        assert_eq!(*own.open(b"first", &sealed).unwrap(), b"plain");
        assert!(own.open(b"second", &sealed).is_err());
        assert!(sealer("sixteen bytes no", "work").open(b"first", &sealed).is_err());
        let shown = format!("{own:?}");
        assert!(shown.contains("Key(..)") && shown.contains("RootSecret(..)"), "{shown}");
    }
}

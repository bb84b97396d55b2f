//! Seals a certificate authority's key with the session's key.
//!
//! The first line stands in the clear and is authenticated with the rest: it names the authority and
//! the profile, so that neither can be swapped.

use zeroize::Zeroizing;

use super::sealing::crypto::{Error, Purpose, SealingKey};
use crate::secret::KeyMaterial;

/// Seals and opens the authorities of one profile.
#[derive(Debug)]
pub struct AuthoritySealer {
    key: SealingKey,
    profile: String,
}

impl AuthoritySealer {
    /// Derives the key; `None` when the material is too short for one.
    pub fn new(material: &KeyMaterial, profile: &str) -> Option<Self> {
        let key = SealingKey::derive(material.as_bytes(), Purpose::Authority)?;
        Some(Self { key, profile: profile.to_owned() })
    }

    /// Seals `plain` as the authority `name`.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        self.key.seal(&self.clear(name), plain)
    }

    /// Opens what [`AuthoritySealer::seal`] has sealed as the same authority.
    ///
    /// # Errors
    ///
    /// The sentence behind the file's path.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let clear = self.clear(name);
        let opened = match sealed.strip_prefix(&*clear) {
            Some(rest) => self.key.open(&clear, rest),
            None if sealed.starts_with(MAGIC) => Err(Error::CannotDecrypt),
            None => Err(Error::UnknownVersion),
        };
        opened.map_err(|error| error.to_string())
    }

    fn clear(&self, name: &str) -> Vec<u8> {
        [MAGIC, name.as_bytes(), b" of ", self.profile.as_bytes(), b"\n"].concat()
    }
}

/// The first bytes of the file.
const MAGIC: &[u8] = b"nexudus-proxy ca 1 ";

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::secret::Secret;

    fn sealer(material: &str, profile: &str) -> AuthoritySealer {
        let material = KeyMaterial::from_secret(&Secret::new(material));
        AuthoritySealer::new(&material, profile).unwrap()
    }

    #[test]
    fn only_the_same_key_profile_and_authority_open_it() {
        let sealed = sealer("sixteen bytes ok", "work").seal("localhost", b"plain");
        let open = |material, profile, name| sealer(material, profile).open(name, &sealed);

        assert_eq!(*open("sixteen bytes ok", "work", "localhost").unwrap(), b"plain");
        for other in [
            open("sixteen bytes no", "work", "localhost"),
            open("sixteen bytes ok", "home", "localhost"),
            open("sixteen bytes ok", "work", "intercept"),
        ] {
            assert_eq!(other.unwrap_err(), Error::CannotDecrypt.to_string());
        }
        let foreign = sealer("sixteen bytes ok", "work").open("localhost", b"nexudus-proxy ca 2 ");
        assert_eq!(foreign.unwrap_err(), Error::UnknownVersion.to_string());
        let short = KeyMaterial::from_secret(&Secret::new("fifteen bytes o"));
        assert!(AuthoritySealer::new(&short, "work").is_none());
    }

    #[test]
    fn a_stored_authority_is_read_again_and_its_key_is_nowhere_in_the_clear() {
        use crate::ca::{AuthorityKind, AuthorityStore};
        let folder = tempfile::tempdir().unwrap();
        let (store, kind) = (AuthorityStore::new(folder.path()), AuthorityKind::Localhost);
        let sealer = sealer("sixteen bytes ok", "work");
        let authority = kind.create(&crate::config::Config::default(), SystemTime::now()).unwrap();

        store.write(kind, &authority, |plain| sealer.seal(kind.name(), plain)).unwrap();
        let read = store.read(kind, |sealed| sealer.open(kind.name(), sealed)).unwrap().unwrap();

        let secret = authority.to_secret_bytes();
        assert_eq!(read.to_secret_bytes(), secret);
        assert_eq!(std::fs::read_to_string(store.root_path(kind)).unwrap(), authority.root_pem());
        // PKCS #8 of P-256 is the last field; the private number stands behind its first 36 bytes.
        let number = &secret[secret.len() - 138 + 36..][..32];
        let mut files = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(number.len()).any(|window| window == number));
            files += 1;
        }
        assert_eq!(files, 2);
        assert!(format!("{sealer:?}").contains("key: Key(..)"));
        assert_eq!(format!("{read:?}"), format!("{authority:?}"));
        assert!(format!("{read:?}").ends_with(", .. }"));
        let now = SystemTime::now() + Duration::from_secs(1);
        assert!(read.leaf("localhost", now).is_ok());

        let mut damaged = std::fs::read(folder.path().join("ca-localhost.sealed")).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(folder.path().join("ca-localhost.sealed"), damaged).unwrap();
        let error = store.read(kind, |sealed| sealer.open(kind.name(), sealed)).unwrap_err();
        assert!(error.to_string().ends_with(&Error::CannotDecrypt.to_string()), "{error}");
        assert!(store.remove(kind).unwrap() && !store.remove(kind).unwrap());
        assert!(store.read(kind, |_| unreachable!()).unwrap().is_none());
    }
}

//! The login in sealed files, one for each origin: for machines without a keychain.
//!
//! The format and the binding to origin and profile are those of the session file, under a key of
//! their own (`sealing/`). Sealed are three lines: e-mail address, password, 2FA secret or nothing.
//! The reader of secrets lets no line end into any of them.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::key_file::remove_file;
use super::private_file::{self, FileError};
use super::sealing::binding::{Binding, Envelope, name_for_origin};
use super::sealing::crypto::{MIN_KEY_LENGTH, Purpose, SealingKey};
use super::{Login, SecondFactor};
use crate::config::Origin;
use crate::secret::{KeyMaterial, Secret};
use crate::secure_fs;

/// The sealed login of one profile at one origin.
#[derive(Clone, Debug)]
pub(super) struct SealedLogin {
    directory: PathBuf,
    binding: Binding,
}

impl SealedLogin {
    pub(super) fn new(directory: &Path, origin: &Origin, profile: &str) -> Self {
        let binding = Binding::new(origin.to_string(), profile);
        Self { directory: directory.to_owned(), binding }
    }

    pub(super) fn path(&self) -> PathBuf {
        if self.binding.origin == Origin::nexudus().to_string() {
            self.directory.join(FILE_NAME)
        } else {
            self.directory.join(name_for_origin(FILE_NAME, &self.binding.origin))
        }
    }

    /// Says whether anything lies in the place of the file.
    pub(super) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Reads the login; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the file is not private, or does not open.
    pub(super) fn read(&self, key: &KeyMaterial) -> Result<Option<Login>, FileError> {
        let path = self.path();
        self.open(key, &path)
    }

    /// Replaces the login. Returns once the new one is durable. A typed code is not stored, because
    /// it is spent.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the file cannot be written.
    pub(super) fn write(&self, key: &KeyMaterial, login: &Login) -> Result<(), FileError> {
        self.seal(key, login, &self.path())
    }

    /// Writes a file beside the login, reads it and removes it.
    ///
    /// # Errors
    ///
    /// [`FileError`] when no login could be stored.
    pub(super) fn self_test(&self, key: &KeyMaterial) -> Result<(), FileError> {
        let path = self.directory.join(format!("{FILE_NAME}.canary-{}", std::process::id()));
        let canary = Login {
            email: "canary".to_owned(),
            password: super::keychain::random_key(),
            second_factor: None,
        };
        let tested = self.seal(key, &canary, &path).and_then(|()| self.open(key, &path));
        remove_file(&path)?;
        let why = "returned another content than was written";
        match tested? {
            Some(read) if read == canary => Ok(()),
            Some(_) | None => Err(FileError::Damaged { path, why }),
        }
    }

    /// Removes the login, and says whether there was one.
    ///
    /// # Errors
    ///
    /// When the file is still there.
    pub(super) fn remove(&self) -> Result<bool, FileError> {
        let existed = self.exists();
        remove_file(&self.path())?;
        Ok(existed)
    }

    /// Removes the logins of every origin, and what a crash has left; says whether there was one.
    ///
    /// # Errors
    ///
    /// When a file is still there.
    pub(super) fn remove_all(&self) -> Result<bool, FileError> {
        let names = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name());
        let ours = names.filter(|name| name.to_string_lossy().starts_with(FILE_NAME));
        let mut any = false;
        for name in ours {
            remove_file(&self.directory.join(name))?;
            any = true;
        }
        // Not worth a failure: the files are gone unless the machine crashes right now.
        let _ = secure_fs::fsync_dir(&self.directory);
        Ok(any)
    }

    fn open(&self, key: &KeyMaterial, path: &Path) -> Result<Option<Login>, FileError> {
        let Some(bytes) = private_file::read(path)? else { return Ok(None) };
        let sealed = |why: String| FileError::Sealed { path: path.to_owned(), why };
        let envelope = Envelope::parse(&bytes, Purpose::Login);
        let envelope = envelope.map_err(|why| sealed(why.to_string()))?;
        self.binding.verify(envelope.header.as_ref()).map_err(|why| sealed(why.to_string()))?;
        let plain = self.key(key)?.open(envelope.clear, envelope.sealed);
        let plain = plain.map_err(|why| sealed(why.to_string()))?;
        let login = parse(&plain);
        login.map(Some).ok_or_else(|| sealed("holds no login of a known version".to_owned()))
    }

    fn seal(&self, key: &KeyMaterial, login: &Login, path: &Path) -> Result<(), FileError> {
        let io = |source| FileError::Io { path: path.to_owned(), source };
        let header = self.binding.header(0, 0).to_bytes(Purpose::Login);
        let envelope = self.key(key)?.seal(&header, &format(login));
        secure_fs::create_dir(&self.directory).map_err(io)?;
        secure_fs::atomic_write(path, &envelope).map_err(io)
    }

    fn key(&self, material: &KeyMaterial) -> Result<SealingKey, FileError> {
        SealingKey::derive(material.as_bytes(), Purpose::Login).ok_or_else(|| FileError::Sealed {
            path: self.path(),
            why: format!("cannot be used: its key is shorter than {MIN_KEY_LENGTH} bytes"),
        })
    }
}

fn format(login: &Login) -> Zeroizing<Vec<u8>> {
    let totp = match &login.second_factor {
        Some(SecondFactor::Shared(secret)) => secret.expose(),
        Some(SecondFactor::Code(_)) | None => "",
    };
    let parts = [login.email.as_str(), login.password.expose(), totp];
    let mut lines =
        Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum()));
    for part in parts {
        lines.extend_from_slice(part.as_bytes());
        lines.push(b'\n');
    }
    lines
}

fn parse(plain: &[u8]) -> Option<Login> {
    let mut lines = std::str::from_utf8(plain).ok()?.split_terminator('\n');
    let (email, password, totp) = (lines.next()?, lines.next()?, lines.next()?);
    let is_whole = lines.next().is_none() && !email.is_empty() && !password.is_empty();
    is_whole.then(|| Login {
        email: email.to_owned(),
        password: Secret::new(password),
        second_factor: (!totp.is_empty()).then(|| SecondFactor::Shared(Secret::new(totp))),
    })
}

/// The file of the login at the default origin, and how the names of the others begin.
const FILE_NAME: &str = "login.sealed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_opens_for_its_origin_and_profile_with_its_key_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |origin: &Origin, profile| SealedLogin::new(directory.path(), origin, profile);
        let (nexudus, other) = (Origin::nexudus(), Origin::new("b.example", 443));
        let usual = at(&nexudus, "default");
        assert_eq!(usual.read(&key(7)).unwrap(), None);

        usual.self_test(&key(7)).unwrap();
        usual.write(&key(7), &login()).unwrap();

        assert_eq!(usual.read(&key(7)).unwrap(), Some(login()));
        let bytes = std::fs::read(usual.path()).unwrap();
        assert!(bytes.starts_with(b"nexudus-proxy login 1\n{\"origin\":"));
        for secret in ["ada@example.test", "hunter2", "JBSWY3DP"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
        assert!(matches!(usual.read(&key(8)), Err(FileError::Sealed { .. })));
        assert!(matches!(at(&nexudus, "work").read(&key(7)), Err(FileError::Sealed { .. })));
        assert_eq!(at(&other, "default").read(&key(7)).unwrap(), None);
        std::fs::copy(usual.path(), at(&other, "default").path()).unwrap();
        assert!(at(&other, "default").read(&key(7)).is_err());

        assert!(usual.remove_all().unwrap());
        assert!(!usual.remove().unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_cut_off_file_is_refused_whatever_is_left_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let sealed = SealedLogin::new(directory.path(), &Origin::nexudus(), "default");
        sealed.write(&key(7), &login()).unwrap();
        let whole = std::fs::read(sealed.path()).unwrap();

        for length in 0..whole.len() {
            secure_fs::atomic_write_nosync(&sealed.path(), &whole[..length]).unwrap();
            assert!(sealed.read(&key(7)).is_err(), "{length}");
        }
    }

    #[test]
    fn a_typed_code_is_not_stored() {
        let code =
            Login { second_factor: Some(SecondFactor::Code(Secret::new("123456"))), ..login() };
        let none = Login { second_factor: None, ..login() };
        assert_eq!(parse(&format(&code)), Some(none));
        assert_eq!(parse(b"a\nb\n"), None);
    }

    fn login() -> Login {
        Login {
            email: "ada@example.test".into(),
            password: Secret::new("hunter2"),
            second_factor: Some(SecondFactor::Shared(Secret::new("JBSWY3DP"))),
        }
    }

    fn key(byte: u8) -> KeyMaterial {
        crate::secret::SecretInput::new("the key", vec![byte + 0x80; 32]).key().unwrap()
    }
}

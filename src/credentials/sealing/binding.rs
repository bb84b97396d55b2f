//! The origin and profile that a sealed record is bound to, and the record's layout on disk.
//!
//! Version 2: the magic with the version, a header as one line of JSON, a random nonce (12 bytes),
//! the sealed bytes, the tag (16 bytes). The header stands in the clear, since it must be known
//! before anything is opened, and is authenticated with the rest byte for byte. The header holds
//! origin, profile, generation and epoch. The client id, the account and the tokens are sealed.
//!
//! Version 1 has no header. Its record counts as issued by `https://spaces.nexudus.com` for the
//! profile in whose directory it lies.
//!
//! The session of the configured origin is in `session.sealed`. When that file must be written, the
//! session of another origin is moved aside under a name of its own. That session is taken back
//! when its origin is configured again: a change of `upstream.origin` and the change back lose no
//! session. An earlier program does not know the version, uses nothing of the file, and moves it
//! aside when it must write.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::crypto::{self, Purpose};
use crate::config::Origin;

/// The origin that issues a session, and the profile that stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The origin, as [`Origin`] writes it.
    pub(crate) origin: String,
    pub(crate) profile: String,
}

/// The part of a sealed record that stands in the clear and is authenticated with the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnvelopeHeader {
    pub(crate) origin: String,
    pub(crate) profile: String,
    /// Grows with each new pair. A plain number: a fencing token may replace it.
    pub(crate) generation: u64,
    /// The epoch of the profile when the record was written (`epoch.rs`). A plain number too.
    pub(crate) epoch: u64,
}

/// A sealed record, taken apart and not yet opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    /// Everything before the nonce; authenticated.
    pub(crate) clear: &'a [u8],
    /// The nonce and the sealed bytes.
    pub(crate) sealed: &'a [u8],
    /// `None` in version 1.
    pub(crate) header: Option<EnvelopeHeader>,
}

/// Why a record belongs to another profile or origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BindingError {
    /// Another origin has issued the record.
    #[error("was issued by {0} and is used nowhere else")]
    Origin(String),
    /// Another profile has sealed the record.
    #[error("was made in the profile {0:?} and is used in no other")]
    Profile(String),
}

impl Binding {
    /// Binds to this origin, as [`Origin`] writes it, and this profile.
    pub(crate) fn new(origin: impl Into<String>, profile: &str) -> Self {
        Self { origin: origin.into(), profile: profile.to_owned() }
    }

    /// Returns the header of a record.
    pub(crate) fn header(&self, generation: u64, epoch: u64) -> EnvelopeHeader {
        let Self { origin, profile } = self.clone();
        EnvelopeHeader { origin, profile, generation, epoch }
    }

    /// Checks that a record with this header may be used here.
    ///
    /// # Errors
    ///
    /// The origin or profile that the record is bound to.
    pub(crate) fn verify(&self, header: Option<&EnvelopeHeader>) -> Result<(), BindingError> {
        let issued_by = issued_by(header);
        if issued_by != self.origin {
            return Err(BindingError::Origin(issued_by));
        }
        match header {
            Some(header) if header.profile != self.profile => {
                Err(BindingError::Profile(header.profile.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Returns the name under which the session of `origin` waits while another origin is configured.
pub(crate) fn parked_name(origin: &str) -> String {
    name_for_origin(FILE_NAME, origin)
}

/// Returns the name of a file that belongs to `origin` alone.
pub(crate) fn name_for_origin(file: &str, origin: &str) -> String {
    // A host name alone may be as long as a file name.
    let hash = digest::digest(&digest::SHA256, origin.as_bytes());
    let hash = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("{file}.{}", hash.collect::<String>())
}

impl EnvelopeHeader {
    /// Returns the bytes before the nonce.
    pub(crate) fn to_bytes(&self, purpose: Purpose) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("strings and numbers are valid JSON");
        [magic(purpose), &json, b"\n"].concat()
    }
}

impl<'a> Envelope<'a> {
    /// Takes a file's content apart.
    ///
    /// # Errors
    ///
    /// [`crypto::Error::UnknownVersion`] for another version, [`crypto::Error::CannotDecrypt`] for
    /// half a header.
    pub(crate) fn parse(bytes: &'a [u8], purpose: Purpose) -> Result<Self, crypto::Error> {
        if purpose == Purpose::Session
            && let Some(sealed) = bytes.strip_prefix(MAGIC_1)
        {
            return Ok(Self { clear: MAGIC_1, sealed, header: None });
        }
        let magic = magic(purpose);
        let rest = bytes.strip_prefix(magic).ok_or(crypto::Error::UnknownVersion)?;
        let end = rest.iter().take(MAX_HEADER_LENGTH).position(|byte| *byte == b'\n');
        let end = end.ok_or(crypto::Error::CannotDecrypt)?;
        let (json, _) = rest.split_at(end);
        let header = serde_json::from_slice(json).map_err(|_| crypto::Error::CannotDecrypt)?;
        let (clear, sealed) = bytes.split_at(magic.len() + end + 1);
        Ok(Self { clear, sealed, header: Some(header) })
    }

    /// Returns the origin that issued the record, by its header.
    pub(crate) fn issued_by(&self) -> String {
        issued_by(self.header.as_ref())
    }
}

fn issued_by(header: Option<&EnvelopeHeader>) -> String {
    header.map_or_else(|| Origin::nexudus().to_string(), |header| header.origin.clone())
}

/// The file of the configured origin, and how the names of the others begin.
pub(crate) const FILE_NAME: &str = "session.sealed";

/// The first bytes of a file of this purpose.
fn magic(purpose: Purpose) -> &'static [u8] {
    match purpose {
        Purpose::Session => b"nexudus-proxy session 2\n",
        Purpose::Login => b"nexudus-proxy login 1\n",
        Purpose::Member => b"nexudus-proxy member 1\n",
        // No origin issues an authority: its header is another (`authority_sealer.rs`).
        Purpose::Authority => b"nexudus-proxy ca 1 ",
        // Nor tokens, which every origin of a profile shares (`redact/token_file.rs`).
        Purpose::Tokens => b"nexudus-proxy tokens 1 ",
    }
}

/// The first bytes of a record of version 1, and all that stands in the clear there.
const MAGIC_1: &[u8] = b"nexudus-proxy session 1\n";

/// Longest header, in bytes: a host name has at most 253, and the name of a profile is part of a
/// file name.
const MAX_HEADER_LENGTH: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_has_a_name_to_wait_under() {
        assert_eq!(parked_name("https://localhost:1").len(), "session.sealed.".len() + 16);
        assert_ne!(parked_name("https://localhost:1"), parked_name("https://localhost:2"));
    }

    #[test]
    fn a_header_is_read_as_it_is_written_and_says_neither_account_nor_client_id() {
        let header = Binding::new("https://a.example", "work").header(3, u64::MAX);
        let bytes = [header.to_bytes(Purpose::Session).as_slice(), b"sealed"].concat();

        let envelope = Envelope::parse(&bytes, Purpose::Session).unwrap();

        assert_eq!((envelope.sealed, envelope.header.as_ref()), (&b"sealed"[..], Some(&header)));
        assert_eq!(
            String::from_utf8(envelope.clear.to_vec()).unwrap(),
            "nexudus-proxy session 2\n{\"origin\":\"https://a.example\",\"profile\":\"work\",\
             \"generation\":3,\"epoch\":18446744073709551615}\n"
        );
    }

    #[test]
    fn what_has_no_origin_counts_as_issued_by_nexudus() {
        let old = [MAGIC_1, b"x"].concat();
        let envelope = Envelope::parse(&old, Purpose::Session).unwrap();
        let check = |origin: &str| Binding::new(origin, "any").verify(envelope.header.as_ref());

        assert_eq!(envelope.issued_by(), "https://spaces.nexudus.com");
        assert_eq!(check("https://spaces.nexudus.com"), Ok(()));
        let nexudus = BindingError::Origin("https://spaces.nexudus.com".to_owned());
        assert_eq!(check("https://b.example"), Err(nexudus));
    }

    #[test]
    fn another_origin_and_another_profile_are_told_apart() {
        let header = Binding::new("https://a.example", "work").header(1, 1);

        for (origin, profile, expected) in [
            ("https://a.example", "work", Ok(())),
            ("https://b.example", "work", Err(BindingError::Origin("https://a.example".into()))),
            ("https://a.example", "home", Err(BindingError::Profile("work".into()))),
        ] {
            assert_eq!(Binding::new(origin, profile).verify(Some(&header)), expected);
        }
    }

    #[test]
    fn what_is_of_no_known_version_is_not_taken_apart() {
        for (bytes, error) in [
            (b"".as_slice(), crypto::Error::UnknownVersion),
            (b"nexudus-proxy session 3\nx", crypto::Error::UnknownVersion),
            (b"nexudus-proxy session 2\n", crypto::Error::CannotDecrypt),
            (b"nexudus-proxy session 2\n{}\n", crypto::Error::CannotDecrypt),
            (
                b"nexudus-proxy session 2\n{\"origin\":\"https://a.example\"",
                crypto::Error::CannotDecrypt,
            ),
        ] {
            assert_eq!(Envelope::parse(bytes, Purpose::Session), Err(error));
        }
    }
}

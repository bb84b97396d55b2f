//! An authority as bytes, to be sealed by others, and back.
//!
//! A line that names the format; then label, beginning and end of the validity, names, root,
//! issuing certificate and key. Each is preceded by its length in four bytes, big-endian.

use std::net::IpAddr;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::authority::{Authority, END_OF_TIME, Error, is_label};
use crate::names::Names;

impl Authority {
    /// Returns everything that [`Authority::from_secret_bytes`] needs, the key included and in the
    /// clear: seal it before it is stored.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let names = self.names.iter().collect::<Vec<_>>().join("\n");
        let (not_before, not_after) = (self.not_before.to_be_bytes(), self.not_after.to_be_bytes());
        let fields: [&[u8]; FIELDS] = [
            self.label.as_bytes(),
            &not_before,
            &not_after,
            names.as_bytes(),
            &self.root,
            &self.issuing,
            self.key.serialized_der(),
        ];
        let length = FORMAT.len() + fields.iter().map(|field| 4 + field.len()).sum::<usize>();
        // All of it at once: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(FORMAT);
        for field in fields {
            let length = u32::try_from(field.len()).expect("certificates are small");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    /// Reads what [`Authority::to_secret_bytes`] has returned. The bytes are expected to be
    /// authenticated: the certificates are not verified again.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for anything else.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Error> {
        read(bytes).ok_or(Error::Damaged)
    }
}

fn read(bytes: &[u8]) -> Option<Authority> {
    let mut rest = bytes.strip_prefix(FORMAT)?;
    let mut field = || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(field)
    };
    let label = str::from_utf8(field()?).ok().filter(|label| is_label(label))?.to_owned();
    let not_before = u64::from_be_bytes(field()?.try_into().ok()?);
    let not_after = u64::from_be_bytes(field()?.try_into().ok()?);
    let names = read_names(str::from_utf8(field()?).ok()?)?;
    let root = CertificateDer::from(field()?.to_vec());
    let issuing = CertificateDer::from(field()?.to_vec());
    let pkcs8 = PrivatePkcs8KeyDer::from(field()?);
    if !rest.is_empty() || not_before > not_after || not_after > END_OF_TIME {
        return None;
    }
    let mut key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256).ok()?;
    let public = key.public_key_raw();
    if !issuing.windows(public.len()).any(|window| window == public) {
        key.zeroize();
        return None;
    }
    Some(Authority { names, label, not_before, not_after, root, issuing, key })
}

/// Reads names as they were written: only a text that is written again in the same way is one.
fn read_names(text: &str) -> Option<Names> {
    let mut names = Names::default();
    for name in text.split('\n') {
        match name.parse::<IpAddr>() {
            Ok(ip) => names.ip.push(ip),
            Err(_) => names.dns.push(name.to_owned()),
        }
    }
    let names = names.normalized().ok()?;
    (names.iter().collect::<Vec<_>>().join("\n") == text).then_some(names)
}

/// The first line of stored bytes.
const FORMAT: &[u8] = b"constrained-ca 1\n";

/// How many fields stand behind it.
const FIELDS: usize = 7;

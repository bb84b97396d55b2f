//! The authority: made once, stored, and asked for leaves.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use zeroize::{Zeroize as _, Zeroizing};

use crate::constraints;
use crate::names::{MalformedNames, Name, Names};

/// A root and an issuing certificate, and the key of the issuing one.
pub struct Authority {
    pub(crate) names: Names,
    pub(crate) label: String,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) issuing: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

/// A server certificate and its key.
pub struct Leaf {
    /// The certificate and the issuing one behind it, as a server sends them.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, as PKCS #8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// The end of the certificate's validity.
    pub not_after: SystemTime,
}

/// Why an authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The names are none that a certificate can have.
    #[error(transparent)]
    Names(#[from] MalformedNames),
    /// The label would not fit into the subject of a certificate.
    #[error(
        "a label is 1 to {MAX_LABEL_LENGTH} letters, digits, spaces, dots and hyphens of ASCII"
    )]
    Label,
    /// The lifetime is too short or ends after all calendars.
    #[error("no certificate can be valid for {0:?}")]
    Lifetime(Duration),
    /// The authority was not made for this name.
    #[error("the certificate authority does not cover {0:?}")]
    NotCovered(String),
    /// The authority has ended, or has not begun by this clock.
    #[error("the certificate authority is not valid at this time")]
    NotValid,
    /// The stored bytes are none that [`Authority::to_secret_bytes`] has returned.
    #[error("the stored certificate authority is damaged")]
    Damaged,
    /// Signing failed.
    #[error("could not make a certificate")]
    Signing(#[from] rcgen::Error),
}

impl Authority {
    /// Makes an authority for `names`, valid from `now` on for `lifetime`. `label` is the
    /// beginning of the name that people see in a list of certificates.
    ///
    /// # Errors
    ///
    /// [`Error::Names`], [`Error::Label`] and [`Error::Lifetime`] for arguments that fit into no
    /// certificate; [`Error::Signing`] when the system has no random numbers.
    pub fn create(
        names: Names,
        label: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, Error> {
        let names = names.normalized()?;
        let label = Some(label).filter(|label| is_label(label)).ok_or(Error::Label)?.to_owned();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let not_before = since_epoch.saturating_sub(BACKDATE).as_secs();
        let not_after = since_epoch.saturating_add(lifetime).as_secs();
        if lifetime < MIN_LIFETIME || not_after > END_OF_TIME {
            return Err(Error::Lifetime(lifetime));
        }
        let key = KeyPair::generate()?;
        let validity = (not_before, not_after);
        let root_params = ca_params(&names, &label, &key, Tier::Root, validity);
        let issuing_params = ca_params(&names, &label, &key, Tier::Issuing, validity);
        let mut root_key = KeyPair::generate()?;
        let made = root_params.self_signed(&root_key).and_then(|root| {
            let issuer = Issuer::from_params(&root_params, &root_key);
            Ok((root, issuing_params.signed_by(&key, &issuer)?))
        });
        // Nothing else will ever be signed with the root's key. The library wipes its own copy when
        // it frees the key.
        root_key.zeroize();
        drop(root_key);
        let (root, issuing) = made?;
        let (root, issuing) = (root.into(), issuing.into());
        Ok(Self { names, label, not_before, not_after, root, issuing, key })
    }

    /// Makes a server certificate for one of the names, with a key of its own: valid for
    /// [a day](Authority::LEAF_LIFETIME) from `now` on, and for an hour before.
    ///
    /// # Errors
    ///
    /// [`Error::NotCovered`] for another name, [`Error::NotValid`] outside of the authority's own
    /// validity.
    pub fn leaf(&self, name: &str, now: SystemTime) -> Result<Leaf, Error> {
        let Some(subject) = self.names.find(name) else {
            return Err(Error::NotCovered(name.to_owned()));
        };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if !(self.not_before..self.not_after).contains(&now) {
            return Err(Error::NotValid);
        }
        let not_before = now.saturating_sub(BACKDATE.as_secs()).max(self.not_before);
        let not_after = (now + Self::LEAF_LIFETIME.as_secs()).min(self.not_after);
        let mut params = CertificateParams::default();
        params.not_before = at(not_before).into();
        params.not_after = at(not_after).into();
        // Verifiers read the alternative name alone; a subject is for the eyes of people.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, self.label.as_str());
        params.subject_alt_names = vec![match subject {
            Name::Dns(name) => SanType::DnsName(name.try_into()?),
            Name::Ip(ip) => SanType::IpAddress(ip),
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;

        let validity = (self.not_before, self.not_after);
        let issuing = ca_params(&self.names, &self.label, &self.key, Tier::Issuing, validity);
        let mut key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &Issuer::from_params(&issuing, &self.key));
        let pkcs8 = Zeroizing::new(key.serialized_der().to_vec());
        key.zeroize();
        let chain = vec![signed?.into(), self.issuing.clone()];
        Ok(Leaf { chain, key: pkcs8, not_after: at(not_after) })
    }

    /// How long a leaf is valid after it was made: a day.
    pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns the names that leaves are made for, in lower case and in order.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the root certificate in PEM: what others trust.
    pub fn root_pem(&self) -> String {
        pem(&self.root)
    }

    /// Returns the issuing certificate in PEM.
    pub fn issuing_pem(&self) -> String {
        pem(&self.issuing)
    }

    /// Returns the root certificate in DER.
    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Returns the issuing certificate in DER.
    pub fn issuing_der(&self) -> &CertificateDer<'static> {
        &self.issuing
    }

    /// Returns the SHA-256 fingerprint of the root, as `openssl x509 -fingerprint` writes it.
    pub fn root_fingerprint(&self) -> String {
        fingerprint(&self.root)
    }

    /// Returns the SHA-256 fingerprint of the issuing certificate.
    pub fn issuing_fingerprint(&self) -> String {
        fingerprint(&self.issuing)
    }

    /// Returns the common name of the root.
    pub fn root_name(&self) -> String {
        common_name(&self.label, &self.key, Tier::Root)
    }

    /// Returns the end of the authority's validity.
    pub fn not_after(&self) -> SystemTime {
        at(self.not_after)
    }

    /// Returns the beginning of the authority's validity.
    pub fn not_before(&self) -> SystemTime {
        at(self.not_before)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, label, not_after, .. } = self;
        let not_after = at(*not_after);
        f.debug_struct("Authority")
            .field("label", label)
            .field("names", names)
            .field("not_after", &not_after)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The place of a certificate in the chain.
#[derive(Clone, Copy)]
enum Tier {
    Root,
    Issuing,
}

/// Returns the parameters of one of the two certificates. Both have the same limits: some
/// verifiers, Java's among them, ignore those of a trust anchor.
fn ca_params(
    names: &Names,
    label: &str,
    issuing_key: &KeyPair,
    tier: Tier,
    (not_before, not_after): (u64, u64),
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = at(not_before).into();
    params.not_after = at(not_after).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, label);
    let common_name = common_name(label, issuing_key, tier);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(match tier {
        Tier::Root => 1,
        Tier::Issuing => 0,
    }));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.custom_extensions = vec![constraints::extension(names)];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Returns a name that no other authority has: two roots of one name confuse verifiers.
fn common_name(label: &str, issuing_key: &KeyPair, tier: Tier) -> String {
    let hash = digest::digest(&digest::SHA256, issuing_key.public_key_raw());
    let [a, b, c, d, ..] = *hash.as_ref() else { unreachable!("a SHA-256 hash has 32 bytes") };
    let tier = match tier {
        Tier::Root => "root",
        Tier::Issuing => "issuing",
    };
    format!("{label} {tier} {a:02x}{b:02x}{c:02x}{d:02x}")
}

pub(crate) fn is_label(label: &str) -> bool {
    let is_ordinary = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'.');
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && label.bytes().all(is_ordinary)
        && label.trim() == label
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    // RFC 7468 §2: lines of 64 characters.
    for (at, character) in text.chars().enumerate() {
        pem.push(character);
        if at % 64 == 63 || at + 1 == text.len() {
            pem.push('\n');
        }
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().iter().enumerate().fold(String::new(), |mut text, (at, byte)| {
        let separator = if at == 0 { "" } else { ":" };
        let _ = write!(text, "{separator}{byte:02X}");
        text
    })
}

/// How long before now a validity begins: clocks of one machine and its containers differ little.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// Shortest lifetime of an authority.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// Latest end of a validity: the end of the year 9999 (RFC 5280 §4.1.2.5), in seconds.
pub(crate) const END_OF_TIME: u64 = 253_402_300_799;

/// Longest label, in bytes: with tier and number behind it, a common name of at most 64.
const MAX_LABEL_LENGTH: usize = 40;

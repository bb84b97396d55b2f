//! A root that another process hands over: is it one of ours, with the limits that it should have?

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use rustls_pki_types::CertificateDer;
use yasna::models::ObjectIdentifier;
use yasna::{ASN1Result, BERReader, BERReaderSeq, Tag};

use crate::authority::{fingerprint, pem};
use crate::constraints;
use crate::names::Names;

/// A root certificate that can vouch for some names and for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstrainedRoot {
    der: CertificateDer<'static>,
    name: String,
}

/// Why a certificate is not such a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConstrained {
    /// The text is not one certificate in PEM, or one that this crate does not write.
    #[error("it is not one certificate in PEM")]
    Pem,
    /// The bytes are no certificate.
    #[error("it is no X.509 certificate of version 3 with a common name")]
    Certificate,
    /// The issuer is another certificate.
    #[error("it is not a root: another one has issued it")]
    Issuer,
    /// An extension is missing, differs, or is not known here.
    #[error("its {0} are not those of a root for these names alone")]
    Limits(&'static str),
}

impl ConstrainedRoot {
    /// Reads a root that can vouch for exactly `names`: a caller that hands it to a trust store need
    /// not believe the process that it comes from.
    ///
    /// The signature is not verified: no verifier looks at that of a root.
    ///
    /// # Errors
    ///
    /// [`NotConstrained`] for every other certificate.
    pub fn from_pem(text: &str, names: &Names) -> Result<Self, NotConstrained> {
        let der = der_of(text).ok_or(NotConstrained::Pem)?;
        let parts = yasna::parse_der(&der, read).map_err(|_| NotConstrained::Certificate)?;
        if parts.issuer != parts.subject {
            return Err(NotConstrained::Issuer);
        }
        check_limits(&parts.extensions, names)?;
        Ok(Self { der, name: parts.common_name })
    }

    /// Returns the common name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the certificate in PEM.
    pub fn pem(&self) -> String {
        pem(&self.der)
    }

    /// Returns the certificate in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Returns the SHA-256 fingerprint, as `openssl x509 -fingerprint` writes it.
    pub fn sha256(&self) -> String {
        fingerprint(&self.der)
    }

    /// Returns the SHA-1 hash in hexadecimal, by which macOS and Windows find a certificate.
    pub fn sha1(&self) -> String {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der);
        hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// Returns the one certificate of a text; `None` for a text that would not be written again in the
/// same way.
fn der_of(text: &str) -> Option<CertificateDer<'static>> {
    let text = text.trim().replace("\r\n", "\n");
    let inside = text.strip_prefix("-----BEGIN CERTIFICATE-----\n")?;
    let inside = inside.strip_suffix("\n-----END CERTIFICATE-----")?;
    let der = CertificateDer::from(STANDARD.decode(inside.replace('\n', "")).ok()?);
    (pem(&der).trim() == text).then_some(der)
}

struct Parts {
    issuer: Vec<u8>,
    subject: Vec<u8>,
    common_name: String,
    extensions: Vec<Extension>,
}

struct Extension {
    id: ObjectIdentifier,
    is_critical: bool,
    value: Vec<u8>,
}

/// Reads a certificate (RFC 5280 §4.1).
fn read(reader: BERReader<'_, '_>) -> ASN1Result<Parts> {
    reader.read_sequence(|reader| {
        let parts = reader.next().read_sequence(|reader| {
            let version = reader.next().read_tagged(Tag::context(0), |reader| reader.read_i64())?;
            let (_serial, _algorithm) = (reader.next().read_der()?, reader.next().read_der()?);
            let issuer = reader.next().read_der()?;
            let _validity = reader.next().read_der()?;
            let subject = reader.next().read_der()?;
            let _key = reader.next().read_der()?;
            let extensions = reader.next().read_tagged(Tag::context(3), |reader| {
                reader.collect_sequence_of(|reader| reader.read_sequence(read_extension))
            })?;
            if version != VERSION_3 {
                return Err(yasna::ASN1Error::new(yasna::ASN1ErrorKind::Invalid));
            }
            let common_name = yasna::parse_der(&subject, read_common_name)?;
            Ok(Parts { issuer, subject, common_name, extensions })
        })?;
        let (_algorithm, _signature) = (reader.next().read_der()?, reader.next().read_der()?);
        Ok(parts)
    })
}

fn read_extension(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Extension> {
    Ok(Extension {
        id: reader.next().read_oid()?,
        is_critical: reader.read_default(false, |reader| reader.read_bool())?,
        value: reader.next().read_bytes()?,
    })
}

/// Reads the last attribute of a name: rcgen writes the common name last.
fn read_common_name(reader: BERReader<'_, '_>) -> ASN1Result<String> {
    let attributes = reader.collect_sequence_of(|reader| {
        let mut found = None;
        reader.read_set_of(|reader| {
            found = Some(reader.read_sequence(|reader| {
                Ok((reader.next().read_oid()?, reader.next().read_utf8string()?))
            })?);
            Ok(())
        })?;
        found.ok_or_else(|| yasna::ASN1Error::new(yasna::ASN1ErrorKind::Invalid))
    })?;
    let named = attributes.into_iter().rev().find(|(id, _)| id.components()[..] == *COMMON_NAME);
    named.map(|(_, name)| name).ok_or_else(|| yasna::ASN1Error::new(yasna::ASN1ErrorKind::Invalid))
}

/// Compares the extensions with those of a root for `names`. One more could take a limit back.
fn check_limits(extensions: &[Extension], names: &Names) -> Result<(), NotConstrained> {
    let of = |id: &[u64], what, is_critical: bool| {
        let mut found = extensions.iter().filter(|extension| extension.id.components()[..] == *id);
        match (found.next(), found.next()) {
            (Some(found), None) if found.is_critical || !is_critical => Ok(&found.value),
            (_, _) => Err(NotConstrained::Limits(what)),
        }
    };
    let is_true = |holds: ASN1Result<bool>, what| match holds {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(NotConstrained::Limits(what)),
    };
    let what = "basic constraints";
    let basic = yasna::parse_der(of(BASIC_CONSTRAINTS, what, true)?, |reader| {
        reader.read_sequence(|reader| {
            Ok(reader.next().read_bool()? && reader.next().read_i64()? == 1)
        })
    });
    is_true(basic, what)?;
    let what = "key usages";
    let usage = yasna::parse_der(of(KEY_USAGE, what, true)?, |reader| reader.read_bitvec_bytes());
    is_true(usage.map(|(bytes, _)| bytes == [KEY_CERT_SIGN]), what)?;
    let what = "purposes";
    let purposes = yasna::parse_der(of(EXTENDED_KEY_USAGE, what, false)?, |reader| {
        reader.collect_sequence_of(|reader| reader.read_oid())
    });
    is_true(
        purposes.map(|ids| matches!(&ids[..], [id] if id.components()[..] == *SERVER_AUTH)),
        what,
    )?;
    let what = "name constraints";
    let names = names.clone().normalized().map_err(|_| NotConstrained::Limits(what))?;
    let wanted = constraints::extension(&names);
    is_true(Ok(of(constraints::NAME_CONSTRAINTS, what, true)? == wanted.content()), what)?;
    let is_known = |extension: &Extension| {
        KNOWN_EXTENSIONS.iter().any(|known| extension.id.components()[..] == **known)
    };
    is_true(Ok(extensions.iter().all(is_known)), "extensions")
}

/// `v3` (RFC 5280 §4.1.2.1).
const VERSION_3: i64 = 2;

/// `id-at-commonName`.
const COMMON_NAME: &[u64] = &[2, 5, 4, 3];

const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// What a root of ours has, and no more.
const KNOWN_EXTENSIONS: &[&[u64]] = &[
    SUBJECT_KEY_IDENTIFIER,
    KEY_USAGE,
    BASIC_CONSTRAINTS,
    constraints::NAME_CONSTRAINTS,
    AUTHORITY_KEY_IDENTIFIER,
    EXTENDED_KEY_USAGE,
];

/// Bit 5 of `KeyUsage` (RFC 5280 §4.2.1.3), counted from the left.
const KEY_CERT_SIGN: u8 = 0b0000_0100;

/// `id-kp-serverAuth`.
const SERVER_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, KeyUsagePurpose,
    };

    use super::*;
    use crate::Authority;

    fn names(dns: &str) -> Names {
        Names { dns: vec![dns.to_owned()], ip: vec![[127, 0, 0, 1].into()] }
    }

    fn authority(names: Names) -> Authority {
        let year = Duration::from_secs(86_400 * 365);
        Authority::create(names, "Test", SystemTime::now(), year).unwrap()
    }

    #[test]
    fn a_root_of_ours_is_taken_for_its_names_and_for_no_others() {
        let authority = authority(names("localhost"));
        let pem = authority.root_pem();

        let root = ConstrainedRoot::from_pem(&pem, &names("localhost")).unwrap();

        assert_eq!(root.name(), authority.root_name());
        assert_eq!((root.pem(), root.sha256()), (pem.clone(), authority.root_fingerprint()));
        assert_eq!(root.der(), authority.root_der());
        assert_eq!(root.sha1().len(), 40);
        let windows = pem.replace('\n', "\r\n");
        assert_eq!(ConstrainedRoot::from_pem(&windows, &names("localhost")), Ok(root));
        let limits = NotConstrained::Limits("name constraints");
        assert_eq!(ConstrainedRoot::from_pem(&pem, &names("example.com")), Err(limits));
        let issuing = authority.issuing_pem();
        let refused = ConstrainedRoot::from_pem(&issuing, &names("localhost"));
        assert_eq!(refused, Err(NotConstrained::Issuer));
        for text in ["", "x", &pem[1..], &format!("{pem}{pem}"), &pem.replace('\n', "\n\n")] {
            let refused = ConstrainedRoot::from_pem(text, &names("localhost"));
            assert_eq!(refused, Err(NotConstrained::Pem), "{text:?}");
        }
    }

    /// Each differs from a root of ours in one point.
    #[test]
    fn a_root_that_could_vouch_for_more_is_refused() {
        type Change = fn(&mut CertificateParams);
        let changes: [(&str, Change); 8] = [
            ("basic constraints", |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            ("basic constraints", |it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(2))),
            ("key usages", |it| it.key_usages.push(KeyUsagePurpose::DigitalSignature)),
            ("key usages", |it| it.key_usages.clear()),
            ("purposes", |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
            ("purposes", |it| it.extended_key_usages.clear()),
            ("name constraints", |it| it.custom_extensions.clear()),
            ("extensions", |it| {
                let policy = CustomExtension::from_oid_content(&[2, 5, 29, 54], vec![2, 1, 0]);
                it.custom_extensions.push(policy);
            }),
        ];
        assert!(root(|_| {}).is_ok());
        for (what, change) in changes {
            assert_eq!(root(change), Err(NotConstrained::Limits(what)), "{what}");
        }
        let lenient: Change = |it| {
            let names = names("localhost").normalized().unwrap();
            let mut extension = constraints::extension(&names);
            extension.set_criticality(false);
            it.custom_extensions = vec![extension];
        };
        assert_eq!(root(lenient), Err(NotConstrained::Limits("name constraints")));
    }

    fn root(change: fn(&mut CertificateParams)) -> Result<ConstrainedRoot, NotConstrained> {
        let wanted = names("localhost");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.custom_extensions =
            vec![constraints::extension(&wanted.clone().normalized().unwrap())];
        change(&mut params);
        let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ConstrainedRoot::from_pem(&pem(root.der()), &wanted)
    }
}

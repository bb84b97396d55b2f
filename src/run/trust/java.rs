//! A trust store of Java: PKCS #12 (RFC 7292) with certificates alone, neither encrypted nor signed.
//!
//! Certificates are public, and nothing of ours reads the store, so that neither would protect
//! anything; Java 8 and later load such a store without a password. The crates for PKCS #12 bring a
//! dozen others for the encryption that is left out here.

use rustls::pki_types::CertificateDer;

/// Writes a store with these certificates.
pub(super) fn trust_store<'a>(
    certificates: impl Iterator<Item = &'a CertificateDer<'static>>,
) -> Vec<u8> {
    let bags = certificates.enumerate().map(|(number, it)| bag(number, it));
    let contents = value(SEQUENCE, bags);
    let safe = value(SEQUENCE, [data(&contents)]);
    value(SEQUENCE, [value(INTEGER, [vec![3]]), data(&safe)])
}

/// Writes one certificate as a `SafeBag`.
fn bag(number: usize, certificate: &CertificateDer<'static>) -> Vec<u8> {
    let x509 = value(OCTET_STRING, [certificate.to_vec()]);
    let content = value(SEQUENCE, [identifier(X509_CERTIFICATE), value(EXPLICIT, [x509])]);
    let name = format!("anchor {number}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let name = attribute(FRIENDLY_NAME, value(BMP_STRING, [name]));
    // Java takes no other certificate for an anchor.
    let trusted = attribute(TRUSTED_KEY_USAGE, identifier(ANY_USAGE));
    let bag = [identifier(CERT_BAG), value(EXPLICIT, [content]), value(SET, [name, trusted])];
    value(SEQUENCE, bag)
}

fn attribute(kind: &[u8], content: Vec<u8>) -> Vec<u8> {
    value(SEQUENCE, [identifier(kind), value(SET, [content])])
}

/// Writes a `ContentInfo` of plain data.
fn data(content: &[u8]) -> Vec<u8> {
    let content = value(EXPLICIT, [value(OCTET_STRING, [content.to_vec()])]);
    value(SEQUENCE, [identifier(DATA), content])
}

fn identifier(encoded: &[u8]) -> Vec<u8> {
    value(OBJECT_IDENTIFIER, [encoded.to_vec()])
}

/// Writes a value in DER: the tag, the length, the parts.
fn value(tag: u8, parts: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let content: Vec<u8> = parts.into_iter().flatten().collect();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut encoded = vec![tag];
    match length {
        [] => encoded.push(0),
        [short @ 0..=0x7f] => encoded.push(*short),
        long => {
            encoded
                .push(0x80 | u8::try_from(long.len()).expect("a length has at most eight bytes"));
            encoded.extend_from_slice(long);
        }
    }
    encoded.extend(content);
    encoded
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`
const EXPLICIT: u8 = 0xa0;

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.12.10.1.3
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// 1.2.840.113549.1.9.22.1
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1, Oracle's mark of an anchor
const TRUSTED_KEY_USAGE: &[u8] =
    &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// 2.5.29.37.0
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_the_fewest_bytes() {
        for (length, head) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (256, vec![4, 0x82, 1, 0]),
            (65_536, vec![4, 0x83, 1, 0, 0]),
        ] {
            let encoded = value(OCTET_STRING, [vec![7; length]]);
            assert_eq!(encoded[..head.len()], head);
            assert_eq!(encoded.len(), head.len() + length);
        }
    }
}

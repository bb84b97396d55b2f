//! The limits of an authority as an X.509 extension (RFC 5280 §4.2.1.10).
//!
//! A type of name without any constraint is not limited at all. So every type that the verifiers of
//! TLS know has one here, whether or not the authority has names of that type.
//!
//! Directory names have none: Go and rustls refuse every chain with such a constraint.

use std::net::IpAddr;

use rcgen::CustomExtension;
use yasna::{DERWriterSeq, Tag};

use crate::names::Names;

/// Returns the critical extension that permits `names`, and nothing else.
pub(crate) fn extension(names: &Names) -> CustomExtension {
    let (permitted, excluded) = subtrees(names);
    let content = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (tag, subtrees) in [(PERMITTED, &permitted), (EXCLUDED, &excluded)] {
                // An empty list is written as none.
                if !subtrees.is_empty() {
                    write_subtrees(writer, tag, subtrees);
                }
            }
        });
    });
    let mut extension = CustomExtension::from_oid_content(NAME_CONSTRAINTS, content);
    extension.set_criticality(true);
    extension
}

/// The tag of a type of name, and the name's bytes.
type Subtree = (u64, Vec<u8>);

/// Returns what is permitted and what is excluded.
fn subtrees(names: &Names) -> (Vec<Subtree>, Vec<Subtree>) {
    let mut permitted: Vec<Subtree> =
        names.dns.iter().map(|name| (DNS_NAME, name.clone().into_bytes())).collect();
    permitted.extend(names.ip.iter().map(|ip| (IP_ADDRESS, single_address(*ip))));
    permitted
        .extend([(RFC822_NAME, NO_HOST.into()), (UNIFORM_RESOURCE_IDENTIFIER, NO_HOST.into())]);
    let mut excluded = vec![];
    if names.dns.is_empty() {
        // The empty name constrains every name.
        excluded.push((DNS_NAME, vec![]));
    }
    // Some verifiers compare addresses of one family only with permitted ones of that family.
    if !names.ip.iter().any(IpAddr::is_ipv4) {
        excluded.push((IP_ADDRESS, vec![0; 8]));
    }
    if !names.ip.iter().any(IpAddr::is_ipv6) {
        excluded.push((IP_ADDRESS, vec![0; 32]));
    }
    (permitted, excluded)
}

/// Returns the address and a mask of all its bits.
fn single_address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [ip.octets(), [0xff; 4]].concat(),
        IpAddr::V6(ip) => [ip.octets(), [0xff; 16]].concat(),
    }
}

fn write_subtrees(writer: &mut DERWriterSeq<'_>, tag: u64, subtrees: &[Subtree]) {
    writer.next().write_tagged_implicit(Tag::context(tag), |writer| {
        writer.write_sequence(|writer| {
            for (kind, name) in subtrees {
                writer.next().write_sequence(|writer| {
                    let kind = Tag::context(*kind);
                    writer.next().write_tagged_implicit(kind, |writer| writer.write_bytes(name));
                });
            }
        });
    });
}

/// `id-ce-nameConstraints`.
pub(crate) const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];

const PERMITTED: u64 = 0;
const EXCLUDED: u64 = 1;

// The tags of a general name (RFC 5280 §4.2.1.6).
const RFC822_NAME: u64 = 1;
const DNS_NAME: u64 = 2;
const UNIFORM_RESOURCE_IDENTIFIER: u64 = 6;
const IP_ADDRESS: u64 = 7;

/// A host that cannot exist (RFC 2606 §2). For types of name where verifiers disagree about how to
/// exclude all, only this host is permitted.
const NO_HOST: &str = "invalid";

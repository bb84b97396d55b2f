//! The names that an authority signs for.

use std::net::IpAddr;

/// The host names and addresses that an authority signs for, each by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names in ASCII, without a trailing dot and without wildcards.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

/// Why no authority can be made for these names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedNames {
    /// There is no name at all.
    #[error("an authority needs a name to sign for")]
    Empty,
    /// The text is not a host name.
    #[error("{0:?} is not a host name")]
    Host(String),
    /// The address stands for many.
    #[error("{0} is no address of a server")]
    Address(IpAddr),
}

/// One name, as a certificate has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Dns(String),
    Ip(IpAddr),
}

impl Names {
    /// Says whether `name`, a host name or an address, is one of these. Case does not count; a name
    /// below one of these is not covered.
    pub fn covers(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns all names as texts: host names, then addresses.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.dns.iter().cloned().chain(self.ip.iter().map(IpAddr::to_string))
    }

    /// Returns `name` as a certificate writes it.
    pub(crate) fn find(&self, name: &str) -> Option<Name> {
        match name.parse::<IpAddr>() {
            Ok(ip) => self.ip.contains(&ip).then_some(Name::Ip(ip)),
            Err(_) => {
                let known = self.dns.iter().find(|known| known.eq_ignore_ascii_case(name));
                known.cloned().map(Name::Dns)
            }
        }
    }

    /// Returns the names in lower case and in order, each once.
    pub(crate) fn normalized(self) -> Result<Self, MalformedNames> {
        let Self { mut dns, mut ip } = self;
        if dns.is_empty() && ip.is_empty() {
            return Err(MalformedNames::Empty);
        }
        dns.iter_mut().for_each(|name| name.make_ascii_lowercase());
        if let Some(name) = dns.iter().find(|name| !is_host_name(name)) {
            return Err(MalformedNames::Host(name.clone()));
        }
        if let Some(ip) = ip.iter().find(|ip| ip.is_unspecified() || ip.is_multicast()) {
            return Err(MalformedNames::Address(*ip));
        }
        dns.sort_unstable();
        dns.dedup();
        ip.sort_unstable();
        ip.dedup();
        Ok(Self { dns, ip })
    }
}

/// Says whether `name` is a host name as RFC 1123 §2.1 has it, in lower case. A last label of
/// digits alone could be read as a part of an address (WHATWG URL §3.5).
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_LENGTH).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= MAX_NAME_LENGTH
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Longest label of a host name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL_LENGTH: usize = 63;

/// Longest host name, in bytes (RFC 1035 §2.3.4, without the root's label).
const MAX_NAME_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dns(names: &[&str]) -> Names {
        Names { dns: names.iter().map(|name| (*name).to_owned()).collect(), ip: vec![] }
    }

    #[test]
    fn names_are_lower_case_in_order_and_each_once() {
        let names = Names {
            dns: vec!["B.example".to_owned(), "a.example".to_owned(), "b.EXAMPLE".to_owned()],
            ip: vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        };

        let names = names.normalized().unwrap();

        assert_eq!(
            names.iter().collect::<Vec<_>>(),
            ["a.example", "b.example", "127.0.0.1", "::1"]
        );
    }

    #[test]
    fn only_the_names_themselves_are_covered() {
        let ip = vec!["127.0.0.1".parse().unwrap()];
        let names = Names { ip, ..dns(&["localhost"]) };

        assert!(names.covers("LOCALHOST") && names.covers("127.0.0.1"));
        for other in ["a.localhost", "localhost.", "", "127.0.0.2", "::1", "::ffff:127.0.0.1", "*"]
        {
            assert!(!names.covers(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let long = "a".repeat(64);
        let malformed = ["", ".", "*.example", ".example", "a.", "a b", "ä.example", "127.0.0.1"];
        for name in malformed.into_iter().chain(["a.1", "-a", "a-", "a@b", "http://a", &long]) {
            let refused = dns(&[name]).normalized();
            assert_eq!(refused, Err(MalformedNames::Host(name.to_owned())));
        }
        assert_eq!(dns(&[]).normalized(), Err(MalformedNames::Empty));
        for address in ["0.0.0.0", "::", "224.0.0.1"] {
            let names = Names { dns: vec![], ip: vec![address.parse().unwrap()] };
            assert!(matches!(names.normalized(), Err(MalformedNames::Address(_))), "{address}");
        }
    }

    proptest! {
        #[test]
        fn a_host_name_is_no_address_and_has_no_wildcard(name in ".{0,40}") {
            if let Ok(names) = dns(&[&name]).normalized() {
                prop_assert!(names.dns[0].parse::<IpAddr>().is_err());
                prop_assert!(names.dns[0].is_ascii() && !names.dns[0].contains('*'));
            }
        }
    }
}

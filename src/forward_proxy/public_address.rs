//! Which addresses belong to the internet: a tunnel leads to no other, unless a person has named it.
//!
//! The lists are those of IANA (RFC 6890). An address that carries another one is judged by that: a
//! tunnel to `::ffff:127.0.0.1` or `64:ff9b::7f00:1` reaches the loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Says whether an address is one of the internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_in = |[a, b]: [u8; 2], bits: u32| {
        let network = u32::from_be_bytes([a, b, 0, 0]);
        u32::from(address) >> (32 - bits) == network >> (32 - bits)
    };
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local() // 169.254.169.254 among them
        || address.is_multicast()
        || address.is_documentation()
        || is_in([0, 0], 8) // "this host", which Linux connects to itself
        || is_in([100, 64], 10) // shared by the customers of a provider; 100.100.100.200 among them
        || is_in([192, 0], 24) // for protocols; 192.0.0.192 is the metadata of a cloud
        || is_in([198, 18], 15) // for benchmarks
        || is_in([240, 0], 4); // reserved, and the broadcast
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, _, _, e, f] = address.segments();
    let low = Ipv4Addr::from(u32::from(e) << 16 | u32::from(f));
    match (a, b, c, d) {
        // The mapped form. The compatible form, `::` and `::1` are not of the internet at all.
        (0, 0, 0, 0) => address.to_ipv4_mapped().is_some_and(is_public_v4),
        // NAT64 (RFC 6052).
        (0x64, 0xff9b, 0, 0) => address.segments()[4..6] == [0, 0] && is_public_v4(low),
        // 6to4 (RFC 3056): the address of IPv4 follows.
        (0x2002, ..) => is_public_v4(Ipv4Addr::from(u32::from(b) << 16 | u32::from(c))),
        // For protocols: Teredo, ORCHID, benchmarks; for documentation.
        (0x2001, 0..=0x1ff, ..) | (0x2001, 0xdb8, ..) | (0x3fff, 0..=0xfff, ..) => false,
        // Global unicast. Left out: NAT64 of a network's own (64:ff9b:1::/48), unique-local (with
        // fd00:ec2::254), link-local, site-local, multicast, discard.
        (first, ..) => first >> 13 == 1,
    }
}

/// Says whether this machine has the address. Sends nothing: to reach an address of its own, the
/// kernel takes that very address as the source.
pub(super) fn is_of_this_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, DISCARD_PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Any port would do.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_PUBLIC: [&str; 18] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ];

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:0101:0101::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn no_other_address_is_whatever_carries_it() {
        for text in NOT_PUBLIC {
            let address: Ipv4Addr = text.parse().unwrap();
            let [a, b, c, d] = address.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let carriers = [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 1),
            ];
            assert!(!is_public(address.into()), "{text}");
            for carrier in carriers {
                assert!(!is_public(carrier.into()), "{carrier}");
            }
        }
    }

    #[test]
    fn no_special_address_of_ipv6_is_public() {
        for text in [
            "::",
            "::1",
            "64:ff9b:1::1.1.1.1",
            "64:ff9b:0:0:1::101:101",
            "100::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_of_this_machine_is_known_without_a_list() {
        for (address, is_ours) in
            [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("1.1.1.1", false)]
        {
            assert_eq!(is_of_this_machine(address.parse().unwrap()), is_ours, "{address}");
        }
    }
}

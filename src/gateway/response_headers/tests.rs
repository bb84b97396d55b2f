//! Addresses, and values that contain the token.

use super::*;

#[test]
fn the_default_port_of_https_makes_no_difference() {
    let origin = Origin::new("spaces.nexudus.com", 443);
    let path = |address: &'static str| path_on(&origin, address.as_bytes());

    for address in [
        "https://spaces.nexudus.com/a?b",
        "https://Spaces.Nexudus.com:443/a?b",
        "//spaces.nexudus.com/a?b",
    ] {
        assert_eq!(path(address), Some(&b"/a?b"[..]), "{address}");
    }
    assert_eq!(path("https://spaces.nexudus.com"), Some(&b""[..]));
    for address in [
        "https://spaces.nexudus.com:80/",
        "https://spaces.nexudus.com:4443/",
        "https://spaces.nexudus.com.evil/",
        "http://spaces.nexudus.com:8080/",
        "http://spaces.nexudus.com.evil/",
        "http://spaces.nexudus.com@evil/",
        "http:/spaces.nexudus.com/",
        "ftp://spaces.nexudus.com/",
        "https:/spaces.nexudus.com/",
        "https://spaces.nexudus.com\\@evil/",
        "spaces.nexudus.com/",
        "https:",
        "",
    ] {
        assert_eq!(path(address), None, "{address}");
    }
}

/// <https://github.com/dotnet/aspnetcore/issues/38744>
#[test]
fn a_server_behind_a_tls_end_means_itself_by_http() {
    let path =
        |(host, port), address: &'static str| path_on(&Origin::new(host, port), address.as_bytes());
    for address in [
        "http://spaces.nexudus.com/a?b",
        "HTTP://SPACES.nexudus.com:80/a?b",
        "http://spaces.nexudus.com:443/a?b",
    ] {
        assert_eq!(path(("spaces.nexudus.com", 443), address), Some(&b"/a?b"[..]), "{address}");
    }
    for address in ["http://[::1]/a", "http://[::1]:80/a", "http://[::1]:8443/a", "//[::1]:8443/a"]
    {
        assert_eq!(path(("::1", 8443), address), Some(&b"/a"[..]), "{address}");
    }
    for address in ["http://[::1]:443/a", "https://[::1]/a", "//[::1]/a", "http://[::1]:/a"] {
        assert_eq!(path(("::1", 8443), address), None, "{address}");
    }
}

/// With a comparison at each byte this would take minutes.
#[test]
fn a_value_that_nearly_contains_the_token_everywhere_costs_no_more_than_its_length() {
    let nearly = [&[b'a'; 200_000][..], b"b"].concat();

    assert!(!contains_ignoring_case(&[b'A'; 1 << 20], &nearly));
    assert!(contains_ignoring_case(&[&[b'A'; 1 << 20][..], b"B", &[0xff]].concat(), &nearly));
}

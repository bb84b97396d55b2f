//! Which targets lead where.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tokio::runtime::Handle;

use super::*;
use crate::ca::LiveAuthorities;
use crate::config::{Origin, Proxy};
use crate::forward_proxy::{Dialer, TunnelPlaces};
use crate::upstream::Resolver;

#[tokio::test]
async fn a_configured_origin_is_intercepted_in_every_spelling() {
    for mode in [TunnelPolicy::Refuse, TunnelPolicy::Any] {
        let proxy = proxy(mode);
        for (target, origin) in [
            ("spaces.nexudus.com:443", 0),
            ("SPACES.nexudus.com.:443", 0),
            ("reports.nexudus.com:8443", 1),
        ] {
            let found = proxy.route_connect(&authority(target), &headers(&[]));
            assert_eq!(found.unwrap(), ConnectRoute::Intercept(origin), "{target}");
        }
        for (target, origin) in [
            ("http://spaces.nexudus.com/a", 0),
            ("http://spaces.nexudus.com:80/a", 0),
            ("http://spaces.nexudus.com:443/a", 0),
            ("https://Spaces.Nexudus.com/a", 0),
            ("https://spaces.nexudus.com:443/a", 0),
            ("https://reports.nexudus.com:8443/a", 1),
            ("http://reports.nexudus.com/a", 1),
        ] {
            let found = proxy.route_request(&target.parse().unwrap(), &headers(&[]));
            assert_eq!(found.unwrap(), RequestRoute::Origin(origin), "{target}");
        }
    }
}

#[tokio::test]
async fn other_hosts_are_refused_unless_they_are_tunnelled() {
    let (refusing, tunnelling) = (proxy(TunnelPolicy::Refuse), proxy(TunnelPolicy::Any));
    let other = authority("example.com:443");
    let refused = refusing.route_connect(&other, &headers(&[])).unwrap_err();
    assert!(matches!(refused, Error::NotConfigured), "{refused}");
    let tunnel = tunnelling.route_connect(&other, &headers(&[])).unwrap();
    assert_eq!(tunnel, ConnectRoute::Tunnel(HostPort::new("example.com", 443)));

    let plain: Uri = "http://example.com/a".parse().unwrap();
    let refused = refusing.route_request(&plain, &headers(&[])).unwrap_err();
    assert!(matches!(refused, Error::NotConfigured), "{refused}");
    let found = tunnelling.route_request(&plain, &headers(&[])).unwrap();
    assert_eq!(found, RequestRoute::Plain(HostPort::new("example.com", 80)));

    let secure: Uri = "https://example.com/a".parse().unwrap();
    let refused = tunnelling.route_request(&secure, &headers(&[])).unwrap_err();
    assert!(matches!(refused, Error::NeedsConnect), "{refused}");
}

#[tokio::test]
async fn a_port_other_than_443_takes_a_name() {
    let proxy = proxy(TunnelPolicy::Any);
    for target in ["example.com:80", "example.com:22", "spaces.nexudus.com:80", "named.test:9444"] {
        let refused = proxy.route_connect(&authority(target), &headers(&[])).unwrap_err();
        assert!(matches!(refused, Error::Port(_)), "{target}: {refused}");
    }
    let refused = proxy.route_request(&"http://example.com:22/".parse().unwrap(), &headers(&[]));
    assert!(matches!(refused.unwrap_err(), Error::Port(22)));

    let named = proxy.route_connect(&authority("Named.test:9443"), &headers(&[])).unwrap();
    assert_eq!(named, ConnectRoute::Tunnel(HostPort::new("named.test", 9443)));
}

#[tokio::test]
async fn only_the_named_hosts_are_reached_where_some_are_named() {
    let named = ["example.com:443", "example.com:80", "example.com:9000", "10.0.0.1:443"];
    let hosts = named.map(|host| HostPort::parse(host, None).unwrap()).to_vec();
    let proxy = proxy(TunnelPolicy::Only(hosts));
    for target in ["example.com:443", "Example.com.:9000"] {
        let found = proxy.route_connect(&authority(target), &headers(&[])).unwrap();
        assert!(matches!(found, ConnectRoute::Tunnel(_)), "{target}");
    }
    proxy.route_request(&"http://example.com/".parse().unwrap(), &headers(&[])).unwrap();
    for target in ["example.org:443", "sub.example.com:443", "example.com:22"] {
        let refused = proxy.route_connect(&authority(target), &headers(&[])).unwrap_err();
        assert!(matches!(refused, Error::NotConfigured), "{target}: {refused}");
    }
    let refused = proxy.route_connect(&authority("10.0.0.1:443"), &headers(&[])).unwrap_err();
    assert!(matches!(refused, Error::PrivateAddress), "{refused}");
}

#[tokio::test]
async fn odd_requests_lead_nowhere() {
    let proxy = proxy(TunnelPolicy::Any);
    let spaces = authority("spaces.nexudus.com:443");
    for (fields, expected) in [
        (&[("content-length", "5")][..], "a CONNECT request has a body"),
        (&[("transfer-encoding", "chunked")], "a CONNECT request has a body"),
        (&[("host", "a"), ("host", "a")], "the request has more than one Host header"),
        (&[("host", "example.com:443")], "the Host header names another host than the target"),
        (&[("host", "a@spaces.nexudus.com")], "the Host header names another host than the target"),
    ] {
        let refused = proxy.route_connect(&spaces, &headers(fields)).unwrap_err();
        assert_eq!(refused.to_string(), expected, "{fields:?}");
    }
    for host in ["spaces.nexudus.com", "spaces.nexudus.com:443", "SPACES.nexudus.com."] {
        proxy.route_connect(&spaces, &headers(&[("host", host)])).unwrap();
    }
    for target in ["user@spaces.nexudus.com:443", "spaces.nexudus.com", "spaces.nexudus.com:0"] {
        let refused = proxy.route_connect(&authority(target), &headers(&[])).unwrap_err();
        assert!(matches!(refused, Error::Target), "{target}: {refused}");
    }
    let absolute = "http://spaces.nexudus.com:443/".parse().unwrap();
    let refused = proxy.route_connect(&absolute, &headers(&[])).unwrap_err();
    assert!(matches!(refused, Error::Target), "{refused}");
    for target in ["/api/x", "ftp://spaces.nexudus.com/", "http://u@spaces.nexudus.com/"] {
        proxy.route_request(&target.parse().unwrap(), &headers(&[])).unwrap_err();
    }
}

#[tokio::test]
async fn a_browser_reaches_a_configured_origin_as_any_other_host() {
    let spaces = authority("spaces.nexudus.com:443");
    for fields in [
        [("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")],
        [("user-agent", "mozilla/5.0")],
        [("origin", "https://evil.example")],
    ] {
        let refused = proxy(TunnelPolicy::Refuse).route_connect(&spaces, &headers(&fields));
        assert!(matches!(refused.unwrap_err(), Error::Browser), "{fields:?}");
        let plain = "http://spaces.nexudus.com/a".parse().unwrap();
        let refused = proxy(TunnelPolicy::Refuse).route_request(&plain, &headers(&fields));
        assert!(matches!(refused.unwrap_err(), Error::Browser), "{fields:?}");
        let found = proxy(TunnelPolicy::Any).route_request(&plain, &headers(&fields)).unwrap();
        assert!(matches!(found, RequestRoute::Plain(_)), "{fields:?}");
        let found = proxy(TunnelPolicy::Any).route_connect(&spaces, &headers(&fields)).unwrap();
        assert!(matches!(found, ConnectRoute::Tunnel(_)), "{fields:?}");
    }
}

fn proxy(others: TunnelPolicy) -> ForwardProxy {
    let resolver = Resolver::new(Handle::current());
    let allow = ["named.test:9443".to_owned()];
    let timeout = Duration::from_secs(10);
    let dialer = Dialer::new(resolver, Proxy::None, &allow, timeout);
    let origins = vec![Origin::nexudus(), Origin::new("reports.nexudus.com", 8443)];
    let places = TunnelPlaces::among(8);
    ForwardProxy::new(origins, others, LiveAuthorities::default(), dialer, places)
}

fn authority(text: &str) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.authority = Some(text.parse().unwrap());
    Uri::from_parts(parts).unwrap()
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

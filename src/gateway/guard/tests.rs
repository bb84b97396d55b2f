//! Which requests are admitted.

use std::path::Path;
use std::sync::Arc;

use super::error::UPGRADE_DISABLED;
use super::*;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::peer::{Peer, PeerAccess, User};

#[test]
fn a_plain_request_from_this_machine_is_admitted() {
    for host in ["localhost:6398", "127.0.0.1:6398", "[::1]:6398", "localhost", "LOCALHOST"] {
        assert_eq!(checked("GET", "/", &[("host", host)]), Ok(()), "{host}");
    }
}

#[test]
fn a_foreign_or_odd_host_is_refused() {
    for host in ["evil.example", "localhost.evil", "0.0.0.0:6398", "127.1", "localhost:1"] {
        assert_eq!(checked("GET", "/", &[("host", host)]), Err(Error::ForeignHost), "{host}");
    }
    for host in ["", "a@localhost", "localhost:", "local host", "localhost/", "[::1", "a,b"] {
        assert_eq!(checked("GET", "/", &[("host", host)]), Err(Error::Host), "{host}");
    }
    for host in ["localhost:abc", "localhost:65536", "evil.example:-1", "[::1]:", "[::1]:x"] {
        assert_eq!(checked("GET", "/", &[("host", host)]), Err(Error::Host), "{host}");
    }
    assert_eq!(checked("GET", "/", &[]), Err(Error::Host));
    let twice = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(checked("GET", "/", &twice), Err(Error::Host));
}

#[test]
fn over_a_unix_socket_a_host_may_be_anything_but_two() {
    let peer = Peer::Unix { uid: 0, pid: None };
    let sender = ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default());
    let checked = |target: &str, headers: &[(&str, &str)]| {
        let (head, ()) = request("GET", target, headers).into_parts();
        check(&head, &sender, &guard()).map(drop)
    };
    for host in ["localhost", "unix.sock", "%2Frun%2Fproxy.sock", "/run/proxy.sock:0", "a:b", ""] {
        assert_eq!(checked("/", &[("host", host)]), Ok(()), "{host}");
    }
    assert_eq!(checked("/", &[]), Ok(()));
    assert_eq!(checked("http://unix.sock/", &[("host", "unix.sock")]), Ok(()));
    assert_eq!(checked("/", &[("host", "a"), ("host", "a")]), Err(Error::Host));
    let browser = checked("/", &[("host", "a"), ("origin", "null")]);
    assert!(matches!(browser, Err(Error::Browser { .. })));
}

#[test]
fn a_browser_is_refused_whatever_it_says_and_whatever_the_method() {
    for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"] {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", ""),
            // Our own origin is no better: a document that Nexudus serves would run in it.
            ("origin", "http://localhost:6398"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-origin"),
            // As after a prefetch, after a redirect from a foreign address, and after a typed
            // address.
            ("sec-fetch-site", "none"),
            ("sec_fetch_site", "none"),
            ("sec-fetch-dest", "document"),
            ("sec-purpose", "prefetch"),
            ("service-worker", "script"),
            ("upgrade-insecure-requests", "1"),
            ("access-control-request-method", "POST"),
        ] {
            let headers = [("host", "localhost:6398"), (name, value)];
            let refused = checked(method, "/", &headers);
            assert!(matches!(refused, Err(Error::Browser { .. })), "{name}: {value}");
        }
    }
    let nodes_fetch = [("host", "localhost:6398"), ("sec-fetch-mode", "cors")];
    assert_eq!(checked("POST", "/", &nodes_fetch), Ok(()));
}

#[test]
fn a_browser_is_told_which_headers_tell() {
    let typed = [
        ("host", "localhost"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
        ("upgrade-insecure-requests", "1"),
    ];
    let Err(Error::Browser { headers, is_navigation }) = checked("GET", "/", &typed) else {
        panic!("it is admitted");
    };

    assert_eq!(headers.to_string(), "Sec-Fetch-User, Upgrade-Insecure-Requests");
    assert!(is_navigation);
}

#[test]
fn a_target_cannot_choose_another_host() {
    let host = [("host", "localhost:6398")];
    assert_eq!(checked("GET", "http://evil.example/", &host), Err(Error::NoForwardProxy));
    assert_eq!(checked("GET", "http://localhost:6398/", &host), Ok(()));
    for target in ["ftp://localhost:6398/", "https://localhost:6398/", "http://a@localhost/"] {
        assert!(matches!(checked("GET", target, &host), Err(Error::Target(_))), "{target}");
    }
    for target in ["http://localhost:abc/", "http://localhost:65536/", "http://localhost:/"] {
        assert!(matches!(checked("GET", target, &host), Err(Error::Target(_))), "{target}");
    }
    assert!(matches!(checked("GET", "localhost:6398", &host), Err(Error::Target(_))));
    assert!(matches!(checked("OPTIONS", "*", &host), Err(Error::Target(_))));
}

#[test]
fn methods_that_would_hand_out_the_token_are_refused() {
    let host = [("host", "localhost:6398")];
    for method in ["TRACE", "TRACK", "DEBUG", "PROPFIND"] {
        assert_eq!(checked(method, "/", &host), Err(Error::Method), "{method}");
    }
    assert_eq!(checked("CONNECT", "evil.example:443", &host), Err(Error::Method));
}

#[test]
fn a_websocket_is_refused_and_other_offers_are_not() {
    let offer =
        |protocol| [("host", "localhost"), ("connection", "upgrade"), ("upgrade", protocol)];
    assert_eq!(checked("GET", "/", &offer("WebSocket")), Err(Error::Upgrade(UPGRADE_DISABLED)));
    assert_eq!(checked("GET", "/", &offer("h2c")), Ok(()));
}

#[test]
fn where_websockets_are_let_through_they_must_be_well_formed() {
    let guard = guard().with_websockets(true);
    let checked = |method, version, without: &str, with: &[(&str, &str)]| {
        let usual = HANDSHAKE.into_iter().filter(|(name, _)| *name != without);
        let headers: Vec<_> = usual.chain(with.iter().copied()).collect();
        let (mut head, ()) = request(method, "/", &headers).into_parts();
        head.version = version;
        check(&head, &sender(), &guard).map(|(_, is_websocket)| is_websocket)
    };
    let with = |name, value| checked("GET", Version::HTTP_11, name, &[(name, value)]);
    let and = |name, value| checked("GET", Version::HTTP_11, "", &[(name, value)]);
    let is_refused =
        |checked| matches!(checked, Err(Error::Upgrade(why)) if why != UPGRADE_DISABLED);

    assert_eq!(and("x-other", ""), Ok(true));
    // `websocket` must be offered, and other protocols may stand beside it.
    assert_eq!(with("upgrade", "h2c, WebSocket"), Ok(true));
    assert_eq!(with("connection", "keep-alive, upgrade"), Ok(true));
    assert_eq!(and("content-length", "0"), Ok(true));
    for (name, value) in MALFORMED_HANDSHAKES {
        assert!(is_refused(with(name, value)), "{name}: {value}");
    }
    for (name, value) in [
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ] {
        assert!(is_refused(and(name, value)), "{name}: {value} once more");
    }
    for name in ["sec-websocket-key", "sec-websocket-version"] {
        assert!(is_refused(checked("GET", Version::HTTP_11, name, &[])), "without {name}");
    }
    assert!(is_refused(checked("POST", Version::HTTP_11, "", &[])));
    // No handshake, and nothing that asks for one.
    assert_eq!(with("upgrade", "h2c"), Ok(false));
    assert_eq!(checked("GET", Version::HTTP_11, "connection", &[]), Ok(false));
    assert_eq!(checked("GET", Version::HTTP_10, "", &[]), Ok(false));
    assert!(matches!(and("origin", "http://localhost"), Err(Error::Browser { .. })));
}

/// Fields that leave a handshake malformed when they take the place of the usual ones.
const MALFORMED_HANDSHAKES: [(&str, &str); 10] = [
    ("connection", "close"),
    ("sec-websocket-key", ""),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZSEh"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ!=="),
    ("sec-websocket-version", ""),
    ("sec-websocket-version", "8"),
    ("sec-websocket-version", "13, 8"),
    ("sec-websocket-version", "130"),
];

/// The example of RFC 6455 §1.2.
const HANDSHAKE: [(&str, &str); 5] = [
    ("host", "localhost"),
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

#[test]
fn odd_transfer_encodings_are_refused() {
    for coding in ["gzip, chunked", "chunked, chunked", "identity", ", chunked", ""] {
        let headers = [("host", "localhost"), ("transfer-encoding", coding)];
        assert!(matches!(checked("POST", "/", &headers), Err(Error::Framing(_))), "{coding}");
    }
}

#[test]
fn another_users_process_is_refused() {
    let (head, ()) = request("GET", "/", &[("host", "localhost")]).into_parts();
    let sender = ConnectionPeer::new(sender().peer, PeerAccess::Denied(Some(1)), Arc::default());
    assert_eq!(check(&head, &sender, &guard()).map(drop), Err(Error::User(Some(0))));
}

#[test]
fn a_key_that_is_not_good_is_refused_wherever_it_is_shown() {
    let refused = |name: &str, value: &str| {
        let refused = checked("GET", "/", &[("host", "localhost"), (name, value)]);
        refused.unwrap_err().to_string()
    };
    // The key is well-formed, and belongs to no client.
    let (key, bearer) = (UNKNOWN, format!("Bearer {UNKNOWN}"));
    for (name, value) in
        [("nexudus-proxy-key", key), ("authorization", &bearer), ("proxy-authorization", &bearer)]
    {
        assert_eq!(refused(name, value), "the client key is unknown or revoked", "{name}");
    }
    // A new key would fare no better: these errors say what is wrong with how the key is sent.
    for (name, value, place) in [
        ("nexudus-proxy-key", format!("\"{key}\""), "Nexudus-Proxy-Key"),
        ("nexudus-proxy-key", format!("'{key}'"), "Nexudus-Proxy-Key"),
        ("nexudus_proxy_key", bearer.clone(), "Nexudus-Proxy-Key"),
        ("nexudus-proxy-key", key.to_uppercase(), "Nexudus-Proxy-Key"),
        ("nexudus-proxy-key", "nxp_cut".to_owned(), "Nexudus-Proxy-Key"),
        ("authorization", "Bearer nxp_cut".to_owned(), "Authorization"),
        ("proxy-authorization", "Bearer nxp_cut".to_owned(), "Proxy-Authorization"),
    ] {
        let said = format!("the client key in {place} is written in a form that is not accepted");
        assert_eq!(refused(name, &value), said, "{value}");
    }
    let empty = "there is no client key in Nexudus-Proxy-Key: it is empty";
    assert_eq!(refused("nexudus-proxy-key", " "), empty);
    let other = [("host", "localhost"), ("authorization", "Bearer something else")];
    assert_eq!(checked("GET", "/", &other), Ok(()));
}

#[test]
fn where_a_key_is_needed_only_the_login_may_come_without() {
    let guard = with_keys(ClientAuthenticator::with_required_key);
    let checked = |method, path| {
        let (head, ()) = request(method, path, &[("host", "localhost")]).into_parts();
        check(&head, &sender(), &guard).map(drop)
    };
    let needed = Err(Error::Client(client_auth::Error::KeyRequired));
    assert_eq!(checked("GET", "/"), needed);
    assert_eq!(checked("POST", "/api/token"), Ok(()));
    assert_eq!(checked("POST", "/api/sys/users/token"), Ok(()));
    assert_eq!(checked("GET", "/api/token"), needed);
    assert_eq!(checked("POST", "/api/token/"), needed);
}

const UNKNOWN: &str = "nxp_abcdefghijklmnopqrstuvwxyz234567l4fn3v";

fn checked(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), Error> {
    let (head, ()) = request(method, target, headers).into_parts();
    check(&head, &sender(), &guard()).map(drop)
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

fn guard() -> Guard {
    with_keys(|keys| keys)
}

fn with_keys(set: impl FnOnce(ClientAuthenticator) -> ClientAuthenticator) -> Guard {
    let users = UserAcl::new(vec![], vec![], false);
    // A directory that does not exist has no clients.
    let clients = Clients::new(Path::new("/nonexistent"), Clock::system());
    clients.reload_blocking();
    let keys = set(ClientAuthenticator::new(clients, false));
    Guard::new(&[SocketAddr::from(([127, 0, 0, 1], 6398))], &[], 64, users, keys)
}

fn sender() -> ConnectionPeer {
    let peer =
        Peer::Tcp { remote: ([127, 0, 0, 1], 1).into(), user: User::Known { uid: 0, socket: 1 } };
    ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default())
}

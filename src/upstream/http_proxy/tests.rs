//! Proxies as users write them, and what is sent to one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

#[test]
fn a_proxy_is_parsed_with_its_login() {
    let proxy = HttpProxy::parse("http://me:p%40ss@proxy.example:3128/").unwrap();
    assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
    assert_eq!(proxy.login.as_ref().unwrap(), "Basic bWU6cEBzcw==");
    assert_eq!(proxy.url(), "http://me:p%40ss@proxy.example:3128/");
    let shown = format!("{proxy:?} {:?}", proxy.login);
    assert_eq!(shown, "HttpProxy(proxy.example:3128) Some(Sensitive)");

    for (url, host, port) in [
        ("proxy.example", "proxy.example", 80),
        ("proxy.example:3128", "proxy.example", 3128),
        ("HTTP://proxy.example", "proxy.example", 80),
        ("http://[::1]:3128", "::1", 3128),
        ("http://[::1]", "::1", 80),
        ("http://***@proxy.example", "proxy.example", 80),
    ] {
        let proxy = HttpProxy::parse(url).unwrap();
        assert_eq!((proxy.host(), proxy.port()), (host, port), "{url}");
    }
    for url in ["https://proxy.example", "socks5://proxy.example", "ftp://proxy.example"] {
        assert_eq!(HttpProxy::parse(url), Err(Error::UnsupportedScheme), "{url}");
    }
    for url in ["", "http://", "http://:3128", "http://proxy.example:x", "http://proxy.example:"] {
        assert_eq!(HttpProxy::parse(url), Err(Error::InvalidUrl), "{url}");
    }
}

/// As an environment file of Windows, or docker, leaves it.
#[test]
fn what_surrounds_the_url_is_taken_off_or_named() {
    let proxy = HttpProxy::parse("\u{feff}http://user:pw@proxy.example:3128\r\n").unwrap();
    assert_eq!(proxy.url(), "http://user:pw@proxy.example:3128");
    let quoted = HttpProxy::parse("\"http://user:pw@proxy.example:3128\"").unwrap_err();
    assert_eq!(quoted.to_string(), "the proxy's URL is enclosed in quotes");
    assert!(HttpProxy::parse("http://user:p\0w@proxy.example").is_err());
}

#[test]
fn the_environment_names_the_proxy_and_the_exceptions() {
    let is_used = |host: &str, exceptions: &str| {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://proxy.example:3128".to_owned()),
            "NO_PROXY" => Some(exceptions.to_owned()),
            _ => None,
        };
        HttpProxy::from_env(&Origin::new(host, 443), variable).unwrap().is_some()
    };

    for (host, exceptions, expected) in [
        ("spaces.nexudus.com", "", true),
        ("spaces.nexudus.com", "localhost, example.com,exudus.com", true),
        ("spaces.nexudus.com", "localhost,.nexudus.com", false),
        ("spaces.nexudus.com", "*.nexudus.com", false),
        ("spaces.nexudus.com", "NEXUDUS.com", false),
        ("spaces.nexudus.com", "spaces.nexudus.com", false),
        ("spaces.nexudus.com", "*", false),
        ("10.1.2.3", "10.1.2.3", false),
        ("10.1.2.3", "192.168.0.0/16, 10.0.0.0/8", false),
        ("10.1.2.3", "10.1.3.0/24", true),
        ("fd00::1", "fd00::/8", false),
        ("fd00::1", "10.0.0.0/8", true),
        ("spaces.nexudus.com", "spaces.nexudus.com:443", false),
        ("spaces.nexudus.com", "spaces.nexudus.com:8443", true),
        ("spaces.nexudus.com", "localhost:443, .nexudus.com:443", false),
        ("spaces.nexudus.com", "*.nexudus.com:443", false),
        ("spaces.nexudus.com", "localhost spaces.nexudus.com", false),
        ("10.1.2.3", "10.1.2.3:443", false),
        ("10.1.2.3", "10.1.2.3:80", true),
        ("fd00::1", "[fd00::1]:443", false),
        ("fd00::1", "[fd00::1]:80", true),
        ("fd00::1", "[fd00::1]", false),
        ("fd00::1", "fd00::1", false),
    ] {
        assert_eq!(is_used(host, exceptions), expected, "{host}, NO_PROXY={exceptions}");
    }
}

#[test]
fn a_bad_proxy_in_the_environment_is_an_error_and_not_gone_around() {
    let origin = Origin::new("spaces.nexudus.com", 443);
    for (url, expected) in [
        ("https://proxy.example", Error::UnsupportedScheme),
        ("http://proxy example", Error::InvalidUrl),
    ] {
        let variable = |name: &str| (name == "ALL_PROXY").then(|| url.to_owned());
        assert_eq!(HttpProxy::from_env(&origin, variable), Err(expected), "{url}");
    }
}

#[tokio::test]
async fn a_tunnel_is_asked_for_with_the_login_and_is_blind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = HttpProxy::parse(&format!("http://me:p%40ss@127.0.0.1:{port}")).unwrap();
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 201 Made\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        let mut sent = [0; 5];
        stream.read_exact(&mut sent).await.unwrap();
        (String::from_utf8(head).unwrap(), sent)
    };
    let asked = async {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut tunnel = proxy.connect_tunnel(tcp, &Origin::new("::1", 443)).await.unwrap();
        tunnel.write_all(b"hello").await.unwrap();
    };

    let ((head, sent), ()) = tokio::join!(served, asked);

    assert_eq!(
        head,
        "CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n\
         proxy-authorization: Basic bWU6cEBzcw==\r\n\r\n"
    );
    assert_eq!(&sent, b"hello");
}

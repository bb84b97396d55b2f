//! `run` in an environment that names a proxy: other hosts go through it, configured ones never.

use std::process::Command;

use nexudus_simulator::Simulator;

use crate::support::Home;
use crate::support::parent_proxy::{Manners, ParentProxy, plain_host};
use crate::support::run::{script, stage};

#[test]
fn other_hosts_are_tunnelled_through_the_proxy_of_before_and_configured_ones_never() {
    let (upstream, home) = stage();
    let other = Simulator::builder().name("other.test").start().unwrap();
    std::fs::write(home.path("other.pem"), other.ca_pem()).unwrap();
    let text = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' --cacert other.pem https://other.test/api/auth/me; \
         curl -sS -o /dev/null -w '%{{http_code}}\\n' {0}/api/auth/me; \
         curl -sS -o /dev/null -w '%{{http_code}}\\n' http://localhost:{1}/api/auth/me; \
         env | grep -c 'marker-parent' || true",
        upstream.origin(),
        upstream.address().port()
    );
    for (login, sent) in [
        ("", ""),
        // `ada:marker-parent%40` in the URL; `ada:marker-parent@` is what it stands for.
        ("ada:marker-parent%40@", "|proxy-authorization: Basic YWRhOm1hcmtlci1wYXJlbnRA"),
    ] {
        let parent = ParentProxy::start(Manners::Leads(other.address()));
        let mut run = script(&home, "run -q", &text);
        run.env("https_proxy", format!("http://{login}{}", parent.address));

        assert_eq!(home.transcript(&mut run), "401\n200\n200\n0\n=> 0\n", "{login}");

        let expected = format!("CONNECT other.test:443 HTTP/1.1|host: other.test:443{sent}");
        assert_eq!(parent.heads(), [expected]);
    }
    let seen = format!("{:?}{:?}", upstream.requests(), other.requests());
    assert!(!seen.contains("YWRhOm1hcmtlci1wYXJlbnRA"), "{seen}");
}

#[test]
fn plain_requests_for_other_hosts_go_through_it_too() {
    let (_upstream, home) = stage();
    let host = plain_host();
    let parent = ParentProxy::start(Manners::Leads(host));
    let mut run = script(&home, "run -q", "curl -sS http://other.test/a%2fb?c=1; echo");
    run.env("http_proxy", format!("http://ada:marker-parent@{}", parent.address));
    run.env("https_proxy", "http://127.0.0.1:9");

    assert_eq!(home.transcript(&mut run), "from the other host\n=> 0\n");

    let heads = parent.heads();
    let [head] = heads.as_slice() else { panic!("{heads:?}") };
    assert!(head.starts_with("GET http://other.test/a%2fb?c=1 HTTP/1.1|"), "{head}");
    assert!(head.contains("|host: other.test|"), "{head}");
    assert!(head.contains("proxy-authorization: Basic YWRhOm1hcmtlci1wYXJlbnQ="), "{head}");
    assert!(!head.contains("nxp_"), "{head}");
}

#[test]
fn what_no_proxy_names_is_reached_without_it() {
    let (_upstream, home) = stage();
    let (host, parent) = (plain_host(), ParentProxy::start(Manners::Says("")));
    let text = format!("curl -sS --noproxy '' http://{host}/; echo");
    let file = home.path(".config/nexudus-proxy/config.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}[forward_proxy]\nallow = ['{host}']\n")).unwrap();

    for exception in ["127.0.0.1".to_owned(), host.to_string(), "127.0.0.0/8".to_owned()] {
        let mut run = script(&home, "run -q", &text);
        run.env("http_proxy", format!("http://{}", parent.address)).env("NO_PROXY", &exception);
        assert_eq!(home.transcript(&mut run), "from the other host\n=> 0\n", "{exception}");
    }

    assert_eq!(parent.heads(), <[&str; 0]>::default());
}

#[test]
fn a_proxy_of_before_that_fails_is_told_in_the_status_line() {
    let (_upstream, home) = stage();
    std::fs::write(
        home.path(".config/nexudus-proxy/config.toml"),
        std::fs::read_to_string(home.path(".config/nexudus-proxy/config.toml"))
            .unwrap()
            .replace("[upstream]\n", "[upstream]\nconnect_timeout = '500ms'\n"),
    )
    .unwrap();
    let dead = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().to_string()
    };
    let started = |manners| ParentProxy::start(manners);
    let proxies = [
        started(Manners::Says("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")),
        started(Manners::Says("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n")),
        started(Manners::Says("SSH-2.0-OpenSSH_9.2\r\n")),
        started(Manners::Says("")),
        started(Manners::Hangs),
    ];
    let [refusing, asking, other, closing, hanging] =
        proxies.each_ref().map(|it| it.address.to_string());

    for (proxy, reason, hint) in [
        (
            refusing,
            "host refused by parent proxy of nexudus-proxy",
            "the proxy on the way responded with 403",
        ),
        (asking, "parent proxy wants a login of nexudus-proxy", "http://user:password@"),
        (other, "parent proxy unreachable for nexudus-proxy", "the proxy does not speak HTTP"),
        (closing, "parent proxy unreachable for nexudus-proxy", "HTTPS_PROXY"),
        (hanging, "parent proxy of nexudus-proxy timed out", "did not respond in time"),
        (dead, "parent proxy unreachable for nexudus-proxy", "Connection refused"),
        ("parent.invalid".to_owned(), "parent proxy unreachable for nexudus-proxy", "HTTPS_PROXY"),
    ] {
        let told = refusal(&home, &format!("http://{proxy}"), "CONNECT other.test:443");
        assert!(told.starts_with(&format!("HTTP/1.1 502 {reason}\r\n")), "{proxy}: {told}");
        assert!(told.contains(hint) && told.contains("\"forward.unreachable\""), "{proxy}: {told}");
        assert!(!told.contains("marker"), "{told}");
    }
    let told = refusal(&home, "socks5://127.0.0.1:9", "CONNECT other.test:443");
    assert!(told.starts_with("HTTP/1.1 502 parent proxy unusable for nexudus-proxy\r\n"), "{told}");
    assert!(told.contains("only http:// proxies"), "{told}");
}

/// A program would take the 407 for a question of this proxy, and send its login here.
#[test]
fn a_proxy_of_before_that_asks_a_plain_request_for_a_login_is_told_as_an_error() {
    let (_upstream, home) = stage();
    let says = "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let parent = ParentProxy::start(Manners::Says(says));

    let told = refusal(&home, &format!("http://{}", parent.address), "GET http://other.test/");

    let reason = "HTTP/1.1 502 parent proxy wants a login of nexudus-proxy\r\n";
    assert!(told.starts_with(reason) && !told.contains("authenticate"), "{told}");
}

/// Returns the whole response to this request of a command whose `run` was given this proxy.
fn refusal(home: &Home, proxy: &str, request: &str) -> String {
    let text = format!(
        "exec 3<>/dev/tcp/127.0.0.1/${{HTTPS_PROXY##*:}}; \
         printf '{request} HTTP/1.1\\r\\nHost: other.test\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
    );
    let mut run: Command = script(home, "run -q", &text);
    run.env("HTTPS_PROXY", proxy).env("HTTP_PROXY", proxy);
    String::from_utf8(run.output().unwrap().stdout).unwrap()
}

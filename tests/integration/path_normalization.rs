//! However a path is spelt: what must not reach Nexudus does not.

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{Config, Rule};
use nexudus_proxy::gateway::{Question, explain};
use nexudus_simulator::Simulator;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::path_spellings::{readings, spelling};
use crate::support::{Daemon, daemon, upstream};

#[test]
fn no_spelling_of_a_denied_path_or_of_the_token_endpoint_is_let_through() {
    let stage = Stage::new();
    let denied = prop_oneof![
        Just(&["api", "token"][..]),
        Just(&["api", "sys", "users"][..]),
        Just(&["api", "sys", "users", "7", "token", "refresh"][..]),
    ];
    let spelt = denied.prop_flat_map(spelling);
    let method = prop_oneof![Just("GET"), Just("PUT"), Just("DELETE")];
    proptest!(ProptestConfig { cases: 600, ..ProptestConfig::default() }, |((path, method) in (spelt, method))| {
        let answer = stage.ask(method, &path, "");
        let status = answer.get(9..12).unwrap_or_default().to_owned();
        prop_assert!(["400", "403", "405"].contains(&&*status), "{} {:?}: {}", method, path, answer);
        let arrived = stage.arrived();
        prop_assert!(arrived.is_empty(), "{} {:?}: {:?}", method, path, arrived);
    });
}

#[test]
fn nothing_that_arrives_can_be_read_as_what_is_denied() {
    let stage = Stage::new();
    let state = stage.daemon.home().join("state");
    let limits = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    let key = clients::add(&state, "reader", limits).unwrap().expose().to_owned();
    let keyed = format!("Nexudus-Proxy-Key: {key}\r\n");
    let piece = prop::sample::select(PIECES);
    let path =
        prop::collection::vec(piece, 1..9).prop_map(|pieces| format!("/{}", pieces.concat()));
    proptest!(ProptestConfig { cases: 1_500, ..ProptestConfig::default() }, |((path, is_keyed) in (path, any::<bool>()))| {
        let answer = stage.ask("GET", &path, if is_keyed { &keyed } else { "" });
        let arrived = stage.arrived();
        prop_assert!(arrived.len() <= 1, "{:?}: {:?}", path, arrived);
        for arrived in arrived {
            prop_assert_eq!(&arrived, &path, "the bytes are changed");
            for reading in readings(arrived.as_bytes()) {
                prop_assert!(reading != ["api", "token"], "{:?}: {}", path, answer);
                let mut begins = vec!["users"];
                if is_keyed {
                    begins.push("refreshtokens");
                }
                let is_denied = reading.len() > 2 && reading[..2] == ["api", "sys"] && begins.contains(&&*reading[2]);
                prop_assert!(!is_denied, "{:?} as {:?}: {}", path, reading, answer);
            }
        }
    });
}

/// Pieces that mean something to some server.
const PIECES: &[&str] = &[
    "/",
    "//",
    "\\",
    "%2f",
    "%5C",
    "%252f",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    ";",
    ";a=b",
    "%3b",
    "::",
    "%00",
    "%20",
    "%09",
    "%u002f",
    "%c0%af",
    "%ef%bc%8f",
    "api",
    "API",
    "ap%69",
    "token",
    "%74oken",
    "%2574oken",
    "T%6Fken",
    "sys",
    "s%79s",
    "users",
    "user%73",
    "refreshtokens",
    "x",
    "7",
    "%",
    "%3f",
    "%23",
    "~",
    "billing",
];

/// Each was forwarded once, or would be by a rule that reads paths as they are written.
#[test]
fn what_iis_and_asp_net_make_of_a_path_gets_around_no_limit() {
    let stage = Stage::new();
    let state = stage.daemon.home().join("state");
    let add = |name, limits| clients::add(&state, name, limits).unwrap().expose().to_owned();
    let reader = add("reader", ClientPolicy { read_only: true, ..ClientPolicy::default() });
    let allow = vec![Rule::parse("* /**").unwrap()].into();
    let writer = add("writer", ClientPolicy { allow, ..ClientPolicy::default() });
    let key = |key: &str| format!("Nexudus-Proxy-Key: {key}\r\n");
    let (reader, writer) = (key(&reader), key(&writer));

    for (method, path, sender, code) in REFUSED_SPELLINGS {
        let fields = match sender {
            "reader" => &reader,
            "writer" => &writer,
            _ => "",
        };
        let answer = stage.ask(method, path, fields);
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{method} {path}: {answer}");
        assert!(stage.arrived().is_empty(), "{method} {path}");
    }
    for path in
        ["/api/spaces/Coworkers(5)", "/api/spaces/caf%C3%A9", "/api/spaces/a.json", "/api/auth/me"]
    {
        stage.ask("GET", path, &reader);
        assert_eq!(stage.arrived(), [path]);
    }
    for name in ["X-HTTP-Method-Override", "x_method", "X-MS-Original-URL", "Destination"] {
        let fields = format!("{writer}{name}: DELETE\r\n");
        let answer = stage.ask("POST", "/api/x", &fields);
        assert!(answer.contains("\"code\":\"policy.denied\""), "{name}: {answer}");
        assert!(stage.arrived().is_empty(), "{name}");
    }
}

/// Method, path, sender, and the code of the refusal.
const REFUSED_SPELLINGS: [(&str, &str, &str, &str); 21] = [
    ("GET", "/api/sys/(S(x))/users/5", "reader", "policy.denied"),
    ("GET", "/api/sys/(F(x))/refreshtokens", "reader", "policy.denied"),
    ("GET", "/api/(X(1))/sys/refreshtokens", "reader", "policy.denied"),
    ("GET", "/api/spaces/(S(x))/coworkers", "reader", "policy.denied"),
    ("GET", "/api/spaces/%2528S(x))/coworkers", "reader", "policy.denied"),
    ("GET", "/api/sys/us%C3%A8rs", "reader", "policy.denied"),
    ("GET", "/api/sys/%E2%93%A4sers", "reader", "policy.denied"),
    ("GET", "/api/sys/us%E2%80%8Bers", "reader", "policy.denied"),
    ("GET", "/api/auth/me.json", "reader", "policy.denied"),
    ("GET", "/api/auth/me/x", "reader", "policy.denied"),
    ("OPTIONS", "/api/$batch", "reader", "policy.denied"),
    ("POST", "/api/$batch", "writer", "policy.denied"),
    ("POST", "/api/batch", "writer", "policy.denied"),
    ("POST", "/api/x?_method=DELETE", "writer", "policy.denied"),
    ("POST", "/api/x?X-HTTP-Method-Override=DELETE", "writer", "policy.denied"),
    ("DELETE", "/api/sys/(S(x))/users/1", "anyone", "policy.denied"),
    ("DELETE", "/api/sys/us%E8rs/1", "anyone", "policy.denied"),
    ("GET", "/api/sys/users.json", "anyone", "policy.denied"),
    ("POST", "/api/(S(x))/token", "anyone", "request.target"),
    ("POST", "/api/token.json", "anyone", "request.target"),
    (
        "GET",
        "/(A(a))/(B(b))/(C(c))/(D(d))/(E(e))/(F(f))/(G(g))/(H(h))/",
        "reader",
        "request.target",
    ),
];

#[test]
fn a_limited_caller_names_no_other_method_in_a_form() {
    let stage = Stage::new();
    let state = stage.daemon.home().join("state");
    let limits = ClientPolicy {
        allow: vec![Rule::parse("POST /api/**").unwrap()].into(),
        ..ClientPolicy::default()
    };
    let key = clients::add(&state, "poster", limits).unwrap().expose().to_owned();
    let form = "application/x-www-form-urlencoded";
    let send = |key: &str, kind: &str, body: &str| {
        let length = body.len();
        let head = format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n{key}");
        let text =
            format!("POST /api/x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{head}\r\n{body}");
        let answer = stage.runtime.block_on(stage.daemon.raw(&text));
        let is_denied = answer.contains("\"code\":\"policy.denied\"");
        (is_denied, stage.arrived().len())
    };
    let key = format!("Nexudus-Proxy-Key: {key}\r\n");
    let large = format!("a={}", "x".repeat(2 << 20));
    let part = "--x\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--x--\r\n";
    let utf_16 = format!("{form}; charset=utf-16");

    for (kind, body, names_method) in [
        (form, "a=b&%5Fmethod=DELETE", true),
        (form, &large, false),
        (&utf_16, "a=b", false),
        ("multipart/form-data; boundary=x", part, true),
    ] {
        assert_eq!(send(&key, kind, body), (true, 0), "{kind}: {body:.40}");
        // A rule denies something to all; what cannot be read is left to an unlimited client.
        let of_unlimited = if names_method { (true, 0) } else { (false, 1) };
        assert_eq!(send("", kind, body), of_unlimited, "{kind}: {body:.40}");
    }
    for (kind, body) in [(form, "a=b&c=_method"), ("application/json", "{\"_method\":1}")] {
        assert_eq!(send(&key, kind, body), (false, 1), "{kind}: {body}");
    }
}

/// `policy explain` tells what the daemon does, also with a target that is no path.
#[test]
fn policy_explain_says_of_every_target_what_the_daemon_does() {
    let stage = Stage::new();
    let address = stage.daemon.address();
    let mut config = Config::default();
    config.listen.tcp = vec![address];
    config.policy.deny = vec![Rule::parse("* /api/sys/users/**").unwrap()];
    let odd = (1..=0x7f_u8).map(|byte| format!("/api/x{}y", char::from(byte)));
    let lengths = [16 << 10, (16 << 10) + 1, 60_000];
    let targets = TARGETS.map(str::to_owned).into_iter().chain(odd);
    let long = lengths.map(|length| format!("/{}", "x".repeat(length - 1)));
    let with_port = format!("http://{address}/api/x");
    let targets = targets.chain(SPELT.map(str::to_owned));
    let targets = targets.chain(long).chain([with_port]).map(|target| ("GET", target));
    let methods = ["CONNECT", "TRACE", "BREW", "G@T"].map(|method| (method, "/api/x".to_owned()));

    let limits = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    let key = clients::add(&stage.daemon.home().join("state"), "reader", limits.clone()).unwrap();
    let key = format!("Nexudus-Proxy-Key: {}\r\n", key.expose());
    let senders = [(String::new(), None), (key, Some(&limits))];
    let cases: Vec<_> = targets.chain(methods).collect();
    let cases = senders.iter().flat_map(|sender| cases.iter().map(move |case| (sender, case)));

    for ((key, limits), (method, target)) in cases {
        let answer = stage.ask(method, target, key);
        let code = answer.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
        // What Nexudus has refused was let through.
        let has_arrived = !stage.arrived().is_empty();
        let code = code.filter(|_| !has_arrived);

        let question = Question { method, target, command: None };
        let said = explain(question, *limits, &config);

        assert_eq!(said.code, code, "{method} {target:.80}: {said:?}\n{answer:.400}");
        assert_eq!(said.is_allowed, code.is_none());
    }
}

/// Paths that some server reads in another way, and their neighbours.
const SPELT: [&str; 11] = [
    "/api/(S(x))/token",
    "/api/sys/(S(x))/users",
    "/api/spaces/(S(x))/coworkers",
    "/api/sys/us%C3%A8rs",
    "/api/sys/refreshtokens.json",
    "/api/auth/me.json",
    "/api/$batch",
    "/api/x?_method=DELETE",
    "/api/caf%C3%A9",
    "/api/Coworkers(5)",
    "/%252525252541",
];

/// Targets of every form, and what is none.
const TARGETS: [&str; 22] = [
    "",
    "*",
    "?",
    "//",
    "/%",
    "/é",
    "/a?b c",
    "/a#b",
    "/api/sys/users/1#x",
    "localhost",
    "localhost:80",
    "spaces.nexudus.com:443",
    "api/x",
    "http://localhost/api/x",
    "http://localhost/api/sys/users/1",
    "HTTP://LocalHost",
    "http://evil.example/api/x",
    "http://user@localhost/api/x",
    "https://localhost/api/x",
    "ftp://localhost/api/x",
    "http:///api/x",
    "http://",
];

struct Stage {
    runtime: Runtime,
    upstream: Simulator,
    daemon: Daemon,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (upstream, daemon) = runtime.block_on(async {
            let upstream = upstream().start().unwrap();
            let rule = Rule::parse("* /api/sys/users/**").unwrap();
            let daemon = daemon(&upstream).set(|config| config.policy.deny = vec![rule]);
            let daemon = daemon.run().await;
            daemon.get("/api/auth/me").await;
            (upstream, daemon)
        });
        upstream.clear_recording();
        Self { runtime, upstream, daemon }
    }

    fn ask(&self, method: &str, path: &str, lines: &str) -> String {
        let text =
            format!("{method} {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{lines}\r\n");
        self.runtime.block_on(self.daemon.raw(&text))
    }

    /// Returns the targets that have arrived since it was asked last.
    fn arrived(&self) -> Vec<String> {
        let seen = self.upstream.requests();
        self.upstream.clear_recording();
        seen.into_iter().map(|seen| seen.target).collect()
    }
}

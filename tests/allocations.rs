//! What a request is not charged for: steps of the path that take no memory.
//!
//! A test binary of its own, since counting replaces the allocator.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::Path;

use http::Request;
use http::request::Parts;
use nexudus_proxy::clients::Clients;
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{Anonymous, Rule};
use nexudus_proxy::gateway::{Guard, Keys, Policy};
use nexudus_proxy::listen::{Peer, Users};

#[test]
fn the_guard_takes_no_memory_whatever_a_tool_or_a_page_sends() {
    let users = Users::new(&[], &[], false).unwrap();
    let keys = Keys::new(Clients::new(Path::new("/nonexistent"), Clock::system()), false);
    let bound = ["127.0.0.1:6398".parse().unwrap(), "[::1]:6398".parse().unwrap()];
    let guard = Guard::new(&bound, &["proxy.example".to_owned()], 16 << 10, users, keys);
    let admits = guard.trial(Peer::Unix { uid: 1000, pid: None });

    for (fields, is_admitted) in [
        (&[("host", "localhost:6398"), ("accept", "*/*")][..], true),
        (&[("host", "PROXY.example"), ("authorization", "Bearer theirs")], true),
        (&[("host", "[::1]"), ("content-length", "5"), ("connection", "keep-alive")], true),
        (&[("host", "localhost"), ("transfer-encoding", "chunked")], true),
        (&[("host", "localhost"), ("upgrade", "h2c"), ("connection", "upgrade")], true),
        (&[("host", "localhost"), ("origin", "http://evil.example")], false),
        (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], false),
        (&[("host", "localhost"), ("upgrade", "websocket"), ("connection", "upgrade")], false),
    ] {
        let head = head("/api/spaces/coworkers?size=100", fields);
        let mut is = None;
        let counted = allocation_counter::measure(|| is = Some(admits(&head)));
        assert_eq!((is, counted.count_total), (Some(is_admitted), 0), "{fields:?}");
    }
}

#[test]
fn the_policy_takes_no_memory_for_a_path_with_one_reading() {
    let deny = ["DELETE /**", "* /api/sys/users/**"].map(|rule| Rule::read(rule).unwrap());
    let policy = Policy::new(deny.to_vec(), Anonymous::ReadOnly);

    for path in ["/api/spaces/coworkers/1?q=%20", "/ContentDownload/a.b/C_d~e"] {
        let head = head(path, &[]);
        // The rules of our own are read when they are first needed.
        policy.trial(&head);
        let counted = allocation_counter::measure(|| assert!(policy.trial(&head)));
        assert_eq!(counted.count_total, 0, "{path}");
    }
    // So that the counting is seen to count.
    let odd = head("/api/spaces/co%77orkers", &[]);
    assert!(allocation_counter::measure(|| assert!(policy.trial(&odd))).count_total > 0);
}

fn head(target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

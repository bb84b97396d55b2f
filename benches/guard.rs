//! What a request on a kept connection pays for being judged: `cargo bench --bench guard`.
//!
//! The promise is less than a microsecond for the guard; `tests/allocations.rs` adds that it
//! allocates nothing. A key costs the hash of it and a look at the clients' file.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark reports")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Request;
use http::request::Parts;
use nexudus_proxy::clients::{self, Clients, Limits};
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{Anonymous, Rule};
use nexudus_proxy::gateway::{Guard, Keys, Policy};
use nexudus_proxy::listen::{Peer, Users};

fn main() {
    let home = tempfile::tempdir().unwrap();
    let key = clients::add(home.path(), "bench", Limits::default()).unwrap();
    let users = Users::new(&[], &[], false).unwrap();
    let keys = Keys::new(Clients::new(home.path(), Clock::system()), false);
    let bound = [SocketAddr::from(([127, 0, 0, 1], 6398)), "[::1]:6398".parse().unwrap()];
    let guard = Guard::new(&bound, &["proxy.example".to_owned()], 16 << 10, users, keys);
    let admits = guard.trial(Peer::Unix { uid: 1000, pid: None });
    let deny = ["DELETE /**", "* /api/sys/users/**"].map(|rule| Rule::read(rule).unwrap());
    let policy = Policy::new(deny.to_vec(), Anonymous::ReadOnly);

    let plain = head(&[("authorization", "Bearer theirs")]);
    let keyed = head(&[("nexudus-proxy-key", key.expose())]);
    let page = head(&[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")]);
    assert!(admits(&plain) && admits(&keyed) && !admits(&page) && policy.trial(&plain));

    println!("guard                 {:>7.1} ns", best(|| admits(black_box(&plain))));
    println!("guard, a web page     {:>7.1} ns", best(|| admits(black_box(&page))));
    println!("guard, with a key     {:>7.1} ns", best(|| admits(black_box(&keyed))));
    println!("policy, two rules     {:>7.1} ns", best(|| policy.trial(black_box(&plain))));
}

fn head(fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/api/spaces/coworkers?size=100");
    let usual = [("host", "localhost:6398"), ("user-agent", "curl/8.5.0"), ("accept", "*/*")];
    for (name, value) in usual.iter().chain(fields) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Returns the nanoseconds of one call, in the best of many rounds: the others measure the machine.
fn best<T>(mut call: impl FnMut() -> T) -> f64 {
    const CALLS: u32 = 20_000;
    let round = |_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| drop(black_box(call())));
        start.elapsed()
    };
    let best: Duration = (0..50).map(round).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(CALLS)
}

//! The cost of pacing for a request while Nexudus does not throttle: `cargo bench --bench
//! throttle`.
//!
//! Prints the time to acquire a permit, and to observe a response with it. The promise is less than
//! 100 ns for the permit. A look at the boot clock is most of it, and is printed beside it because
//! it differs between machines.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark reports")]

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config;
use nexudus_proxy::throttle::{FairnessKey, Permit, ResponseHead, Throttle};

fn main() {
    let clock = Clock::system();
    let throttle = Throttle::new(&config::Throttle::default(), clock.clone());
    let headers = HeaderMap::new();

    let look = best(|| {
        black_box(clock.boot());
    });
    let permit = best(|| drop(black_box(take(&throttle))));
    let whole = best(|| {
        let response = ResponseHead {
            status: StatusCode::OK,
            headers: &headers,
            is_end_of_stream: true,
            text: b"",
        };
        black_box(take(&throttle).observe(&response, true));
    });

    println!("look at the clock     {look:>6.1} ns");
    println!("permit                {permit:>6.1} ns");
    println!("permit and observe    {whole:>6.1} ns");
}

fn take(throttle: &Throttle) -> Permit<'_> {
    const GET: &Method = &Method::GET;
    let mut reservation =
        throttle.reserve(GET, black_box("/api/spaces/coworkers"), FairnessKey::Process(1));
    let mut context = Context::from_waker(Waker::noop());
    match pin!(reservation.acquire()).poll(&mut context) {
        Poll::Ready(permit) => permit.unwrap(),
        Poll::Pending => unreachable!("nothing is paced"),
    }
}

/// Returns the nanoseconds of one call, in the best of many rounds: the others measure the machine.
fn best(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 100_000;
    let round = |_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed()
    };
    let best: Duration = (0..50).map(round).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(CALLS)
}

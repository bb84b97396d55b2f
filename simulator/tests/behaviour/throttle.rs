//! Throttling, as documented and as otherwise seen.

use std::time::Duration;

use nexudus_simulator::{CounterKey, RetryAfter, Scope, Simulator, Window};

use crate::client::{access, get, log_in};

#[test]
fn a_throttle_answer_is_the_documented_one() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    simulator.throttle_next(1);

    let answer = get(&simulator, "/api/spaces/bookings", &token);

    assert_eq!(answer.status, 409);
    assert_eq!(answer.reason, "You must wait before accessing this url again.");
    assert_eq!((answer.header("retry-after"), answer.body.len()), (Some("1"), 0));
    assert_eq!(get(&simulator, "/api/spaces/bookings", &token).status, 200);
}

#[test]
fn windows_fill_and_empty_by_the_simulated_clock() {
    let simulator = Simulator::builder().frozen_clock().start().unwrap();
    let token = access(&simulator);
    let per = Duration::from_secs(5);
    simulator.set(|settings| {
        settings.throttle.windows =
            vec![Window { limit: 2, per, scope: Scope::Reads, key: CounterKey::Token }];
        settings.throttle.status = 429;
    });
    let ask = || get(&simulator, "/api/auth/me", &token).status;

    assert_eq!([ask(), ask(), ask()], [200, 200, 429]);
    simulator.advance(per);
    assert_eq!(ask(), 200);
}

#[test]
fn retry_after_comes_in_every_notation() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    let ask = |notation| {
        simulator.set(|settings| {
            settings.throttle.next = 1;
            settings.throttle.next_wait = Duration::from_millis(1500);
            settings.throttle.retry_after = notation;
        });
        get(&simulator, "/x", &token).header("retry-after").map(str::to_owned)
    };

    assert_eq!(ask(RetryAfter::Seconds).as_deref(), Some("2"));
    assert_eq!(ask(RetryAfter::Fraction).as_deref(), Some("1.500"));
    assert!(ask(RetryAfter::Date).unwrap().ends_with(" GMT"));
    assert_eq!(ask(RetryAfter::Missing), None);
}

#[test]
fn the_wait_can_stand_in_the_body_alone() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    simulator.set(|settings| {
        settings.throttle.next = 1;
        settings.throttle.next_wait = Duration::from_millis(1500);
        settings.throttle.status = 429;
        settings.throttle.retry_after = RetryAfter::Missing;
        settings.throttle.body = "Wait {wait} seconds".to_owned();
    });

    let answer = get(&simulator, "/x", &token);

    assert_eq!((answer.status, answer.header("retry-after")), (429, None));
    assert_eq!(answer.text(), "Wait 1.500 seconds");
}

#[test]
fn token_calls_are_throttled_only_when_asked() {
    let simulator = Simulator::start().unwrap();
    simulator.throttle_next(1);
    assert_eq!(log_in(&simulator, None).status, 200);

    simulator.set(|settings| settings.throttle.token_calls = true);
    let throttled = log_in(&simulator, None);
    assert_eq!((throttled.status, throttled.header("retry-after")), (409, Some("1")));
    assert_eq!(simulator.live_access_tokens().len(), 1);
}

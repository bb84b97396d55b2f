//! The budget, with made-up requests, responses and times.

use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn signal(number: u64, sent: u64, wait: Option<u64>) -> ThrottleSignal<'static> {
    let wait = wait.map(Duration::from_millis);
    ThrottleSignal { number, sent: ms(sent), template: "/a", retry_after: wait, jitter: 0 }
}

/// Makes a budget whose request 1 was throttled at 0 ms.
fn paused(wait: Option<u64>) -> Budget {
    let mut budget = Budget::default();
    budget.record_sent(1, true, ms(0));
    budget.record_throttle(&signal(1, 0, wait), ms(0));
    budget
}

#[test]
fn nothing_is_paced_before_the_first_throttle_response() {
    let mut budget = Budget::default();
    for number in 0..1_000 {
        assert_eq!(budget.next_send(ms(0)), NextSend::Now);
        budget.record_sent(number, true, ms(0));
        budget.record_response(number, ms(1));
    }
    assert!(!budget.is_pacing());
}

#[test]
fn a_throttle_response_pauses_for_its_retry_after() {
    let mut budget = paused(Some(2_500));

    assert_eq!(budget.next_send(ms(1)), NextSend::At(ms(2_500)));
    assert_eq!(budget.paused_until(ms(1)), Some(ms(2_500)));
    assert_eq!(budget.next_send(ms(2_500)), NextSend::Now);
    assert_eq!(budget.paused_until(ms(2_500)), None);
}

#[test]
fn without_a_retry_after_the_pause_grows_from_one_to_fifteen_seconds() {
    let mut budget = paused(None);
    let (mut at, mut waits) = (0, vec![]);
    for number in 2..8 {
        let NextSend::At(until) = budget.next_send(ms(at)) else { panic!("not paused") };
        waits.push((until - ms(at)).as_millis());
        at = u64::try_from((until - ms(0)).as_millis()).unwrap();
        budget.record_sent(number, true, until);
        budget.record_throttle(&signal(number, at, None), until);
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
}

#[test]
fn jitter_takes_up_to_a_quarter() {
    assert_eq!(backoff(0, 1_000), Duration::from_millis(750));
    assert_eq!(backoff(9, 500), Duration::from_millis(13_125));
}

#[test]
fn a_request_sent_before_the_pause_and_throttled_only_lengthens_it() {
    let mut budget = Budget::default();
    budget.record_sent(1, true, ms(0));
    budget.record_sent(2, true, ms(0));
    budget.record_throttle(&signal(1, 0, Some(1_000)), ms(10));
    budget.record_throttle(&signal(2, 0, Some(1_500)), ms(20));
    assert_eq!(budget.next_send(ms(30)), NextSend::At(ms(1_520)));
}

#[test]
fn a_template_is_paced_first_and_the_whole_kind_after_a_second_one() {
    let mut budget = paused(Some(1_000));
    assert!(budget.covers("/a") && !budget.covers("/b"));

    budget.record_sent(2, false, ms(5));
    budget.record_throttle(&ThrottleSignal { template: "/b", ..signal(2, 5, Some(1_000)) }, ms(6));

    assert!(budget.covers("/a") && budget.covers("/b") && budget.covers("/c"));
}

#[test]
fn after_a_pause_one_request_goes_alone() {
    let mut budget = paused(Some(1_000));
    budget.record_sent(2, true, ms(1_000));

    assert_eq!(budget.next_send(ms(1_001)), NextSend::AfterProbe(ms(2_000)));
    budget.record_response(2, ms(1_002));
    assert_eq!(budget.next_send(ms(1_200)), NextSend::Now);
}

#[test]
fn a_probe_that_takes_long_has_passed() {
    let mut budget = paused(Some(1_000));
    budget.record_sent(2, true, ms(1_000));
    assert_eq!(budget.next_send(ms(1_999)), NextSend::AfterProbe(ms(2_000)));
    assert_eq!(budget.next_send(ms(2_000)), NextSend::Now);
    assert_eq!(budget.paused_until(ms(2_000)), None);
}

#[test]
fn a_probe_that_was_never_sent_or_got_no_response_is_replaced() {
    for lose in [Budget::withdraw, Budget::record_loss as fn(&mut Budget, u64)] {
        let mut budget = paused(Some(1_000));
        budget.record_sent(2, true, ms(1_000));
        lose(&mut budget, 2);
        assert_eq!(budget.next_send(ms(1_002)), NextSend::Now);
    }
}

#[test]
fn a_pause_longer_than_any_request_waits_is_probed_now_and_then() {
    let mut budget = paused(Some(3_600_000));
    assert!(!budget.can_probe(ms(999)));
    assert!(budget.can_probe(ms(1_000)));

    budget.record_sent(2, true, ms(1_000));
    assert!(!budget.can_probe(ms(1_001)), "one at a time");
    budget.record_throttle(&signal(2, 1_000, Some(3_599_000)), ms(1_010));
    assert!(!budget.can_probe(ms(3_009)));
    assert!(budget.can_probe(ms(3_010)));

    budget.record_sent(3, true, ms(3_010));
    budget.record_response(3, ms(3_020));
    assert_eq!(budget.paused_until(ms(3_021)), None);
}

#[test]
fn a_window_permits_its_count() {
    let mut budget = Budget::new(Some(Window { count: 2, per: Duration::from_secs(10) }));
    for number in 1..3 {
        assert_eq!(budget.next_send(ms(0)), NextSend::Now);
        budget.record_sent(number, true, ms(0));
        budget.record_response(number, ms(5));
    }
    assert_eq!(budget.next_send(ms(10)), NextSend::At(ms(10_000)));
    assert_eq!(budget.next_send(ms(10_000)), NextSend::Now);
}

#[test]
fn a_request_is_taken_to_be_as_late_as_its_response_was_slower_than_the_fastest() {
    let latencies = [(9, 100), (4, 100), (7, 103), (6, 102), (90, 186), (4, 100)];
    assert_eq!(freed(latencies.into_iter()), latencies);
}

#[test]
fn where_responses_take_long_a_twelfth_of_the_window_is_added() {
    let latencies = (0..40).map(|n| if n == 0 { (1, 100) } else { (60 + n, 108) });
    let late = freed(latencies.clone()).into_iter().skip(20);
    assert!(late.eq(latencies.skip(20)));
}

/// Sends one request in 100 ms whose response comes after so many milliseconds; returns after how
/// many the next one goes.
fn freed(latencies: impl Iterator<Item = (u64, u128)>) -> Vec<(u64, u128)> {
    let mut budget = Budget::new(Some(Window { count: 1, per: Duration::from_millis(100) }));
    let freed = |(number, (took, _))| {
        let sent = number * 1_000;
        budget.record_sent(number, true, ms(sent));
        budget.record_response(number, ms(sent + took));
        let next = budget.next_send(ms(sent + took));
        let NextSend::At(time) = next else { panic!("{next:?}") };
        (took, (time - ms(sent)).as_millis())
    };
    (1..).zip(latencies).map(freed).collect()
}

#[test]
fn a_fixed_pace_is_never_changed_by_a_response() {
    let window = Window { count: 5, per: Duration::from_secs(1) };
    let mut budget = Budget::new(Some(window));
    budget.record_sent(1, true, ms(0));
    budget.record_throttle(&signal(1, 0, Some(1_000)), ms(1));
    budget.record_sent(2, true, ms(1_001));
    budget.record_response(2, ms(1_002));
    assert_eq!(budget.windows().collect::<Vec<_>>(), [window]);
}

#[test]
fn a_day_without_a_throttle_response_forgets_the_limits() {
    let mut budget = paused(Some(1_000));
    let day = 86_400_000;
    budget.record_sent(2, true, ms(1_000));
    budget.record_response(2, ms(1_001));
    budget.record_sent(3, true, ms(day + 1));
    budget.record_response(3, ms(day + 2));
    assert!(!budget.is_pacing());
}

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const HORIZON: Duration = ms(600);

const DAY: Allowance = Allowance::Span { most: 320, per: Duration::from_secs(86_400) };

fn me() -> Incarnation {
    Incarnation::named("a")
}

fn take(quotas: &mut Quotas, allowance: Allowance, now: u64) -> Verdict {
    quotas.take("k", allowance, 1, ms(now), &Timing::default())
}

fn asks(quotas: &mut Quotas) -> Vec<Ask> {
    let Some(Call::Count { asks, .. }) = quotas.call(&me(), HORIZON) else { return vec![] };
    asks
}

fn answer(quotas: &mut Quotas, granted: u64, taken: u64, left: u64, asked: u64) {
    let span = Span { since: 1, taken };
    let counted = [Counted { granted, span, left: ms(left) }];
    quotas.counted(&counted, ms(asked), HORIZON, &Timing::default());
}

#[test]
fn a_client_without_a_limit_makes_no_call() {
    let mut quotas = Quotas::default();
    assert!(!quotas.wants_call());
    assert_eq!(quotas.call(&me(), HORIZON), None);
}

#[test]
fn what_was_taken_ahead_is_used_without_a_call() {
    let mut quotas = Quotas::default();
    assert_eq!(take(&mut quotas, DAY, 0), Verdict::Ask);
    assert_eq!(asks(&mut quotas)[0].wants, 1);
    answer(&mut quotas, 1, 1, 86_400_000, 0);
    assert_eq!(take(&mut quotas, DAY, 10), Verdict::Taken);

    // From then on what is used is also taken ahead.
    assert_eq!(take(&mut quotas, DAY, 20), Verdict::Ask);
    assert_eq!(asks(&mut quotas)[0].wants, 2);
    answer(&mut quotas, 2, 3, 86_400_000, 20);
    assert_eq!(take(&mut quotas, DAY, 30), Verdict::Taken);
    assert_eq!(take(&mut quotas, DAY, 30), Verdict::Taken);
}

#[test]
fn of_a_small_limit_nothing_is_taken_ahead() {
    let small = Allowance::Total(5);
    let mut quotas = Quotas::default();
    quotas.members(5);
    for taken in 1..=3 {
        assert_eq!(take(&mut quotas, small, taken), Verdict::Ask);
        assert_eq!(asks(&mut quotas)[0].wants, 1);
        answer(&mut quotas, 1, taken, 0, taken);
        assert_eq!(take(&mut quotas, small, taken), Verdict::Taken);
        assert!(!quotas.wants_call());
    }
}

#[test]
fn what_is_used_up_says_when_it_is_back_and_is_asked_for_only_with_each_poll() {
    let mut quotas = Quotas::default();
    take(&mut quotas, DAY, 0);
    asks(&mut quotas);
    answer(&mut quotas, 0, 320, 60_000, 0);

    assert_eq!(take(&mut quotas, DAY, 100), Verdict::Spent(Some(ms(60_000))));
    assert!(!quotas.wants_call());
    assert_eq!(take(&mut quotas, DAY, 5_000), Verdict::Ask);
}

#[test]
fn another_limit_is_asked_about_at_once() {
    let mut quotas = Quotas::default();
    take(&mut quotas, Allowance::Total(5), 0);
    asks(&mut quotas);
    answer(&mut quotas, 0, 5, 0, 0);
    assert_eq!(take(&mut quotas, Allowance::Total(5), 1), Verdict::Spent(None));
    assert_eq!(take(&mut quotas, Allowance::Total(9), 1), Verdict::Ask);
}

#[test]
fn units_of_a_span_end_with_it() {
    let mut quotas = Quotas::default();
    take(&mut quotas, DAY, 0);
    asks(&mut quotas);
    answer(&mut quotas, 4, 4, 1_000, 0);
    assert_eq!(take(&mut quotas, DAY, 999), Verdict::Taken);
    assert_eq!(take(&mut quotas, DAY, 1_000), Verdict::Ask);
    assert_eq!(asks(&mut quotas)[0].knows, Span::default());
}

#[test]
fn bytes_that_have_passed_are_owed_and_told() {
    let budget = Allowance::Span { most: 1_000, per: Duration::from_secs(60) };
    let mut quotas = Quotas::default();
    assert!(quotas.add("k", budget, 900, ms(0)));
    assert!(!quotas.add("k", budget, 200, ms(1)));
    assert_eq!(asks(&mut quotas)[0].owes, 1_100);
    // The answer got lost: told again, at the client's expense.
    quotas.failed();
    assert_eq!(asks(&mut quotas)[0].owes, 1_100);
}

#[test]
fn a_member_that_is_cut_off_uses_what_it_has_in_hand_and_guesses_nothing() {
    let mut quotas = Quotas::default();
    take(&mut quotas, DAY, 0);
    asks(&mut quotas);
    answer(&mut quotas, 2, 2, 86_400_000, 0);
    quotas.cut_off(ms(100));

    assert_eq!(take(&mut quotas, DAY, 200), Verdict::Taken);
    assert_eq!(take(&mut quotas, DAY, 200), Verdict::Taken);
    assert_eq!(take(&mut quotas, DAY, 200), Verdict::Uncounted);
    let asked = asks(&mut quotas.clone());
    assert_eq!(asked[0].wants, 2, "as much as was used, and nothing for what was refused");
    quotas.returned();
    assert_eq!(take(&mut quotas, DAY, 300), Verdict::Ask);
}

#[test]
fn a_member_that_is_cut_off_has_its_part_of_a_rate() {
    let rate = Allowance::Rate { most: 10, per: ms(1_000) };
    let mut quotas = Quotas::default();
    quotas.members(4);
    quotas.cut_off(ms(1_000));
    assert_eq!(take(&mut quotas, rate, 1_000), Verdict::Spent(Some(ms(16_000))));
    assert_eq!(take(&mut quotas, rate, 16_000), Verdict::Taken);
    assert_eq!(take(&mut quotas, rate, 16_001), Verdict::Spent(Some(ms(16_400))));
}

#[test]
fn a_counter_that_is_removed_leaves_the_engine_too() {
    let mut quotas = Quotas::default();
    take(&mut quotas, DAY, 0);
    asks(&mut quotas);
    answer(&mut quotas, 1, 1, 86_400_000, 0);
    quotas.remove("k");
    assert_eq!(asks(&mut quotas)[0].allowance.most(), 0);
    answer(&mut quotas, 0, 0, 0, 0);
    assert!(!quotas.wants_call());
}

#[test]
fn units_of_several_counters_are_used_all_or_none() {
    let total = Allowance::Total(5);
    let unit = |name, allowance| Units { name, allowance, amount: 1 };
    let both = [unit("k/requests", total), unit("k/writes", DAY)];
    let timing = Timing::default();
    let mut quotas = Quotas::default();
    assert_eq!(quotas.take_all(&both, ms(0), &timing), Err((0, Verdict::Ask)));
    assert_eq!(quotas.next_call(), 1);
    assert_eq!(asks(&mut quotas).len(), 2);
    let answer = |granted| Counted { granted, span: Span { since: 1, taken: 1 }, left: ms(9_000) };
    quotas.counted(&[answer(1), answer(0)], ms(0), HORIZON, &timing);

    let spent = Verdict::Spent(Some(ms(9_000)));
    assert_eq!(quotas.take_all(&both, ms(1), &timing), Err((1, spent)));
    assert_eq!(quotas.take_all(&both[..1], ms(1), &timing), Ok(()), "its unit was kept");
    assert!(!quotas.wants_call(), "nothing is asked for that would be refused");
}

#[test]
fn a_look_tells_what_is_used_and_takes_nothing() {
    let mut quotas = Quotas::default();
    assert_eq!(quotas.used("k", ms(0)), None);
    quotas.look("k", DAY, ms(0));
    let asked = asks(&mut quotas);
    assert_eq!((asked[0].wants, asked[0].owes), (0, 0));
    answer(&mut quotas, 0, 7, 60_000, 0);
    assert_eq!(quotas.used("k", ms(1)), Some((7, Some(ms(60_000)))));
    assert_eq!(quotas.used("k", ms(60_000)), Some((0, None)));
    assert!(!quotas.wants_call());
}

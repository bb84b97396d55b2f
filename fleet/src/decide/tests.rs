//! One test per row of the table.

use proptest::prelude::*;

use super::*;

const LATE: Duration = Duration::from_secs(1_000);

fn fence(number: u64) -> Fence {
    Fence::new(number).unwrap()
}

fn pair(generation: u64) -> Candidate {
    Candidate { generation: fence(generation), is_refreshable: true }
}

fn used_up(generation: u64) -> Candidate {
    Candidate { generation: fence(generation), is_refreshable: false }
}

fn intent(spends: Spend, by: &str) -> OpenIntent {
    let (by, over) = (Some(Incarnation::named(by)), Duration::ZERO);
    OpenIntent { fence: fence(90), spends: Some(spends), by, over }
}

/// A login of epoch 10 whose pair of generation 20 is due and has a refresh token.
struct Case {
    view: View<'static>,
}

fn case() -> Case {
    let mine: &'static BTreeSet<_> = Box::leak(Box::new([Incarnation::named("me")].into()));
    let attempts = Attempts { epoch: fence(10), tries: 1, ..Attempts::default() };
    Case {
        view: View {
            now: Duration::from_secs(500),
            mine,
            is_locked: false,
            epoch: fence(10),
            is_logged_out: false,
            record: Some(pair(20)),
            serves: fence(20),
            spares: vec![],
            intents: &[],
            refused: Box::leak(Box::default()),
            attempts: Some((fence(10), attempts)),
            is_password_refused: false,
            has_password: true,
            due: Duration::from_secs(400),
            patience: LATE,
        },
    }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut View<'static>)) -> Self {
        change(&mut self.view);
        self
    }

    fn refused(self, generations: &[u64]) -> Self {
        let refused = generations.iter().map(|number| fence(*number)).collect();
        self.with(|view| view.refused = Box::leak(Box::new(refused)))
    }

    fn spares(self, spares: &[Candidate]) -> Self {
        self.with(|view| view.spares = spares.to_vec())
    }

    fn intents(self, intents: &[OpenIntent]) -> Self {
        self.with(|view| view.intents = intents.to_vec().leak())
    }

    fn attempts(self, under: u64, attempts: Attempts) -> Self {
        self.with(|view| view.attempts = Some((fence(under), attempts)))
    }

    #[track_caller]
    fn is(self, decision: Decision) {
        assert_eq!(decide(&self.view), decision);
    }
}

#[test]
fn a_locked_or_logged_out_fleet_rests() {
    case().with(|view| view.is_locked = true).is(Decision::Rest);
    case().with(|view| view.is_logged_out = true).is(Decision::Rest);
}

#[test]
fn a_newer_pair_is_adopted_even_if_it_is_due() {
    case().with(|view| view.serves = fence(19)).is(Decision::Adopt);
}

#[test]
fn a_pair_that_is_not_due_is_left_alone() {
    case().with(|view| view.due = LATE).is(Decision::Rest);
}

#[test]
fn the_refresh_token_of_the_record_is_next() {
    case().spares(&[pair(30)]).is(Decision::Refresh(fence(20)));
}

#[test]
fn another_members_open_intent_is_waited_for_until_patience_ends() {
    let others = [intent(Spend::Refresh(fence(20)), "other")];
    case().intents(&others).is(Decision::Wait(LATE));
    case().intents(&others).with(|view| view.now = LATE).is(Decision::Refresh(fence(20)));
    // Its request may be out, whatever time the engine thinks that it is.
    let over = LATE + Duration::from_secs(60);
    let fresh = [OpenIntent { over, ..others[0].clone() }];
    case().intents(&fresh).with(|view| view.now = LATE).is(Decision::Wait(over));
    case().intents(&fresh).with(|view| view.now = over).is(Decision::Refresh(fence(20)));
}

#[test]
fn an_intent_that_does_not_open_is_waited_for() {
    let damaged = OpenIntent { spends: None, by: None, ..intent(Spend::Password, "") };
    case().intents(&[damaged]).is(Decision::Wait(LATE));
}

#[test]
fn my_own_open_intent_and_one_on_another_pair_are_not_waited_for() {
    let own = intent(Spend::Refresh(fence(20)), "me");
    let on_another = intent(Spend::Refresh(fence(19)), "other");
    case().intents(&[own, on_another]).is(Decision::Refresh(fence(20)));
}

#[test]
fn spares_follow_a_refused_token_newest_first_and_once_each() {
    let spares = [pair(15), pair(18), used_up(19)];
    case().refused(&[20]).spares(&spares).is(Decision::Spare(fence(18)));
    case().refused(&[20, 18]).spares(&spares).is(Decision::Spare(fence(15)));
    case().refused(&[20, 18, 15]).spares(&spares).is(Decision::Password);
}

#[test]
fn a_spare_of_an_older_epoch_is_dead() {
    case().refused(&[20]).spares(&[pair(9)]).is(Decision::Password);
}

#[test]
fn a_generation_that_another_member_saw_refused_is_not_tried_again() {
    let attempts = Attempts { epoch: fence(10), dead: fence(20), ..Attempts::default() };
    case().attempts(21, attempts).is(Decision::Password);
}

#[test]
fn a_login_by_another_member_is_waited_for() {
    let others = [intent(Spend::Password, "other")];
    case().refused(&[20]).intents(&others).is(Decision::Wait(LATE));
    case().refused(&[20]).intents(&others).with(|view| view.now = LATE).is(Decision::Password);
}

#[test]
fn lost_attempts_count_as_spent() {
    case()
        .refused(&[20])
        .with(|view| view.attempts = None)
        .is(Decision::Blocked(Block::AttemptsLost));
}

#[test]
fn a_new_fleet_may_log_in() {
    let new = |view: &mut View<'_>| {
        view.epoch = Fence::ZERO;
        view.record = None;
        view.attempts = None;
        view.serves = Fence::ZERO;
    };
    case().with(new).is(Decision::Password);
}

#[test]
fn a_refused_password_is_tried_by_no_member_again() {
    let refused = Attempts { epoch: fence(10), tries: 1, refused: true, dead: Fence::ZERO };
    case().refused(&[20]).attempts(21, refused).is(Decision::Blocked(Block::PasswordSpent));
}

#[test]
fn a_later_pair_does_not_take_a_refusal_back() {
    let refused = Attempts { epoch: fence(10), tries: 1, refused: true, dead: Fence::ZERO };
    let blocked = Decision::Blocked(Block::PasswordSpent);
    // The pair of generation 20 came of a refresh token that was out when the password was refused.
    case().refused(&[20]).attempts(15, refused).is(blocked);
    let of_an_older_epoch = Attempts { epoch: fence(9), ..refused };
    case().refused(&[20]).attempts(15, of_an_older_epoch).is(Decision::Password);
}

#[test]
fn a_refusal_that_only_this_member_knows_of_counts() {
    let blocked = Decision::Blocked(Block::PasswordSpent);
    case().refused(&[20]).with(|view| view.is_password_refused = true).is(blocked);
    case().with(|view| view.is_password_refused = true).is(Decision::Refresh(fence(20)));
}

#[test]
fn tries_without_an_answer_are_bounded_in_an_epoch() {
    let tries = |tries| Attempts { epoch: fence(10), tries, ..Attempts::default() };
    case().refused(&[20]).attempts(21, tries(2)).is(Decision::Password);
    case().refused(&[20]).attempts(21, tries(3)).is(Decision::Blocked(Block::PasswordSpent));
}

#[test]
fn a_new_epoch_or_a_pair_that_came_of_the_try_counts_anew() {
    let spent = Attempts { epoch: fence(10), tries: 3, ..Attempts::default() };
    case().refused(&[20]).attempts(20, spent).is(Decision::Password);
    let of_an_older_epoch = Attempts { epoch: fence(9), ..spent };
    case().refused(&[20]).attempts(21, of_an_older_epoch).is(Decision::Password);
}

#[test]
fn without_a_password_a_person_is_needed() {
    let blocked = Decision::Blocked(Block::NoPassword);
    case().refused(&[20]).with(|view| view.has_password = false).is(blocked);
}

#[test]
fn a_pair_of_an_older_epoch_is_not_refreshed() {
    case()
        .with(|view| view.epoch = fence(21))
        .attempts(21, Attempts { epoch: fence(21), ..Attempts::default() })
        .is(Decision::Password);
}

proptest! {
    /// Nothing that was refused is spent again, and nothing at all before it is due.
    #[test]
    fn no_view_spends_what_it_must_not(
        record in proptest::option::of(1_u64..40),
        spares in proptest::collection::vec(1_u64..40, 0..4),
        refused in proptest::collection::vec(1_u64..40, 0..6),
        epoch in 0_u64..40, serves in 0_u64..40, due in 0_u64..1_000, tries in 0_u32..5,
        was_refused: bool, is_locked: bool, has_password: bool,
    ) {
        let spares: Vec<_> = spares.into_iter().map(pair).collect();
        let attempts = Attempts { epoch: fence(epoch), tries, refused: was_refused, dead: fence(39) };
        let case = case().refused(&refused).spares(&spares).attempts(41, attempts).with(|view| {
            view.record = record.map(pair);
            view.epoch = fence(epoch);
            view.serves = fence(serves);
            view.due = Duration::from_secs(due);
            view.is_locked = is_locked;
            view.has_password = has_password;
        });
        let decision = decide(&case.view);
        let (Decision::Refresh(spent) | Decision::Spare(spent)) = decision else {
            let is_password = decision == Decision::Password;
            prop_assert!(!is_password || (!was_refused && tries < MAX_TRIES && has_password));
            prop_assert!(!is_password || (due <= 500 && !is_locked));
            return Ok(());
        };
        prop_assert!(!refused.contains(&spent.number()) && spent != fence(39));
        prop_assert!(spent >= fence(epoch) && due <= 500 && !is_locked);
    }
}

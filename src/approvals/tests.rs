//! The life of a call that waits.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::clock::ManualClock;

#[test]
fn after_a_yes_the_same_call_goes_through_once() {
    let (approvals, _hand) = stage();
    let delete = call();
    let mut first = pin!(approvals.wait(&delete));
    assert!(poll(first.as_mut()).is_pending());
    let id = only_id(&approvals);

    decide(&approvals, &id, ONCE).unwrap();

    assert_eq!(poll(first), Poll::Ready(Ok(Some(id.as_str().into()))));
    // The yes is used up: the next one is asked about anew.
    assert!(poll(pin!(approvals.wait(&call()))).is_pending());
    assert_ne!(only_id(&approvals), id);
}

#[test]
fn another_call_is_not_the_one_that_was_approved() {
    let (approvals, hand) = stage();
    for other in [
        Call { caller: Caller::client("2", "bot".into()), ..call() },
        Call { caller: Caller::anonymous(Some(1)), ..call() },
        Call { origin: "https://reports.nexudus.com", ..call() },
        Call { method: "POST", ..call() },
        Call { target: "/api/spaces/coworkers/1?x=1", ..call() },
        Call { target: "/api/spaces/coworkers/1?", ..call() },
        Call { body: b"{}", ..call() },
        Call { content_types: vec![b"application/json"], ..call() },
        Call { content_encodings: vec![b"gzip"], ..call() },
    ] {
        assert!(poll(pin!(approvals.wait(&call()))).is_pending());
        decide(&approvals, &only_id(&approvals), ONCE).unwrap();

        assert!(poll(pin!(approvals.wait(&other))).is_pending(), "{other:?}");

        assert!(matches!(poll(pin!(approvals.wait(&call()))), Poll::Ready(Ok(Some(_)))));
        decide(&approvals, &only_id(&approvals), Decision::Deny).unwrap();
        hand.advance(2 * TIMEOUT);
    }
}

#[tokio::test]
async fn a_call_is_held_and_then_told_that_it_waits() {
    let (approvals, hand) = stage();
    let delete = call();
    let mut held = pin!(approvals.wait(&delete));
    assert!(poll(held.as_mut()).is_pending());

    hand.advance(HOLD);

    let id = only_id(&approvals);
    let Err(Error::Pending { id: told, is_async: false }) = held.await else { panic!("a verdict") };
    assert_eq!(*told, id);
    let asynchronous = Call { prefers_async: true, ..call() };
    let Err(Error::Pending { id: told, is_async: true }) = approvals.wait(&asynchronous).await
    else {
        panic!("a verdict")
    };
    assert_eq!(*told, id, "the same call waits once");
}

#[test]
fn a_no_and_silence_last_for_a_while() {
    let (approvals, hand) = stage();
    let verdict = || poll(pin!(approvals.wait(&call())));
    assert!(verdict().is_pending());
    let id = only_id(&approvals);
    decide(&approvals, &id, Decision::Deny).unwrap();
    let denied = Error::Denied { id: id.as_str().into() };
    assert_eq!(verdict(), Poll::Ready(Err(denied)));

    hand.advance(TIMEOUT);
    assert!(verdict().is_pending(), "asked anew");
    hand.advance(TIMEOUT);
    assert!(matches!(verdict(), Poll::Ready(Err(Error::Late { .. }))));

    hand.advance(TIMEOUT);
    assert!(verdict().is_pending(), "asked anew");
}

#[test]
fn a_call_that_was_refused_is_approved_only_once_it_is_shown_again() {
    let (approvals, hand) = stage();
    let sent = || poll(pin!(approvals.wait(&call())));
    assert!(sent().is_pending());
    let denied = only_id(&approvals);
    decide(&approvals, &denied, Decision::Deny).unwrap();
    assert!(matches!(decide(&approvals, &denied, ONCE), Err(Error::Missing { .. })));

    hand.advance(TIMEOUT);
    assert!(sent().is_pending());
    let late = only_id(&approvals);
    hand.advance(TIMEOUT);
    assert!(matches!(decide(&approvals, &late, ONCE), Err(Error::Missing { .. })));
    assert!(matches!(sent(), Poll::Ready(Err(Error::Late { .. }))));
}

#[test]
fn a_call_that_names_its_records_unclearly_says_so() {
    let (approvals, _hand) = stage();
    let body = br#"{"Id":66}"#;
    assert!(poll(pin!(approvals.wait(&Call { body, ..call() }))).is_pending());

    let record = approvals.show(&only_id(&approvals)).unwrap();

    assert_eq!((record.subject, record.name), (None, None));
    assert!(record.name_error.unwrap().contains("read all of it"));
}

#[test]
fn a_yes_that_is_not_used_in_time_is_void() {
    let (approvals, hand) = stage();
    assert!(poll(pin!(approvals.wait(&call()))).is_pending());
    decide(&approvals, &only_id(&approvals), ONCE).unwrap();

    hand.advance(TIMEOUT);

    assert!(poll(pin!(approvals.wait(&call()))).is_pending());
    assert_eq!(approvals.list().calls[0].phase, ApprovalPhase::Waiting);
}

#[test]
fn a_client_has_five_calls_that_wait_and_takes_none_from_others() {
    let (approvals, _hand) = stage();
    let targets: Vec<_> = (0..6).map(|number| format!("/api/spaces/coworkers/{number}")).collect();
    for target in &targets[..5] {
        assert!(poll(pin!(approvals.wait(&Call { target, ..call() }))).is_pending());
    }

    let sixth = Call { target: &targets[5], ..call() };
    assert_eq!(poll(pin!(approvals.wait(&sixth))), Poll::Ready(Err(Error::TooMany { most: 5 })));

    let other = Call { caller: Caller::client("2", "other".into()), ..call() };
    assert!(poll(pin!(approvals.wait(&other))).is_pending());
}

#[test]
fn a_rule_can_be_permitted_for_a_while() {
    let (approvals, hand) = stage();
    let minutes = Duration::from_secs(300);
    assert!(poll(pin!(approvals.wait(&call()))).is_pending());
    let by_rule = Decision::Approve { during: Some(minutes), by_rule: true };
    decide(&approvals, &only_id(&approvals), by_rule).unwrap();

    let another = Call { target: "/api/spaces/coworkers/2", ..call() };
    assert_eq!(poll(pin!(approvals.wait(&another))), Poll::Ready(Ok(None)));
    let rules = vec!["DELETE /**".to_owned(), "* /api/spaces/**".to_owned()];
    let strict = Call { rules, target: "/api/spaces/coworkers/3", ..call() };
    assert!(poll(pin!(approvals.wait(&strict))).is_pending(), "another rule asks as well");
    let other = Call { caller: Caller::client("2", "other".into()), ..another.clone() };
    assert!(poll(pin!(approvals.wait(&other))).is_pending());

    hand.advance(minutes);
    assert!(poll(pin!(approvals.wait(&another))).is_pending());
}

#[test]
fn a_standing_permission_can_be_ended() {
    let (approvals, _hand) = stage();
    assert!(poll(pin!(approvals.wait(&call()))).is_pending());
    let id = only_id(&approvals);
    let during = Some(Duration::from_secs(60));
    decide(&approvals, &id, Decision::Approve { during, by_rule: true }).unwrap();
    assert_eq!(approvals.list().standing[0].rule, "DELETE /**");

    decide(&approvals, &id, Decision::Deny).unwrap();

    assert_eq!(approvals.list().standing, []);
    assert!(matches!(poll(pin!(approvals.wait(&call()))), Poll::Ready(Err(Error::Denied { .. }))));
    let long = Decision::Approve { during: Some(2 * MAX_STANDING), by_rule: true };
    assert_eq!(decide(&approvals, &id, long), Err(Error::TooLong { most: MAX_STANDING }));
    assert!(matches!(decide(&approvals, "nothing", ONCE), Err(Error::Missing { .. })));
}

#[test]
fn a_body_is_shown_byte_for_byte() {
    let (approvals, _hand) = stage();
    for (body, text, base64) in [
        (&b"{\"a\":\"\\u202e\"}\x1b"[..], Some("{\"a\":\"\\u202e\"}\u{1b}"), None),
        (&[0xff, 0], None, Some("/wA=")),
    ] {
        assert!(poll(pin!(approvals.wait(&Call { body, ..call() }))).is_pending());
        let shown = approvals.show(&only_id(&approvals)).unwrap();
        assert_eq!(shown.body_bytes, body.len());
        assert_eq!((shown.body.as_deref(), shown.body_base64.as_deref()), (text, base64));
        decide(&approvals, &shown.id, ONCE).unwrap();
        assert!(poll(pin!(approvals.wait(&Call { body, ..call() }))).is_ready());
    }
}

#[test]
fn where_there_is_nobody_to_ask_no_call_waits() {
    let (clock, _hand) = Clock::manual();
    let approvals = Approvals::new(limits(), false, clock);

    let verdict = poll(pin!(approvals.wait(&call())));

    assert_eq!(verdict, Poll::Ready(Err(Error::Unattended)));
    assert_eq!(approvals.list(), WaitingCalls::default());
}

#[test]
fn a_daemon_that_stops_holds_no_call() {
    let (approvals, _hand) = stage();
    let call = call();
    let mut held = pin!(approvals.wait(&call));
    assert!(poll(held.as_mut()).is_pending());

    approvals.close();

    assert!(matches!(poll(held), Poll::Ready(Err(Error::Pending { .. }))));
}

const HOLD: Duration = Duration::from_secs(25);
const TIMEOUT: Duration = Duration::from_secs(600);
const ONCE: Decision = Decision::Approve { during: None, by_rule: false };

fn limits() -> config::Approval {
    config::Approval { hold: HOLD, timeout: TIMEOUT }
}

fn decide(approvals: &Approvals, id: &str, decision: Decision) -> Result<ApprovalRecord, Error> {
    approvals.decide(id, decision, |_| {})
}

fn stage() -> (Approvals, ManualClock) {
    let (clock, hand) = Clock::manual();
    (Approvals::new(limits(), true, clock), hand)
}

fn call() -> Call<'static> {
    Call {
        caller: Caller::client("1", "bot".into()),
        origin: "https://spaces.nexudus.com",
        method: "DELETE",
        target: "/api/spaces/coworkers/1",
        content_types: vec![],
        content_encodings: vec![],
        body: b"",
        rules: vec!["DELETE /**".to_owned()],
        prefers_async: false,
    }
}

fn only_id(approvals: &Approvals) -> String {
    let calls = approvals.list().calls;
    let waiting: Vec<_> = calls
        .iter()
        .filter(|it| it.phase == ApprovalPhase::Waiting)
        .map(|it| it.id.clone())
        .collect();
    assert_eq!(waiting.len(), 1, "{calls:?}");
    waiting[0].clone()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

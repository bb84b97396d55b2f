//! Logins: each refusal has its own end, and no account is ever locked by us.

use super::*;

#[tokio::test]
async fn a_refused_password_is_not_tried_again_until_it_changes() {
    let world = World::with_file();
    world.answer(Err(Failure::Refused));
    let session = world.daemon();
    assert_eq!(session.ready(Body::Replayable).await, Err(Error::Refused(Origin::Memory)));

    for _ in 0..10 {
        session.credentials_changed().await;
        assert_eq!(session.refresh().await, Err(Error::Refused(Origin::Memory)));
        world.hand.advance(secs(10_000));
        let restarted = world.daemon();
        assert_eq!(restarted.ready(Body::Replayable).await, Err(Error::Refused(Origin::Memory)));
    }

    assert_eq!(world.grants(), ["password p"]);
    assert_eq!(session.view().state, Word::Refused);
    let repaired = world.daemon_with(login("new"));
    assert_eq!(repaired.ready(Body::Replayable).await, Ok(()));
}

#[tokio::test]
async fn an_unclear_answer_to_a_password_is_tried_three_times_then_rarely() {
    let world = World::with_file();
    let mut tries = Vec::new();
    let mut session = world.daemon();
    for second in 0..2_000 {
        world.answer_if_none(Err(Failure::Unclear(Cause::new("500"))));
        settle_flight(&session).await;
        if tries.len() < world.grants().len() {
            tries.push(second);
        }
        // Restarted all the time, as systemd does it.
        if second % 7 == 0 {
            session = world.daemon();
            settle_flight(&session).await;
        }
        if tries.len() < world.grants().len() {
            tries.push(second);
        }
        world.hand.advance(secs(1));
    }
    assert_eq!(tries.len(), 5, "{tries:?}");
    assert!(tries[1] - tries[0] >= 5 && tries[2] - tries[1] >= 5, "{tries:?}");
    assert!(tries[3] - tries[2] >= 900 && tries[4] - tries[3] >= 900, "{tries:?}");
}

#[tokio::test]
async fn each_refusal_has_its_own_words() {
    for (failure, error) in [
        (Failure::TotpRequired, Error::TotpRequired { origin: Origin::Memory, cause: None }),
        (Failure::PasswordReset, Error::PasswordReset(Origin::Memory)),
        (Failure::Refused, Error::Refused(Origin::Memory)),
    ] {
        let world = World::new();
        world.answer(Err(failure));
        let session = world.daemon();

        assert_eq!(session.ready(Body::Replayable).await, Err(error.clone()));

        assert_eq!(session.view().error.as_ref().unwrap().code, error.code());
        assert_eq!(session.view().advice.as_deref(), Some(&*error.hint()));
        world.hand.advance(secs(100_000));
        settle().await;
        assert_eq!(world.grants().len(), 1);
    }
}

#[tokio::test]
async fn a_typed_code_is_offered_once() {
    let world = World::with_file();
    let typed = with_factor(SecondFactor::Code(Secret::new("123456")));
    let session = world.daemon_with(typed.clone());
    session.ready(Body::Replayable).await.unwrap();
    assert_eq!(world.grants(), ["password p 123456"]);
    session.forget().await;

    let restarted = world.daemon_with(typed);

    let error = restarted.ready(Body::Replayable).await.unwrap_err();
    assert_eq!(error.code(), "session.totp-required");
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn a_stored_secret_makes_a_code_for_each_login_and_never_the_same_twice() {
    let world = World::with_file();
    let shared = with_factor(SecondFactor::Shared(Secret::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")));
    let session = world.daemon_with(shared.clone());
    session.ready(Body::Replayable).await.unwrap();
    session.forget().await;

    let restarted = world.daemon_with(shared);
    seen(&restarted, |view| view.error.is_some()).await;
    assert_eq!(world.grants().len(), 1);
    let waits = restarted.bearer().unwrap_err();
    assert!(matches!(waits, Error::NextCode { retry_after } if retry_after <= secs(30)));
    world.hand.advance(secs(30));
    seen(&restarted, |view| view.state == Word::Ready).await;

    let grants = world.grants();
    assert!(grants.iter().all(|grant| grant.len() == "password p 123456".len()), "{grants:?}");
    assert_ne!(grants[0], grants[1]);
}

#[tokio::test]
async fn a_rejected_code_is_not_tried_again() {
    let world = World::new();
    world.answer(Err(Failure::Refused));
    let session = world.daemon_with(with_factor(SecondFactor::Code(Secret::new("123456"))));

    let error = session.ready(Body::Replayable).await.unwrap_err();

    assert_eq!(error.code(), "session.totp-required");
    world.hand.advance(secs(100_000));
    settle().await;
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn nobody_has_logged_in() {
    let world = World::new();
    let session = world.daemon_of(Credentials::memory(None));

    assert_eq!(session.ready(Body::Replayable).await, Err(Error::NotLoggedIn(None)));
    assert_eq!(session.bearer().unwrap_err(), Error::NotLoggedIn(None));
    assert_eq!(session.view().state, Word::NotLoggedIn);
    assert!(world.grants().is_empty());
}

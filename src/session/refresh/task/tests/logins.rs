//! Logins: each refusal has its own end, and no account is ever locked by us.

use super::*;

#[tokio::test]
async fn a_refused_password_is_not_tried_again_until_it_changes() {
    let world = World::with_file();
    world.answer(Err(TokenError::Refused));
    let session = world.daemon();
    assert_eq!(
        session.wait_ready(BodyKind::Replayable).await,
        Err(Error::Refused { origin: CredentialSource::Memory, auth: UpstreamAuth::Bearer })
    );

    for _ in 0..10 {
        session.credentials_changed().await;
        assert_eq!(
            session.refresh().await,
            Err(Error::Refused { origin: CredentialSource::Memory, auth: UpstreamAuth::Bearer })
        );
        world.hand.advance(secs(10_000));
        let restarted = world.daemon();
        assert_eq!(
            restarted.wait_ready(BodyKind::Replayable).await,
            Err(Error::Refused { origin: CredentialSource::Memory, auth: UpstreamAuth::Bearer })
        );
    }

    assert_eq!(world.grants(), ["password p"]);
    assert_eq!(session.status().state, SessionState::Refused);
    let repaired = world.daemon_with(login("new"));
    assert_eq!(repaired.wait_ready(BodyKind::Replayable).await, Ok(()));
}

#[tokio::test]
async fn an_unclear_answer_to_a_password_is_tried_three_times_then_rarely() {
    let world = World::with_file();
    let mut tries = Vec::new();
    let mut session = world.daemon();
    for second in 0..2_000 {
        world.answer_if_none(Err(TokenError::Ambiguous(Cause::new("500"))));
        settle_flight(&session).await;
        if tries.len() < world.grants().len() {
            tries.push(second);
        }
        // Restarted again and again, as systemd does.
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
        (
            TokenError::TotpRequired,
            Error::TotpRequired { origin: CredentialSource::Memory, cause: None },
        ),
        (TokenError::PasswordReset, Error::PasswordReset(CredentialSource::Memory)),
        (
            TokenError::Refused,
            Error::Refused { origin: CredentialSource::Memory, auth: UpstreamAuth::Bearer },
        ),
    ] {
        let world = World::new();
        world.answer(Err(failure));
        let session = world.daemon();

        assert_eq!(session.wait_ready(BodyKind::Replayable).await, Err(error.clone()));

        assert_eq!(session.status().error.as_ref().unwrap().code, error.code());
        assert_eq!(session.status().advice.as_deref(), Some(&*error.hint()));
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
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    assert_eq!(world.grants(), ["password p 123456"]);
    session.log_out().await;

    let restarted = world.daemon_with(typed);

    let error = restarted.wait_ready(BodyKind::Replayable).await.unwrap_err();
    assert_eq!(error.code(), "session.totp-required");
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn a_stored_secret_makes_a_code_for_each_login_and_never_the_same_twice() {
    let world = World::with_file();
    let shared = with_factor(SecondFactor::Shared(Secret::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")));
    let session = world.daemon_with(shared.clone());
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    session.log_out().await;

    let restarted = world.daemon_with(shared);
    seen(&restarted, |view| view.error.is_some()).await;
    assert_eq!(world.grants().len(), 1);
    let waits = restarted.bearer().unwrap_err();
    assert!(matches!(waits, Error::NextCode { retry_after } if retry_after <= secs(30)));
    world.hand.advance(secs(30));
    seen(&restarted, |view| view.state == SessionState::Ready).await;

    let grants = world.grants();
    assert!(grants.iter().all(|grant| grant.len() == "password p 123456".len()), "{grants:?}");
    assert_ne!(grants[0], grants[1]);
}

#[tokio::test]
async fn a_rejected_code_is_not_tried_again() {
    let world = World::new();
    world.answer(Err(TokenError::Refused));
    let session = world.daemon_with(with_factor(SecondFactor::Code(Secret::new("123456"))));

    let error = session.wait_ready(BodyKind::Replayable).await.unwrap_err();

    assert_eq!(error.code(), "session.totp-required");
    world.hand.advance(secs(100_000));
    settle().await;
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn nobody_has_logged_in() {
    let world = World::new();
    let session = world.daemon_of(Credentials::in_memory(None));

    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Err(Error::NotLoggedIn(None)));
    assert_eq!(session.bearer().unwrap_err(), Error::NotLoggedIn(None));
    assert_eq!(session.status().state, SessionState::NotLoggedIn);
    assert!(world.grants().is_empty());
}

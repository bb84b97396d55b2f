//! The pair at rest: a restart resumes, and no step at which we can be killed loses the chain.

use super::*;
use crate::config::Origin;

#[tokio::test]
async fn a_restart_resumes_without_asking() {
    let world = World::with_file();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(session).await;
    world.hand.advance(secs(40));

    let restarted = world.daemon();
    assert_eq!(restarted.wait_ready(BodyKind::Replayable).await, Ok(()));

    let view = restarted.status();
    assert_eq!((view.age, view.expires_in), (Some(secs(40)), Some(secs(60))));
    assert_eq!((view.generation, view.store.kind.as_ref()), (1, "file"));
    assert_eq!(view.account.as_deref(), Some("ada@example.test"));
    assert_eq!(world.grants(), ["password p"]);
}

#[tokio::test]
async fn a_restart_after_the_tokens_end_refreshes() {
    let world = World::with_file();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(session).await;
    world.hand.advance(secs(5_000));

    assert_eq!(world.daemon().wait_ready(BodyKind::Replayable).await, Ok(()));

    assert_eq!(world.grants(), ["password p", "refresh r1"]);
    let ids = world.client_ids();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_refused_refresh_token_falls_back_to_the_password_once() {
    let world = World::with_file();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    world.answer(Err(TokenError::Refused));

    session.refresh().await.unwrap();

    assert_eq!(world.grants(), ["password p", "refresh r1", "password p"]);
    let ids = world.client_ids();
    assert_eq!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_lost_reply_costs_one_password_login() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    world.answer(Err(TokenError::Ambiguous(Cause::new("lost"))));
    world.answer(Err(TokenError::Refused));
    world.hand.advance(secs(80));
    seen(&session, |view| view.error.is_some()).await;

    world.hand.advance(secs(1));
    seen(&session, |view| view.generation == 2).await;

    assert_eq!(world.grants(), ["password p", "refresh r1", "refresh r1", "password p"]);
}

#[tokio::test]
async fn a_session_without_a_password_lapses() {
    let world = World::with_file();
    let first = world.daemon();
    first.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(first).await;
    world.hand.advance(secs(5_000));
    world.answer(Err(TokenError::Refused));

    let session = world.daemon_of(Credentials::in_memory(None));

    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Err(Error::Expired));
    assert_eq!(session.status().state, SessionState::Expired);
    let grants = world.grants().len();
    world.hand.advance(secs(100_000));
    settle().await;
    assert_eq!(world.grants().len(), grants);
}

#[tokio::test]
async fn a_refresh_token_past_its_time_is_offered_only_without_a_password() {
    let world = World::with_file();
    let first = world.daemon();
    first.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(first).await;
    world.hand.advance(secs(16 * 24 * 60 * 60));

    let second = world.daemon();
    assert_eq!(second.wait_ready(BodyKind::Replayable).await, Ok(()));
    retire(second).await;
    assert_eq!(world.grants(), ["password p", "password p"]);

    world.hand.advance(secs(16 * 24 * 60 * 60));
    let without = world.daemon_of(Credentials::in_memory(None));
    assert_eq!(without.wait_ready(BodyKind::Replayable).await, Ok(()));
    assert_eq!(world.grants().last().unwrap(), "refresh r2");
}

#[tokio::test]
async fn the_session_of_another_account_is_not_resumed() {
    let world = World::with_file();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(session).await;

    let other = Login { email: "bob@example.test".into(), ..login("b") };
    let session = world.daemon_with(other);
    session.wait_ready(BodyKind::Replayable).await.unwrap();

    assert_eq!(session.status().account.as_deref(), Some("bob@example.test"));
    assert_eq!(world.grants(), ["password p", "password b"]);
    let ids = world.client_ids();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn once_a_login_is_told_of_no_request_is_sent_as_another_account() {
    let world = World::with_file();
    logged_in(&world, "bob@example.test", 7).await;
    let session = world.daemon_of(Credentials::in_memory(None));
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    assert_eq!(session.status().account.as_deref(), Some("bob@example.test"));

    logged_in(&world, "ada@example.test", 8).await;
    session.credentials_changed().await;

    assert_eq!(session.bearer().unwrap().header(), "Bearer a8");
    assert_eq!(session.status().account.as_deref(), Some("ada@example.test"));
}

/// Keeps a session as `login --session-only` does.
async fn logged_in(world: &World, email: &str, number: u64) {
    let (no_login, clock) = (Credentials::in_memory(None), world.clock.clone());
    let origin = Origin::parse(world.origin).unwrap();
    let visit =
        OfflineSession::open(&world.config, &origin, &world.directory(), &no_login, clock).await;
    visit.unwrap().save(issued(number, 100), Some(email), "id").await.unwrap();
}

#[tokio::test]
async fn twelve_who_share_a_session_refresh_it_once() {
    let world = World::with_file();
    let _first = world.settled_daemon().await;
    let sessions: Vec<_> = (0..12).map(|_| world.daemon()).collect();
    for session in &sessions {
        session.wait_ready(BodyKind::Replayable).await.unwrap();
    }

    let refreshes: Vec<_> = sessions
        .iter()
        .map(|session| {
            let session = session.clone();
            tokio::spawn(async move { session.refresh().await })
        })
        .collect();
    for refresh in refreshes {
        assert_eq!(refresh.await.unwrap(), Ok(()));
    }

    assert!(sessions.iter().all(|session| session.status().generation == 2));
    assert_eq!(world.grants(), ["password p", "refresh r1"]);
    sessions[3].refresh().await.unwrap();
    assert_eq!(world.grants().last().unwrap(), "refresh r2", "the chain lives");
}

#[tokio::test]
async fn forgotten_stays_so_until_the_login_changes() {
    let world = World::with_file();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();

    session.log_out().await;

    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Err(Error::NotLoggedIn(None)));
    assert_eq!(session.refresh().await, Err(Error::NotLoggedIn(None)));
    assert!(!world.directory().join("session.sealed").exists());
    world.hand.advance(secs(10_000));
    settle().await;
    assert_eq!(world.grants().len(), 1);
    session.credentials_changed().await;
    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));
}

#[tokio::test]
async fn locked_is_locked_across_restarts_and_unlocked_resumes() {
    let world = World::with_file();
    let session = world.settled_daemon().await;

    session.lock().await;

    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Err(Error::Locked));
    let restarted = world.daemon();
    seen(&restarted, |view| view.state == SessionState::Locked).await;
    assert_eq!(restarted.wait_ready(BodyKind::Replayable).await, Err(Error::Locked));
    restarted.unlock().await;
    assert_eq!(restarted.wait_ready(BodyKind::Replayable).await, Ok(()));
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn logins_and_renewals_count_and_a_resumed_session_does_not() {
    let world = World::with_file();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    session.refresh().await.unwrap();
    assert_eq!(session.status().renewals, 2);
    retire(session).await;

    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();

    assert_eq!((session.status().renewals, session.status().generation), (0, 2));
}

#[tokio::test]
async fn the_session_task_ends_with_its_last_handle() {
    let world = World::new();
    let (session, task) = world.session(Credentials::in_memory(None));
    let running = tokio::spawn(task.run());
    let second = session.clone();
    drop(session);
    settle().await;
    assert!(!running.is_finished());

    drop(second);

    running.await.unwrap();
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_secret() {
    let world = World::with_file();
    let session = world.daemon_with(login("hunter2"));
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    settled(&session).await;

    let shown = format!(
        "{session:?} {:?} {:?} {}",
        session.bearer(),
        session.status(),
        serde_json::to_string(&*session.status()).unwrap()
    );

    for secret in ["hunter2", "Bearer a1", "\"a1\"", "\"r1\""] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

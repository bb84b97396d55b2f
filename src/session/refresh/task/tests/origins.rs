//! A session belongs to the origin that issued it, and to the last login: nothing of it is offered
//! anywhere else, and nothing older comes back.

use super::*;
use crate::config::Origin;
use crate::credentials::CredentialSource as Source;

const B: &str = "https://b.example";

#[tokio::test]
async fn another_origin_gets_neither_token_and_the_first_one_finds_its_own_again() {
    let mut world = World::with_file();
    let a = world.daemon();
    a.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(a).await;

    world.origin = B;
    let b = world.daemon_of(Credentials::in_memory(None));
    let error = b.wait_ready(BodyKind::Replayable).await.unwrap_err();
    assert_eq!(error.code(), "session.not-logged-in");
    let view = b.status();
    let trouble = view.error.as_ref().unwrap();
    assert_eq!(
        trouble.cause.as_deref(),
        Some("the stored login is for https://spaces.nexudus.com, not for https://b.example")
    );
    assert_eq!(
        trouble.hint,
        "Run `nexudus-proxy login` to log in to https://b.example as well, or set upstream.origin back \
         to https://spaces.nexudus.com: that login is kept."
    );
    assert!(b.bearer().is_err());
    retire(b).await;
    assert_eq!(world.grants(), ["password p"]);

    // The second origin has a login of its own, and so a session and a client id of its own.
    let b = world.daemon();
    b.wait_ready(BodyKind::Replayable).await.unwrap();
    retire(b).await;
    assert_eq!(world.grants(), ["password p", "password p"]);
    let ids = world.client_ids();
    assert_ne!(ids[0], ids[1]);

    for (origin, token) in [(NEXUDUS, "Bearer a1"), (B, "Bearer a2"), (NEXUDUS, "Bearer a1")] {
        world.origin = origin;
        let session = world.daemon_of(Credentials::in_memory(None));
        session.wait_ready(BodyKind::Replayable).await.unwrap();
        assert_eq!(session.bearer().unwrap().header(), token);
        retire(session).await;
    }
    assert_eq!(world.grants().len(), 2, "each is resumed");
}

#[tokio::test]
async fn a_password_refused_at_one_origin_is_offered_at_another_and_a_lock_holds_at_both() {
    let mut world = World::with_file();
    world.answer(Err(TokenError::Refused));
    let a = world.daemon();
    assert_eq!(
        a.wait_ready(BodyKind::Replayable).await,
        Err(Error::Refused { origin: Source::Memory, auth: UpstreamAuth::Bearer })
    );
    a.lock().await;
    retire(a).await;

    world.origin = B;
    let b = world.daemon();
    seen(&b, |view| view.state == SessionState::Locked).await;
    b.unlock().await;
    assert_eq!(b.wait_ready(BodyKind::Replayable).await, Ok(()));
    retire(b).await;

    world.origin = NEXUDUS;
    let a = world.daemon();
    assert_eq!(
        a.wait_ready(BodyKind::Replayable).await,
        Err(Error::Refused { origin: Source::Memory, auth: UpstreamAuth::Bearer })
    );
    assert_eq!(world.grants(), ["password p", "password p"]);
}

#[tokio::test]
async fn a_session_put_back_after_a_logout_is_not_used_and_that_is_said() {
    let world = World::with_file();
    let session = world.settled_daemon().await;
    let path = world.directory().join("session.sealed");
    let backup = std::fs::read(&path).unwrap();
    session.log_out().await;
    retire(session).await;

    put_back(&path, &backup);
    let session = world.daemon_of(Credentials::in_memory(None));

    let error = session.wait_ready(BodyKind::Replayable).await.unwrap_err();
    assert_eq!(error.code(), "session.not-logged-in");
    let cause = session.status().error.as_ref().unwrap().cause.clone().unwrap();
    assert_eq!(cause, "session.sealed is from before the last login or logout and is not used");
    assert_eq!(error.hint(), "Run `nexudus-proxy login`.", "there is nothing to repair");
    assert_eq!(world.grants(), ["password p"], "nothing of it was offered");
    // After another login requests are served again, and generations go on counting.
    let again = world.settled_daemon().await;
    assert_eq!((again.status().generation, again.status().degraded.clone()), (2, None));
    assert_eq!(world.daemon_and_generation().await, 2);
}

#[tokio::test]
async fn a_session_without_a_readable_epoch_is_set_aside_and_that_is_said() {
    for damage in [None, Some(&b"{\"ep"[..]), Some(b"{\"epoch\":0}"), Some(b"")] {
        let world = World::with_file();
        let session = world.settled_daemon().await;
        let path = world.directory().join("session.sealed");
        let backup = std::fs::read(&path).unwrap();
        session.log_out().await;
        retire(session).await;

        put_back(&path, &backup);
        let epoch = world.directory().join("epoch.json");
        std::fs::remove_file(&epoch).unwrap();
        if let Some(text) = damage {
            crate::secure_fs::create_new(&epoch, text).unwrap();
        }
        let session = world.daemon_of(Credentials::in_memory(None));

        let error = session.wait_ready(BodyKind::Replayable).await.unwrap_err();
        assert_eq!(error.code(), "session.not-logged-in", "{damage:?}");
        let cause = session.status().error.as_ref().unwrap().cause.clone().unwrap();
        assert!(cause.contains("epoch.json is missing or damaged"), "{cause}");
        assert_eq!(std::fs::read(&path).unwrap(), backup, "it is kept");
        assert_eq!(world.grants(), ["password p"], "nothing of it was offered");
        retire(session).await;

        // After another login requests are served again, across restarts; the old session never
        // returns.
        let again = world.settled_daemon().await;
        retire(again).await;
        assert_eq!(world.grants(), ["password p", "password p"]);
        put_back(&path, &backup);
        let session = world.daemon_of(Credentials::in_memory(None));
        assert!(session.wait_ready(BodyKind::Replayable).await.is_err(), "{damage:?}");
    }
}

#[tokio::test]
async fn a_session_put_back_after_another_login_is_not_used() {
    let world = World::with_file();
    logged_in(&world, 7).await;
    let path = world.directory().join("session.sealed");
    let backup = std::fs::read(&path).unwrap();
    logged_in(&world, 8).await;

    put_back(&path, &backup);
    let session = world.daemon_of(Credentials::in_memory(None));
    assert!(session.wait_ready(BodyKind::Replayable).await.is_err());
    assert!(world.grants().is_empty());
    retire(session).await;

    logged_in(&world, 9).await;
    let session = world.daemon_of(Credentials::in_memory(None));
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    assert_eq!(session.bearer().unwrap().header(), "Bearer a9");
}

/// Killed between the record and the epoch: the record is ahead, and the session is good.
#[tokio::test]
async fn a_login_that_was_cut_off_before_the_epoch_is_used() {
    let world = World::with_file();
    logged_in(&world, 7).await;
    let epoch = world.directory().join("epoch.json");
    let before = std::fs::read(&epoch).unwrap();
    logged_in(&world, 8).await;
    // As after an earlier login, or as it is before the first one.
    for left in [before, b"{\"epoch\":1}".to_vec()] {
        std::fs::write(&epoch, left).unwrap();
        let session = world.daemon_of(Credentials::in_memory(None));
        session.wait_ready(BodyKind::Replayable).await.unwrap();
        assert_eq!(session.bearer().unwrap().header(), "Bearer a8");
        // And the epoch has not fallen back behind it.
        session.lock().await;
        session.unlock().await;
        session.wait_ready(BodyKind::Replayable).await.unwrap();
        retire(session).await;
    }
    assert_eq!(epoch_of(&world), 4);
}

/// A crash after the first record would leave the record without the file, and the record would not
/// be used.
#[tokio::test]
async fn the_epoch_is_there_before_the_first_record() {
    let world = World::with_file();
    // The file cannot be written, and so the record must not be.
    std::fs::create_dir_all(world.directory().join("epoch.json/x")).unwrap();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    seen(&session, |view| view.degraded.is_some()).await;
    assert!(!world.directory().join("session.sealed").exists());
}

#[tokio::test]
async fn login_logout_and_lock_raise_the_epoch_and_a_restart_keeps_it() {
    let world = World::with_file();
    logged_in(&world, 1).await;
    assert_eq!(epoch_of(&world), 2);
    let session = world.daemon_of(Credentials::in_memory(None));
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    session.lock().await;
    assert_eq!(epoch_of(&world), 3);
    session.unlock().await;
    session.refresh().await.unwrap();
    settled(&session).await;
    retire(session).await;
    assert_eq!(epoch_of(&world), 3);
    let session = world.daemon_of(Credentials::in_memory(None));
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    session.log_out().await;
    assert_eq!(epoch_of(&world), 4);
    logged_in(&world, 9).await;
    assert_eq!(epoch_of(&world), 5);
}

#[tokio::test]
async fn a_session_that_a_logout_has_ended_is_not_renewed_by_a_daemon_that_was_not_told() {
    let world = World::with_file();
    let session = world.daemon_of(Credentials::in_memory(None));
    logged_in(&world, 7).await;
    session.credentials_changed().await;
    session.wait_ready(BodyKind::Replayable).await.unwrap();

    crate::session::remove_all(&world.directory(), &world.clock).await.unwrap();
    world.hand.advance(secs(80));
    seen(&session, |view| view.error.is_some()).await;

    assert!(world.grants().is_empty(), "{:?}", world.grants());
    assert!(session.bearer().is_err());
    assert!(!world.directory().join("session.sealed").exists());
}

/// Keeps a session as `login --session-only` does.
async fn logged_in(world: &World, number: u64) {
    let (no_login, clock) = (Credentials::in_memory(None), world.clock.clone());
    let origin = Origin::parse(world.origin).unwrap();
    let visit =
        OfflineSession::open(&world.config, &origin, &world.directory(), &no_login, clock).await;
    let email = Some("ada@example.test");
    visit.unwrap().save(issued(number, 100), email, "id").await.unwrap();
}

fn put_back(path: &std::path::Path, backup: &[u8]) {
    let _ = std::fs::remove_file(path);
    crate::secure_fs::create_new(path, backup).unwrap();
}

fn epoch_of(world: &World) -> u64 {
    let text = std::fs::read(world.directory().join("epoch.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["epoch"].as_u64().unwrap()
}

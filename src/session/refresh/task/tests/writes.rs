//! Writing the pair: used at once, rotated again only once it is durable.

use super::*;
use crate::session::refresh::context::FetchStep;
use crate::session::spawn::run_blocking;

#[tokio::test]
async fn a_pair_that_cannot_be_saved_is_served_shown_and_saved_later() {
    let world = World::with_file();
    let session = world.settled_daemon().await;
    // A directory in the place of the temporary file: it cannot be removed as a file.
    let obstacle = world.directory().join("session.sealed.new");
    std::fs::create_dir(&obstacle).unwrap();

    session.refresh().await.unwrap();
    seen(&session, |view| view.degraded.is_some()).await;
    assert_eq!(session.bearer().unwrap().generation, 2);
    world.hand.advance(secs(80));
    settle().await;
    assert_eq!(world.grants().len(), 2, "not rotated while it works");

    std::fs::remove_dir(&obstacle).unwrap();
    let mut changes = session.subscribe();
    while session.status().degraded.is_some() {
        world.hand.advance(secs(5));
        changes.changed().await.unwrap();
    }
    seen(&session, |view| view.generation == 3).await;
    settled(&session).await;
    assert_eq!(world.daemon_and_generation().await, 3);
}

#[tokio::test]
async fn a_write_that_stalls_for_ten_seconds_delays_the_next_rotation_and_no_request() {
    static GATE: Gate = Gate::new();
    let world = World::with_file();
    let session = saved(&world, |step| GATE.pass(step)).await;
    let shut = GATE.shut();

    session.refresh().await.unwrap();
    let second = tokio::spawn({
        let session = session.clone();
        async move { session.refresh().await }
    });
    for _ in 0..10 {
        world.hand.advance(secs(1));
        settle().await;
        assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));
    }
    assert_eq!((session.status().generation, world.grants().len()), (2, 2));
    assert!(!session.status().saved);

    drop(shut);
    assert_eq!(second.await.unwrap(), Ok(()));
    assert_eq!(world.grants(), ["password p", "refresh r1", "refresh r2"]);
}

#[tokio::test]
async fn a_write_that_hangs_counts_as_failed_and_never_overtakes_a_newer_one() {
    static GATE: Gate = Gate::new();
    let world = World::with_file();
    let session = saved(&world, |step| GATE.pass(step)).await;
    let shut = GATE.shut();
    session.refresh().await.unwrap();

    world.hand.advance(secs(30));
    seen(&session, |view| view.degraded.is_some()).await;
    world.hand.advance(secs(70));
    while session.status().generation < 3 {
        world.hand.advance(secs(1));
        // An attempt reads files on threads of its own, and has 30 s of this clock for it: a busy
        // machine gets the time for a job on such a thread with each of them.
        run_blocking(|| ()).await;
        settle().await;
    }
    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));

    drop(shut);
    settled(&session).await;
    assert_eq!(world.daemon_and_generation().await, session.status().generation);
}

#[tokio::test]
async fn who_asks_for_a_refresh_hears_that_the_pair_cannot_be_saved() {
    let world = World::with_file();
    let session = world.settled_daemon().await;
    std::fs::create_dir(world.directory().join("session.sealed.new")).unwrap();
    session.refresh().await.unwrap();

    let error = session.refresh().await.unwrap_err();

    assert_eq!(error.code(), "session.unavailable");
    assert_eq!((session.status().generation, world.grants().len()), (2, 2));
}

#[tokio::test]
async fn a_refresh_right_after_a_failed_write_writes_the_pair_first() {
    let world = World::with_file();
    let session = world.settled_daemon().await;
    let obstacle = world.directory().join("session.sealed.new");
    std::fs::create_dir(&obstacle).unwrap();
    session.refresh().await.unwrap();
    seen(&session, |status| status.degraded.is_some()).await;

    // The disk has recovered, and the next write would come after a second.
    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(session.refresh().await, Ok(()));

    assert_eq!(world.grants(), ["password p", "refresh r1", "refresh r2"]);
}

#[tokio::test]
async fn a_refresh_waits_for_a_stalled_write_and_at_most_as_long_as_a_write_may_take() {
    static GATE: Gate = Gate::new();
    let world = World::with_file();
    let session = saved(&world, |step| GATE.pass(step)).await;
    let shut = GATE.shut();
    let refresh = || {
        let session = session.clone();
        tokio::spawn(async move { session.refresh().await })
    };
    session.refresh().await.unwrap();

    let second = refresh();
    settle().await;
    world.hand.advance(secs(30));
    assert_eq!(second.await.unwrap().unwrap_err().code(), "session.unavailable");
    let third = refresh();
    settle().await;
    assert!(!third.is_finished() && session.status().generation == 2);

    drop(shut);
    assert_eq!(third.await.unwrap(), Ok(()));
    assert_eq!(world.grants(), ["password p", "refresh r1", "refresh r2"]);
}

#[tokio::test]
async fn a_refresh_of_a_locked_session_does_not_wait_for_the_disk() {
    static GATE: Gate = Gate::new();
    let world = World::with_file();
    let session = saved(&world, |step| GATE.pass(step)).await;
    let shut = GATE.shut();
    session.refresh().await.unwrap();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.refresh().await }
    });
    settle().await;
    assert!(!waiting.is_finished());

    let locking = tokio::spawn({
        let session = session.clone();
        async move { session.lock().await }
    });

    assert_eq!(waiting.await.unwrap(), Err(Error::Locked));
    assert_eq!(session.refresh().await, Err(Error::Locked));
    drop(shut);
    locking.await.unwrap();
}

#[tokio::test]
async fn a_client_id_outlives_a_crash_before_the_first_answer() {
    let world = World::with_file();
    let _never = world.hold();
    let first = world.daemon();
    world.asked(1).await;
    drop(first);
    world.hand.advance(secs(30));
    settle().await;

    world.daemon().wait_ready(BodyKind::Replayable).await.unwrap();

    let ids = world.client_ids();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_configured_client_id_is_used() {
    let mut world = World::new();
    world.config.client_id = Some("mine".into());

    world.daemon().wait_ready(BodyKind::Replayable).await.unwrap();

    assert_eq!(world.client_ids(), ["mine"]);
}

#[tokio::test]
async fn a_damaged_file_is_told_and_replaced_by_a_login() {
    let world = World::with_file();
    std::fs::create_dir_all(world.directory()).unwrap();
    std::fs::write(world.directory().join("session.sealed"), "damaged").unwrap();

    let without = world.daemon_of(Credentials::in_memory(None));
    let error = without.wait_ready(BodyKind::Replayable).await.unwrap_err();
    assert_eq!(error.code(), "session.not-logged-in");
    let cause = without.status().error.as_ref().unwrap().cause.clone().unwrap();
    assert!(cause.contains("session.sealed"), "{cause}");
    let _session = world.settled_daemon().await;

    assert_eq!(world.daemon_and_generation().await, 1);
    assert!(world.directory().join("session.sealed.unreadable-1").exists());
}

#[tokio::test]
async fn a_file_store_without_a_key_says_so_and_is_tried_again() {
    let mut world = World::new();
    world.config.store = SessionStore::File;
    world.config.key_command = vec!["false".into()];
    let directory = tempfile::tempdir().unwrap();
    world.directory = Some(directory);

    let session = world.daemon();

    seen(&session, |view| view.state == SessionState::CredentialsUnavailable).await;
    let error = session.bearer().unwrap_err();
    assert_eq!(error.code(), "credentials.unavailable");
    assert!(error.retry_after().is_some());
    assert!(world.grants().is_empty());
}

#[tokio::test]
async fn a_session_is_locked_before_the_disk_has_heard_of_it() {
    static GATE: Gate = Gate::new();
    let world = World::with_file();
    let session = saved(&world, |step| GATE.pass(step)).await;
    let shut = GATE.shut();

    let locking = tokio::spawn({
        let session = session.clone();
        async move { session.lock().await }
    });
    seen(&session, |view| view.state == SessionState::Locked).await;
    assert!(session.bearer().is_err() && !locking.is_finished());

    drop(shut);
    locking.await.unwrap();
    seen(&world.daemon(), |view| view.state == SessionState::Locked).await;
}

#[tokio::test]
async fn a_disk_that_hangs_while_it_is_locked_holds_up_nothing_else() {
    static GATE: Gate = Gate::new();
    let world = World::with_file();
    let session = saved(&world, |step| GATE.pass(step)).await;
    let shut = GATE.shut();
    let ask = |locked: bool| {
        let session = session.clone();
        tokio::spawn(
            async move { if locked { session.lock().await } else { session.unlock().await } },
        )
    };

    let locking = ask(true);
    seen(&session, |view| view.state == SessionState::Locked).await;
    assert_eq!(session.refresh().await.unwrap_err().code(), "session.locked");
    let unlocking = ask(false);
    seen(&session, |view| view.state == SessionState::Ready).await;
    assert!(!locking.is_finished() && !unlocking.is_finished(), "a restart would not know of it");

    // No caller waits for ever, and none hears that the flag is saved.
    world.hand.advance(secs(30));
    locking.await.unwrap();
    unlocking.await.unwrap();
    let degraded = session.status().degraded.clone().unwrap();
    assert!(degraded.starts_with("that the session is unlocked could not be saved"), "{degraded}");
    drop(shut);
    seen(&session, |view| view.degraded.is_none()).await;
    assert_eq!(world.daemon_and_generation().await, 1);
}

#[tokio::test]
async fn a_lock_that_a_restart_would_lose_is_told_until_it_is_saved() {
    let world = World::with_file();
    let session = world.settled_daemon().await;
    let obstacle = world.directory().join("attempts.json.new");
    std::fs::create_dir(&obstacle).unwrap();

    for _ in 0..2 {
        session.lock().await;
        let view = session.status();
        assert_eq!(view.state, SessionState::Locked);
        assert!(view.degraded.as_ref().unwrap().contains("lost by a restart"));
    }

    std::fs::remove_dir(&obstacle).unwrap();
    session.lock().await;
    assert_eq!(session.status().degraded, None);
    seen(&world.daemon(), |view| view.state == SessionState::Locked).await;
}

/// A session that is at rest; `seen` is called at each step of what follows.
async fn saved(world: &World, seen: fn(FetchStep)) -> Session {
    let (session, task) = world.session(Credentials::in_memory(Some(login("p"))));
    tokio::spawn(task.with_step_hook(seen).run());
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    settled(&session).await;
    session
}

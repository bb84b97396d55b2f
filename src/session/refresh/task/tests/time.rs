//! Suspend, jumps, and being killed at any step.

use super::*;

#[tokio::test]
async fn a_resume_does_not_renew_within_seconds() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    let mut changes = session.subscribe();

    world.hand.suspend(secs(85));
    changes.changed().await.unwrap();
    settle().await;
    assert_eq!(world.grants().len(), 1);
    assert!(session.status().renews_in.unwrap() >= secs(5));

    world.hand.advance(secs(10));
    seen(&session, |view| view.generation == 2).await;
}

#[tokio::test]
async fn an_expired_token_is_replaced_at_once_after_a_resume() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();

    world.hand.suspend(secs(50_000));

    assert!(session.bearer().is_err());
    let view = session.status();
    assert_eq!((view.expires_in, view.age), (None, Some(secs(50_000))), "how old it is, is known");
    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));
    assert_eq!(session.bearer().unwrap().generation, 2);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_changes_nothing() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    for wall in [0, 4_000_000_000] {
        world.hand.set_wall(std::time::SystemTime::UNIX_EPOCH + secs(wall));
        settle().await;
        assert_eq!(session.status().expires_in, Some(secs(100)));
    }
    assert_eq!(world.grants().len(), 1);
}

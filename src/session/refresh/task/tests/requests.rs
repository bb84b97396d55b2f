//! Requests: none waits for what it does not need, none cancels what others need, and a 401 is
//! classified once.

use super::*;

#[tokio::test]
async fn a_hundred_requests_wait_for_one_login() {
    let world = World::new();
    let answer = world.hold();
    let session = world.daemon();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.wait_ready(BodyKind::Replayable).await })
        })
        .collect();
    world.asked(1).await;

    answer.send(Ok(issued(1, 100))).unwrap();

    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
    assert_eq!(world.grants(), ["password p"]);
    let bearer = session.bearer().unwrap();
    assert_eq!((bearer.header.to_str().unwrap(), bearer.generation), ("Bearer a1", 1));
    assert!(bearer.header.is_sensitive());
}

#[tokio::test]
async fn a_cancelled_request_cancels_nothing() {
    let world = World::new();
    let answer = world.hold();
    let session = world.daemon();
    let first = tokio::spawn({
        let session = session.clone();
        async move { session.wait_ready(BodyKind::Replayable).await }
    });
    world.asked(1).await;

    first.abort();
    let _ = first.await;
    answer.send(Ok(issued(1, 100))).unwrap();

    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));
    assert_eq!(world.grants(), ["password p"]);
}

#[tokio::test]
async fn fifteen_lives_cost_fifteen_grants_and_no_request_an_error() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    for life in 1..=15_u64 {
        world.answer(Ok(issued(life + 1, 100)));
        for _ in 0..8 {
            world.hand.advance(secs(10));
            assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));
        }
        seen(&session, |view| view.generation == life + 1).await;
    }
    assert_eq!(world.grants().len(), 16);
    assert!(world.grants()[1..].iter().all(|grant| grant.starts_with("refresh r")));
    assert_eq!(world.most_at_once(), 1);
}

#[tokio::test]
async fn a_failed_refresh_keeps_the_token_until_it_expires_and_recovers_by_itself() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    for _ in 0..5 {
        world.answer(Err(down()));
    }

    world.hand.advance(secs(80));
    seen(&session, |view| view.error.is_some()).await;
    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Ok(()));
    assert!(session.bearer().is_ok());

    world.hand.advance(secs(20));
    assert!(session.bearer().is_err());
    // Each attempt ends before the clock moves on: a thread that reads files needs real time, and an
    // attempt that seems to take half a minute is given up.
    for (grants, back_off) in [(3, 1), (4, 2), (5, 4), (6, 8)] {
        world.hand.advance(secs(back_off));
        world.asked(grants).await;
        seen(&session, |view| !view.renewing).await;
    }
    assert_eq!(session.wait_ready(BodyKind::Replayable).await, Err(session.bearer().unwrap_err()));
    assert!(session.bearer().unwrap_err().retry_after().unwrap() > secs(10));

    world.hand.advance(secs(60));
    seen(&session, |view| view.state == SessionState::Ready && view.error.is_none()).await;
}

#[tokio::test]
async fn a_request_waits_through_a_short_back_off() {
    let world = World::new();
    world.answer(Err(down()));
    let session = world.daemon();
    seen(&session, |view| view.error.is_some()).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.wait_ready(BodyKind::Replayable).await }
    });
    settle().await;
    assert!(!waiting.is_finished());

    world.hand.advance(secs(1));

    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn an_attempt_ends_after_thirty_seconds() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    let _never = world.hold();
    world.hand.advance(secs(80));
    world.asked(2).await;

    world.hand.advance(secs(30));

    seen(&session, |view| !view.renewing && view.error.is_some()).await;
    world.hand.advance(secs(1));
    seen(&session, |view| view.generation == 2).await;
}

#[tokio::test]
async fn a_request_waits_no_longer_than_configured() {
    let world = World::new();
    let _never = world.hold();
    let session = world.daemon();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.wait_ready(BodyKind::Replayable).await }
    });
    world.asked(1).await;

    world.hand.advance(secs(10));

    assert_eq!(waiting.await.unwrap().unwrap_err().code(), "session.unavailable");
}

#[tokio::test]
async fn a_revoked_token_costs_fifty_requests_one_probe_and_one_refresh() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    world.probes(Probe::Dead);

    let verdicts = judge_at_once(&session, 1, 50).await;

    assert!(
        verdicts.iter().all(|verdict| *verdict == UnauthorizedCause::TokenReplaced),
        "{verdicts:?}"
    );
    assert_eq!(world.probed(), 1);
    assert_eq!(world.grants(), ["password p", "refresh r1"]);
    assert_eq!(session.bearer().unwrap().generation, 2);
}

#[tokio::test]
async fn a_thousand_forbidden_requests_cost_one_probe_and_no_refresh() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();

    let verdicts = judge_at_once(&session, 1, 1_000).await;

    assert!(verdicts.iter().all(|verdict| *verdict == UnauthorizedCause::MissingPermission));
    assert_eq!(world.probed(), 1);
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn what_is_sent_while_its_like_is_probed_costs_no_probe_of_its_own() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    let first = tokio::spawn({
        let session = session.clone();
        async move { judge(&session, 1, "/api/things/1").await }
    });
    while session.shared.probes_started() == 0 {
        tokio::task::yield_now().await;
    }

    let second = judge(&session, 1, "/api/things/2").await;

    assert_eq!(
        (first.await.unwrap(), second),
        (UnauthorizedCause::MissingPermission, UnauthorizedCause::MissingPermission)
    );
    assert_eq!(world.probed(), 1);
}

#[tokio::test]
async fn a_day_of_forbidden_requests_costs_a_handful_of_probes() {
    let world = World::lasting(10 * 24 * 60 * 60);
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    for _ in 0..24 * 30 {
        assert_eq!(judge(&session, 1, "/a").await, UnauthorizedCause::MissingPermission);
        world.hand.advance(secs(120));
    }
    assert_eq!(world.probed(), 7);
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn a_token_revoked_right_after_a_probe_is_found_dead_by_the_next_request() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    let slow = bearer(&session, 1);
    assert_eq!(judge(&session, 1, "/api/a").await, UnauthorizedCause::MissingPermission);

    // What was sent before the probe shares its verdict, which is not remembered.
    assert_eq!(
        session.classify_unauthorized(&slow, &Method::GET, "/api/b").await,
        UnauthorizedCause::MissingPermission
    );
    assert_eq!(world.probed(), 1);
    world.probes(Probe::Dead);
    assert_eq!(judge(&session, 1, "/api/b").await, UnauthorizedCause::TokenReplaced);

    assert_eq!((world.probed(), session.bearer().unwrap().generation), (2, 2));
}

#[tokio::test]
async fn who_am_i_refused_is_the_verdict_itself() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    assert_eq!(judge(&session, 1, "/api/a").await, UnauthorizedCause::MissingPermission);

    assert_eq!(judge(&session, 1, "/api/auth/me").await, UnauthorizedCause::TokenReplaced);

    assert_eq!((world.probed(), session.bearer().unwrap().generation), (1, 2));
    // The verdict is not about the same path of another host.
    let elsewhere = session.with_host("https://reports.example");
    assert_eq!(judge(&elsewhere, 2, "/api/auth/me").await, UnauthorizedCause::MissingPermission);
}

#[tokio::test]
async fn a_forbidden_object_hides_a_dead_token_from_its_sibling_for_a_minute_at_most() {
    let world = World::lasting(100_000);
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    assert_eq!(judge(&session, 1, "/api/a/1").await, UnauthorizedCause::MissingPermission);
    world.probes(Probe::Dead);

    world.hand.advance(secs(60));
    assert_eq!(
        judge(&session, 1, "/api/a/1").await,
        UnauthorizedCause::MissingPermission,
        "as forbidden as before"
    );
    assert_eq!(judge(&session, 1, "/api/a/2").await, UnauthorizedCause::TokenReplaced);
}

#[tokio::test]
async fn a_token_replaced_meanwhile_is_replayed_without_a_probe() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    session.refresh().await.unwrap();

    let verdict = judge(&session, 1, "/a").await;

    assert_eq!((verdict, world.probed()), (UnauthorizedCause::TokenReplaced, 0));
}

#[tokio::test]
async fn reactive_refreshes_draw_on_a_budget() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    world.probes(Probe::Dead);
    for generation in 1..=3 {
        session.mark_valid(generation);
        assert_eq!(judge(&session, generation, "/a").await, UnauthorizedCause::TokenReplaced);
    }
    session.mark_valid(4);

    let UnauthorizedCause::Unavailable(error) = judge(&session, 4, "/a").await else {
        panic!("a fourth")
    };

    assert_eq!(error.retry_after(), Some(secs(300)));
    assert_eq!(world.grants().len(), 4);
    world.hand.advance(secs(300));
    seen(&session, |view| view.generation == 5).await;
}

#[tokio::test]
async fn an_account_without_api_access_keeps_its_token_and_says_so() {
    let world = World::lasting(100_000);
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    world.probes(Probe::Dead);
    assert_eq!(judge(&session, 1, "/a").await, UnauthorizedCause::TokenReplaced);

    for _ in 0..100 {
        assert_eq!(judge(&session, 2, "/a").await, UnauthorizedCause::MissingPermission);
        world.hand.advance(secs(10));
    }

    let view = session.status();
    assert_eq!((view.state, view.api_access), (SessionState::Ready, Some(false)));
    assert!(view.advice.as_ref().unwrap().contains("API access"));
    assert_eq!(world.grants().len(), 2);
    assert_eq!(world.probed(), 5, "one each five minutes, and the first");
    world.probes(Probe::Alive);
    world.hand.advance(secs(300));
    assert_eq!(judge(&session, 2, "/a").await, UnauthorizedCause::MissingPermission);
    assert_eq!(session.status().api_access, None);
}

#[tokio::test]
async fn a_probe_without_a_verdict_is_an_error_of_ours_and_not_repeated_at_once() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    world.probes(Probe::Unclear);

    let verdicts = judge_at_once(&session, 1, 20).await;

    assert!(verdicts.iter().all(|verdict| matches!(verdict, UnauthorizedCause::Unavailable(_))));
    assert_eq!((world.probed(), world.grants().len()), (1, 1));
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_twice_is_preceded_by_a_renewal_near_the_end() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Streaming).await.unwrap();
    world.answer(Err(down()));
    world.hand.advance(secs(80));
    seen(&session, |view| view.error.is_some() && !view.renewing).await;
    world.answer(Err(down()));
    world.hand.advance(secs(1));
    seen(&session, |view| view.renews_in == Some(secs(2)) || !view.renewing).await;
    assert_eq!(world.probed(), 0);

    assert_eq!(session.wait_ready(BodyKind::Streaming).await, Ok(()));

    assert_eq!(world.probed(), 1, "no renewal to be had: the token is proved");
    assert_eq!(session.bearer().unwrap().generation, 1);
    world.hand.advance(secs(5));
    seen(&session, |view| view.generation == 2).await;
}

#[tokio::test]
async fn near_the_end_a_dead_token_is_replaced_before_a_body_is_lost() {
    let world = World::new();
    let session = world.daemon();
    session.wait_ready(BodyKind::Streaming).await.unwrap();
    world.answer(Err(down()));
    world.hand.advance(secs(81));
    seen(&session, |view| view.error.is_some() && !view.renewing).await;
    world.probes(Probe::Dead);
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.wait_ready(BodyKind::Streaming).await }
    });
    seen(&session, |view| view.state == SessionState::Waiting).await;

    world.hand.advance(secs(1));

    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(session.bearer().unwrap().generation, 2);
}

//! Promises of the keeper, against a scripted issuer and a clock moved by hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::sync::{oneshot, watch};

use super::Keeper;
use crate::clock::{Clock, Hand};
use crate::config::{self, Store};
use crate::credentials::{Credentials, Login, SecondFactor};
use crate::secret::Secret;
use crate::session::answer::{Failure, Issued};
use crate::session::issuer::{Grant, Issuer, Probe};
use crate::session::view::{View, Word};
use crate::session::{Asked, Body, Cause, Error, Session, Verdict};

#[tokio::test]
async fn a_hundred_requests_wait_for_one_login() {
    let world = World::new();
    let answer = world.hold();
    let session = world.daemon();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.ready(Body::Replayable).await })
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
        async move { session.ready(Body::Replayable).await }
    });
    world.asked(1).await;

    first.abort();
    let _ = first.await;
    answer.send(Ok(issued(1, 100))).unwrap();

    assert_eq!(session.ready(Body::Replayable).await, Ok(()));
    assert_eq!(world.grants(), ["password p"]);
}

#[tokio::test]
async fn fifteen_lives_cost_fifteen_grants_and_no_request_an_error() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    for life in 1..=15_u64 {
        world.answer(Ok(issued(life + 1, 100)));
        for _ in 0..8 {
            world.hand.advance(secs(10));
            assert_eq!(session.ready(Body::Replayable).await, Ok(()));
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
    session.ready(Body::Replayable).await.unwrap();
    for _ in 0..5 {
        world.answer(Err(down()));
    }

    world.hand.advance(secs(80));
    seen(&session, |view| view.error.is_some()).await;
    assert_eq!(session.ready(Body::Replayable).await, Ok(()));
    assert!(session.bearer().is_ok());

    world.hand.advance(secs(20));
    assert!(session.bearer().is_err());
    while world.grants().len() < 6 {
        world.hand.advance(secs(1));
        settle().await;
    }
    assert_eq!(session.ready(Body::Replayable).await, Err(session.bearer().unwrap_err()));
    assert!(session.bearer().unwrap_err().retry_after().unwrap() > secs(10));

    world.hand.advance(secs(60));
    seen(&session, |view| view.state == Word::Ready && view.error.is_none()).await;
}

#[tokio::test]
async fn a_request_waits_through_a_short_back_off() {
    let world = World::new();
    world.answer(Err(down()));
    let session = world.daemon();
    seen(&session, |view| view.error.is_some()).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.ready(Body::Replayable).await }
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
    session.ready(Body::Replayable).await.unwrap();
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
        async move { session.ready(Body::Replayable).await }
    });
    world.asked(1).await;

    world.hand.advance(secs(10));

    assert_eq!(waiting.await.unwrap().unwrap_err().code(), "session.unavailable");
}

#[tokio::test]
async fn a_revoked_token_costs_fifty_requests_one_probe_and_one_refresh() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    world.probes(Probe::Dead);

    let verdicts = judge_at_once(&session, 1, 50).await;

    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Replay), "{verdicts:?}");
    assert_eq!(world.probed(), 1);
    assert_eq!(world.grants(), ["password p", "refresh r1"]);
    assert_eq!(session.bearer().unwrap().generation, 2);
}

#[tokio::test]
async fn a_thousand_forbidden_requests_cost_one_probe_and_no_refresh() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();

    let verdicts = judge_at_once(&session, 1, 1_000).await;

    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Permission));
    assert_eq!(world.probed(), 1);
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn a_day_of_forbidden_requests_costs_a_handful_of_probes() {
    let world = World::lasting(10 * 24 * 60 * 60);
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    let asked = Asked::new(&Method::GET, "/api/sys/users");
    for _ in 0..24 * 30 {
        assert_eq!(session.judge(1, &asked).await, Verdict::Permission);
        world.hand.advance(secs(120));
    }
    assert_eq!(world.probed(), 7);
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn a_token_replaced_meanwhile_is_replayed_without_a_probe() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    session.refresh().await.unwrap();

    let verdict = session.judge(1, &Asked::new(&Method::GET, "/a")).await;

    assert_eq!((verdict, world.probed()), (Verdict::Replay, 0));
}

#[tokio::test]
async fn reactive_refreshes_draw_on_a_budget() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    let asked = Asked::new(&Method::GET, "/a");
    world.probes(Probe::Dead);
    for generation in 1..=3 {
        session.proven(generation);
        assert_eq!(session.judge(generation, &asked).await, Verdict::Replay);
    }
    session.proven(4);

    let Verdict::Unavailable(error) = session.judge(4, &asked).await else { panic!("a fourth") };

    assert_eq!(error.retry_after(), Some(secs(300)));
    assert_eq!(world.grants().len(), 4);
    world.hand.advance(secs(300));
    seen(&session, |view| view.generation == 5).await;
}

#[tokio::test]
async fn an_account_without_api_access_keeps_its_token_and_says_so() {
    let world = World::lasting(100_000);
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    world.probes(Probe::Dead);
    let asked = Asked::new(&Method::GET, "/a");
    assert_eq!(session.judge(1, &asked).await, Verdict::Replay);

    for _ in 0..100 {
        assert_eq!(session.judge(2, &asked).await, Verdict::Permission);
        world.hand.advance(secs(10));
    }

    let view = session.view();
    assert_eq!((view.state, view.api_access), (Word::Ready, Some(false)));
    assert!(view.advice.as_ref().unwrap().contains("API access"));
    assert_eq!(world.grants().len(), 2);
    assert_eq!(world.probed(), 5, "one each five minutes, and the first");
    world.probes(Probe::Alive);
    world.hand.advance(secs(300));
    assert_eq!(session.judge(2, &asked).await, Verdict::Permission);
    assert_eq!(session.view().api_access, None);
}

#[tokio::test]
async fn a_probe_without_a_verdict_is_an_error_of_ours_and_not_repeated_at_once() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    world.probes(Probe::Unclear);

    let verdicts = judge_at_once(&session, 1, 20).await;

    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Unavailable(_))));
    assert_eq!((world.probed(), world.grants().len()), (1, 1));
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_twice_is_preceded_by_a_renewal_near_the_end() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Once).await.unwrap();
    world.answer(Err(down()));
    world.hand.advance(secs(80));
    seen(&session, |view| view.error.is_some() && !view.renewing).await;
    world.answer(Err(down()));
    world.hand.advance(secs(1));
    seen(&session, |view| view.renews_in == Some(secs(2)) || !view.renewing).await;
    assert_eq!(world.probed(), 0);

    assert_eq!(session.ready(Body::Once).await, Ok(()));

    assert_eq!(world.probed(), 1, "no renewal to be had: the token is proved");
    assert_eq!(session.bearer().unwrap().generation, 1);
    world.hand.advance(secs(5));
    seen(&session, |view| view.generation == 2).await;
}

#[tokio::test]
async fn near_the_end_a_dead_token_is_replaced_before_a_body_is_lost() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Once).await.unwrap();
    world.answer(Err(down()));
    world.hand.advance(secs(81));
    seen(&session, |view| view.error.is_some() && !view.renewing).await;
    world.probes(Probe::Dead);
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.ready(Body::Once).await }
    });
    seen(&session, |view| view.state == Word::Waiting).await;

    world.hand.advance(secs(1));

    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(session.bearer().unwrap().generation, 2);
}

#[tokio::test]
async fn a_refused_password_is_not_tried_again_until_it_changes() {
    let world = World::with_file();
    world.answer(Err(Failure::Refused));
    let session = world.daemon();
    assert_eq!(session.ready(Body::Replayable).await, Err(Error::Refused));

    for _ in 0..10 {
        session.credentials_changed().await;
        assert_eq!(session.refresh().await, Err(Error::Refused));
        world.hand.advance(secs(10_000));
        let restarted = world.daemon();
        assert_eq!(restarted.ready(Body::Replayable).await, Err(Error::Refused));
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
        (Failure::TotpRequired, Error::TotpRequired(None)),
        (Failure::PasswordReset, Error::PasswordReset),
        (Failure::Refused, Error::Refused),
    ] {
        let world = World::new();
        world.answer(Err(failure));
        let session = world.daemon();

        assert_eq!(session.ready(Body::Replayable).await, Err(error.clone()));

        assert_eq!(session.view().error.as_ref().unwrap().code, error.code());
        assert_eq!(session.view().advice.as_deref(), Some(error.hint()));
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

#[tokio::test]
async fn a_restart_resumes_without_asking() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    retire(session).await;
    world.hand.advance(secs(40));

    let restarted = world.daemon();
    assert_eq!(restarted.ready(Body::Replayable).await, Ok(()));

    let view = restarted.view();
    assert_eq!((view.age, view.expires_in), (Some(secs(40)), Some(secs(60))));
    assert_eq!((view.generation, view.store.kind), (1, "file"));
    assert_eq!(view.account.as_deref(), Some("ada@example.test"));
    assert_eq!(world.grants(), ["password p"]);
}

#[tokio::test]
async fn a_restart_after_the_tokens_end_refreshes() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    retire(session).await;
    world.hand.advance(secs(5_000));

    assert_eq!(world.daemon().ready(Body::Replayable).await, Ok(()));

    assert_eq!(world.grants(), ["password p", "refresh r1"]);
    let ids = world.client_ids();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_refused_refresh_token_falls_back_to_the_password_once() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    world.answer(Err(Failure::Refused));

    session.refresh().await.unwrap();

    assert_eq!(world.grants(), ["password p", "refresh r1", "password p"]);
    let ids = world.client_ids();
    assert_eq!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_lost_reply_costs_one_password_login() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    world.answer(Err(Failure::Unclear(Cause::new("lost"))));
    world.answer(Err(Failure::Refused));
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
    first.ready(Body::Replayable).await.unwrap();
    retire(first).await;
    world.hand.advance(secs(5_000));
    world.answer(Err(Failure::Refused));

    let session = world.daemon_of(Credentials::memory(None));

    assert_eq!(session.ready(Body::Replayable).await, Err(Error::Expired));
    assert_eq!(session.view().state, Word::Expired);
    let grants = world.grants().len();
    world.hand.advance(secs(100_000));
    settle().await;
    assert_eq!(world.grants().len(), grants);
}

#[tokio::test]
async fn a_refresh_token_past_its_time_is_offered_only_without_a_password() {
    let world = World::with_file();
    let first = world.daemon();
    first.ready(Body::Replayable).await.unwrap();
    retire(first).await;
    world.hand.advance(secs(16 * 24 * 60 * 60));

    let second = world.daemon();
    assert_eq!(second.ready(Body::Replayable).await, Ok(()));
    retire(second).await;
    assert_eq!(world.grants(), ["password p", "password p"]);

    world.hand.advance(secs(16 * 24 * 60 * 60));
    let without = world.daemon_of(Credentials::memory(None));
    assert_eq!(without.ready(Body::Replayable).await, Ok(()));
    assert_eq!(world.grants().last().unwrap(), "refresh r2");
}

#[tokio::test]
async fn the_session_of_another_account_is_not_resumed() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    retire(session).await;

    let other = Login { email: "bob@example.test".into(), ..login("b") };
    let session = world.daemon_with(other);
    session.ready(Body::Replayable).await.unwrap();

    assert_eq!(session.view().account.as_deref(), Some("bob@example.test"));
    assert_eq!(world.grants(), ["password p", "password b"]);
    let ids = world.client_ids();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn twelve_who_share_a_session_refresh_it_once() {
    let world = World::with_file();
    let first = world.daemon();
    first.ready(Body::Replayable).await.unwrap();
    settled(&first).await;
    let sessions: Vec<_> = (0..12).map(|_| world.daemon()).collect();
    for session in &sessions {
        session.ready(Body::Replayable).await.unwrap();
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

    assert!(sessions.iter().all(|session| session.view().generation == 2));
    assert_eq!(world.grants(), ["password p", "refresh r1"]);
    sessions[3].refresh().await.unwrap();
    assert_eq!(world.grants().last().unwrap(), "refresh r2", "the chain lives");
}

#[tokio::test]
async fn a_pair_that_cannot_be_saved_is_served_shown_and_saved_later() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    settled(&session).await;
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
    world.hand.advance(secs(10));
    seen(&session, |view| view.degraded.is_none()).await;
    seen(&session, |view| view.generation == 3).await;
    settled(&session).await;
    assert_eq!(world.daemon_and_generation().await, 3);
}

#[tokio::test]
async fn who_asks_for_a_refresh_hears_that_the_pair_cannot_be_saved() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    settled(&session).await;
    std::fs::create_dir(world.directory().join("session.sealed.new")).unwrap();
    session.refresh().await.unwrap();

    let error = session.refresh().await.unwrap_err();

    assert_eq!(error.code(), "session.unavailable");
    assert_eq!((session.view().generation, world.grants().len()), (2, 2));
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

    world.daemon().ready(Body::Replayable).await.unwrap();

    let ids = world.client_ids();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_configured_client_id_is_used() {
    let mut world = World::new();
    world.config.client_id = Some("mine".into());

    world.daemon().ready(Body::Replayable).await.unwrap();

    assert_eq!(world.client_ids(), ["mine"]);
}

#[tokio::test]
async fn a_damaged_file_is_told_and_replaced_by_a_login() {
    let world = World::with_file();
    std::fs::create_dir_all(world.directory()).unwrap();
    std::fs::write(world.directory().join("session.sealed"), "damaged").unwrap();

    let without = world.daemon_of(Credentials::memory(None));
    let error = without.ready(Body::Replayable).await.unwrap_err();
    assert_eq!(error.code(), "session.not-logged-in");
    let cause = without.view().error.as_ref().unwrap().cause.clone().unwrap();
    assert!(cause.contains("session.sealed"), "{cause}");
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    settled(&session).await;

    assert_eq!(world.daemon_and_generation().await, 1);
    assert!(world.directory().join("session.sealed.unreadable-1").exists());
}

#[tokio::test]
async fn a_file_store_without_a_key_says_so_and_is_tried_again() {
    let mut world = World::new();
    world.config.store = Store::File;
    world.config.key_command = vec!["false".into()];
    let directory = tempfile::tempdir().unwrap();
    world.directory = Some(directory);

    let session = world.daemon();

    seen(&session, |view| view.state == Word::CredentialsUnavailable).await;
    let error = session.bearer().unwrap_err();
    assert_eq!(error.code(), "credentials.unavailable");
    assert!(error.retry_after().is_some());
    assert!(world.grants().is_empty());
}

#[tokio::test]
async fn forgotten_stays_so_until_the_login_changes() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();

    session.forget().await;

    assert_eq!(session.ready(Body::Replayable).await, Err(Error::NotLoggedIn(None)));
    assert_eq!(session.refresh().await, Err(Error::NotLoggedIn(None)));
    assert!(!world.directory().join("session.sealed").exists());
    world.hand.advance(secs(10_000));
    settle().await;
    assert_eq!(world.grants().len(), 1);
    session.credentials_changed().await;
    assert_eq!(session.ready(Body::Replayable).await, Ok(()));
}

#[tokio::test]
async fn locked_is_locked_across_restarts_and_unlocked_resumes() {
    let world = World::with_file();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    settled(&session).await;

    session.lock().await;

    assert_eq!(session.ready(Body::Replayable).await, Err(Error::Locked));
    let restarted = world.daemon();
    seen(&restarted, |view| view.state == Word::Locked).await;
    assert_eq!(restarted.ready(Body::Replayable).await, Err(Error::Locked));
    restarted.unlock().await;
    assert_eq!(restarted.ready(Body::Replayable).await, Ok(()));
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn a_resume_does_not_renew_within_seconds() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    let mut changes = session.subscribe();

    world.hand.suspend(secs(85));
    changes.changed().await.unwrap();
    settle().await;
    assert_eq!(world.grants().len(), 1);
    assert!(session.view().renews_in.unwrap() >= secs(5));

    world.hand.advance(secs(10));
    seen(&session, |view| view.generation == 2).await;
}

#[tokio::test]
async fn an_expired_token_is_replaced_at_once_after_a_resume() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();

    world.hand.suspend(secs(50_000));

    assert!(session.bearer().is_err());
    assert_eq!(session.ready(Body::Replayable).await, Ok(()));
    assert_eq!(session.bearer().unwrap().generation, 2);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_changes_nothing() {
    let world = World::new();
    let session = world.daemon();
    session.ready(Body::Replayable).await.unwrap();
    for wall in [0, 4_000_000_000] {
        world.hand.set_wall(std::time::SystemTime::UNIX_EPOCH + secs(wall));
        settle().await;
        assert_eq!(session.view().expires_in, Some(secs(100)));
    }
    assert_eq!(world.grants().len(), 1);
}

#[tokio::test]
async fn the_keeper_ends_with_its_last_handle() {
    let world = World::new();
    let (session, keeper) = world.session(Credentials::memory(None));
    let running = tokio::spawn(keeper.run());
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
    session.ready(Body::Replayable).await.unwrap();
    settled(&session).await;

    let shown = format!(
        "{session:?} {:?} {:?} {}",
        session.bearer(),
        session.view(),
        serde_json::to_string(&*session.view()).unwrap()
    );

    for secret in ["hunter2", "Bearer a1", "\"a1\"", "\"r1\""] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Everything around a keeper.
struct World {
    script: Arc<Script>,
    clock: Clock,
    hand: Hand,
    config: config::Session,
    directory: Option<tempfile::TempDir>,
}

/// Answers in order; then with new pairs for ever.
#[derive(Debug)]
struct Script {
    state: Mutex<Scripted>,
    asked: watch::Sender<usize>,
    lasts: u64,
}

#[derive(Debug, Default)]
struct Scripted {
    answers: VecDeque<Answer>,
    grants: Vec<String>,
    client_ids: Vec<String>,
    probe: Option<Probe>,
    probed: usize,
    running: usize,
    most: usize,
    issued: u64,
}

#[derive(Debug)]
enum Answer {
    Now(Result<Issued, Failure>),
    Later(oneshot::Receiver<Result<Issued, Failure>>),
}

#[derive(Debug)]
struct Scripting(Arc<Script>);

impl Issuer for Scripting {
    async fn issue(&self, grant: &Grant, client_id: &str) -> Result<Issued, Failure> {
        let answer = {
            let mut state = self.0.state.lock().unwrap();
            state.grants.push(match grant {
                Grant::Refresh(token) => format!("refresh {}", token.expose()),
                Grant::Password { password, totp: None, .. } => {
                    format!("password {}", password.expose())
                }
                Grant::Password { password, totp: Some(code), .. } => {
                    format!("password {} {}", password.expose(), code.expose())
                }
            });
            state.client_ids.push(client_id.to_owned());
            state.running += 1;
            state.most = state.most.max(state.running);
            self.0.asked.send_replace(state.grants.len());
            state.answers.pop_front()
        };
        let running = Running(&self.0);
        tokio::task::yield_now().await;
        let answer = match answer {
            Some(Answer::Now(answer)) => answer,
            Some(Answer::Later(answer)) => match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            },
            None => {
                let number = self.0.state.lock().unwrap().issued + 1;
                Ok(issued(number, self.0.lasts))
            }
        };
        if answer.is_ok() {
            self.0.state.lock().unwrap().issued += 1;
        }
        drop(running);
        answer
    }

    async fn probe(&self, _bearer: &HeaderValue) -> Probe {
        self.0.state.lock().unwrap().probed += 1;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.0.state.lock().unwrap().probe.unwrap_or(Probe::Alive)
    }
}

struct Running<'a>(&'a Script);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().running -= 1;
    }
}

impl World {
    fn new() -> Self {
        Self::lasting(100)
    }

    fn lasting(lasts: u64) -> Self {
        let (clock, hand) = Clock::by_hand();
        let script = Script { state: Mutex::default(), asked: watch::channel(0).0, lasts };
        let config = config::Session {
            store: Store::Memory,
            key: config::Key::Auto,
            key_command: Vec::new(),
            client_id: None,
            wait: secs(10),
        };
        Self { script: Arc::new(script), clock, hand, config, directory: None }
    }

    fn with_file() -> Self {
        let mut world = Self::new();
        world.config.store = Store::File;
        world.config.key_command = vec!["echo".into(), "sixteen bytes ok".into()];
        world.directory = Some(tempfile::tempdir().unwrap());
        world
    }

    fn directory(&self) -> std::path::PathBuf {
        self.directory.as_ref().unwrap().path().join("state")
    }

    fn session(&self, credentials: Credentials) -> (Session, Keeper<Scripting>) {
        let directory = self.directory.as_ref().map(|_| self.directory());
        let issuer = Scripting(self.script.clone());
        Session::new(&self.config, directory, credentials, issuer, self.clock.clone())
    }

    fn daemon(&self) -> Session {
        self.daemon_with(login("p"))
    }

    fn daemon_with(&self, login: Login) -> Session {
        self.daemon_of(Credentials::memory(Some(login)))
    }

    fn daemon_of(&self, credentials: Credentials) -> Session {
        let (session, keeper) = self.session(credentials);
        tokio::spawn(keeper.run());
        session
    }

    async fn daemon_and_generation(&self) -> u64 {
        let session = self.daemon();
        session.ready(Body::Replayable).await.unwrap();
        session.view().generation
    }

    fn answer(&self, answer: Result<Issued, Failure>) {
        self.script.state.lock().unwrap().answers.push_back(Answer::Now(answer));
    }

    fn answer_if_none(&self, answer: Result<Issued, Failure>) {
        if self.script.state.lock().unwrap().answers.is_empty() {
            self.answer(answer);
        }
    }

    /// Lets the next grant wait for an answer.
    fn hold(&self) -> oneshot::Sender<Result<Issued, Failure>> {
        let (sender, receiver) = oneshot::channel();
        self.script.state.lock().unwrap().answers.push_back(Answer::Later(receiver));
        sender
    }

    fn probes(&self, probe: Probe) {
        self.script.state.lock().unwrap().probe = Some(probe);
    }

    fn probed(&self) -> usize {
        self.script.state.lock().unwrap().probed
    }

    fn grants(&self) -> Vec<String> {
        self.script.state.lock().unwrap().grants.clone()
    }

    fn client_ids(&self) -> Vec<String> {
        self.script.state.lock().unwrap().client_ids.clone()
    }

    fn most_at_once(&self) -> usize {
        self.script.state.lock().unwrap().most
    }

    async fn asked(&self, times: usize) {
        let mut asked = self.script.asked.subscribe();
        asked.wait_for(|asked| *asked >= times).await.unwrap();
    }
}

async fn judge_at_once(session: &Session, generation: u64, times: usize) -> Vec<Verdict> {
    let judging: Vec<_> = (0..times)
        .map(|number| {
            let session = session.clone();
            let asked = Asked::new(&Method::GET, &format!("/api/thing{number}/x"));
            tokio::spawn(async move { session.judge(generation, &asked).await })
        })
        .collect();
    let mut verdicts = Vec::new();
    for judging in judging {
        verdicts.push(judging.await.unwrap());
    }
    verdicts
}

/// Waits until the view is as expected.
async fn seen(session: &Session, expected: impl Fn(&View) -> bool) {
    let mut changes = session.subscribe();
    let wait = async {
        while !expected(&session.view()) {
            changes.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(secs(10), wait).await.is_err() {
        panic!("never seen: {:#?}", session.view());
    }
}

/// Waits until nothing is in flight.
async fn settle_flight(session: &Session) {
    seen(session, |view| view.state != Word::Starting && !view.renewing).await;
    settle().await;
    seen(session, |view| !view.renewing).await;
}

/// Stops a daemon as the real one is stopped.
async fn retire(session: Session) {
    session.settle().await;
}

/// Waits until the pair is on disk: another refresh would have to wait for that.
async fn settled(session: &Session) {
    seen(session, |view| view.saved).await;
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn issued(number: u64, lasts: u64) -> Issued {
    Issued {
        access: Secret::new(format!("a{number}")),
        refresh: Some(Secret::new(format!("r{number}"))),
        lasts: secs(lasts),
    }
}

fn down() -> Failure {
    Failure::Passing { retry_after: None, cause: Cause::new("down") }
}

fn login(password: &str) -> Login {
    let password = Secret::new(password);
    Login { email: "ada@example.test".into(), password, second_factor: None }
}

fn with_factor(factor: SecondFactor) -> Login {
    Login { second_factor: Some(factor), ..login("p") }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

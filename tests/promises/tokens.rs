//! One login, and a token whenever one can be had.

use std::time::Duration;

use futures_util::future::join_all;
use nexudus_simulator::Route;

use crate::support::{PATIENCE, daemon, upstream};

#[tokio::test]
async fn a_hundred_first_requests_cost_one_login() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;

    let requests = join_all((0..100).map(|_| daemon.get("/api/auth/me")));
    let released = async {
        let arrived = upstream.wait_until_async(|view| view.held() == 1, PATIENCE);
        assert!(arrived.await, "nobody asked for a token");
        held.release();
    };
    let (answers, ()) = tokio::join!(requests, released);

    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(upstream.token_calls().len(), 1);
}

#[tokio::test]
async fn requests_go_on_while_the_token_rotates() {
    let life = Duration::from_secs(20);
    let upstream = upstream().set(|knobs| knobs.token.access_life = life).start().unwrap();
    let (setup, hand) = daemon(&upstream).clock_by_hand();
    let daemon = setup.run().await;

    for generation in 1..=15 {
        daemon.session_until(|view| view.generation >= generation && !view.renewing).await;
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200, "generation {generation}");
        hand.advance(life);
        upstream.advance(life);
    }

    assert_eq!(upstream.max_concurrent_token_calls(), 1);
}

//! The engine: calls one at a time on one connection, hints on another.

use std::sync::Arc;
use std::time::Instant;

use shared_session::call::{Call, Reply};
use shared_session::engine::{Engine, Hint, Options, Server};
use shared_session::member::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::draws_board::DrawsBoard;
use super::status_board::StatusBoard;

/// Performs calls until their sender is gone.
pub(super) async fn perform(
    options: Options,
    mut calls: UnboundedReceiver<Call>,
    results: UnboundedSender<Event>,
    board: Arc<StatusBoard>,
) {
    let mut engine = Engine::new(options);
    while let Some(call) = calls.recv().await {
        let began = Instant::now();
        let result = engine.call(&call).await;
        // A wait for replicas says nothing of the round trip.
        let round_trip = matches!(call, Call::Poll { .. }).then(|| began.elapsed());
        let reached = matches!(result, Ok(Reply::Done { .. })).then(|| engine.reached());
        board.engine_answered(result.as_ref().err().copied(), round_trip, reached, || {
            engine.server().map(describe)
        });
        let _stopped = results.send(Event::Replied(result));
    }
}

/// Passes hints on, on a connection that is opened again whenever it ends: without hints, a change
/// takes a poll.
pub(super) async fn listen(
    options: Options,
    results: UnboundedSender<Event>,
    draws: Option<Arc<DrawsBoard>>,
) {
    let pause = options.timing.poll;
    loop {
        if let Ok(mut hints) = Engine::hints(options.clone()).await {
            // Something may have changed while no connection was there.
            let _stopped = results.send(Event::Hinted);
            while let Some(hint) = hints.recv().await {
                match (hint, &draws) {
                    (Hint::Records, _) => drop(results.send(Event::Hinted)),
                    // A draw: polls would be too many while all are throttled.
                    (Hint::Pace, Some(draws)) => draws.look(),
                    (Hint::Pace, None) => {}
                }
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

fn describe(server: &Server) -> String {
    match server {
        Server::Tcp { host, port, .. } => format!("{host}:{port}"),
        Server::Unix(path) => path.display().to_string(),
    }
}

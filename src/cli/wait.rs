//! `wait`: returns when the daemon can serve.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::flags::duration;
use super::reach::sockets;
use super::{Code, Failure, Globals, Print, exit, serve};
use crate::admin::client::{Client, Error};
use crate::admin::wire::{Event, Reason};

/// What `wait` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

/// Waits.
pub(super) fn run(options: &Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    let sockets = sockets(globals)?;
    serve::control()?.block_on(async {
        let start = Instant::now();
        let deadline = start + options.timeout;
        let mut last = None;
        loop {
            match Client::find(&sockets).await {
                Ok(daemon) => match timeout_at(deadline, watch(&daemon, &mut last)).await {
                    Ok(Ok(Outcome::Ready)) if globals.json => {
                        return print.json(&serde_json::json!({ "ready": true }));
                    }
                    Ok(Ok(Outcome::Ready)) => return Ok(()),
                    Ok(Ok(Outcome::Hopeless(reason))) => return Err(hopeless(reason)),
                    // It ended or is about to: another may follow.
                    Ok(Ok(Outcome::Ended) | Err(Error::Ended(_) | Error::NotRunning)) => {}
                    Ok(Err(error)) => return Err(error.into()),
                    Err(_) => return Err(late(options.timeout, last)),
                },
                // One that is being started has its socket within moments.
                Err(Error::NotRunning) if Instant::now() < deadline.min(start + GRACE) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
}

enum Outcome {
    Ready,
    /// Only a person can help.
    Hopeless(Reason),
    Ended,
}

/// Watches one daemon until it is ready, cannot become so, or ends.
async fn watch(daemon: &Client, last: &mut Option<Reason>) -> Result<Outcome, Error> {
    let mut events = daemon.events("ready").await?;
    while let Some(event) = events.next().await {
        let Event::Ready(readiness) = event else { continue };
        if readiness.ready {
            return Ok(Outcome::Ready);
        }
        let is_hopeless = |reason: &&Reason| HOPELESS.contains(&reason.code.as_str());
        if let Some(reason) = readiness.reasons.iter().find(is_hopeless) {
            return Ok(Outcome::Hopeless(reason.clone()));
        }
        *last = readiness.reasons.into_iter().next();
    }
    Ok(Outcome::Ended)
}

fn hopeless(reason: Reason) -> Failure {
    let code = exit::code_of(&reason.code);
    Failure::NotReady { sentence: reason.sentence.clone(), code, reason: Some(reason.into()) }
}

fn late(limit: Duration, last: Option<Reason>) -> Failure {
    let limit = humantime::format_duration(limit);
    let why = last.as_ref().map_or("it has not said why", |reason| &reason.sentence);
    let sentence = format!("the daemon is not ready after {limit}: {why}");
    Failure::NotReady { sentence, code: Code::Failed, reason: last.map(Box::new) }
}

/// What does not pass by itself: waiting is of no use.
const HOPELESS: &[&str] = &[
    "session.not-logged-in",
    "session.refused",
    "session.totp-required",
    "session.password-reset",
    "session.expired",
];

/// How long a daemon may take to open its socket.
const GRACE: Duration = Duration::from_secs(5);

const LOOK_AGAIN: Duration = Duration::from_millis(25);

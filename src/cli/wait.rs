//! `wait`: returns when the daemon can serve.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::flags::duration;
use super::reach::admin_sockets;
use super::{CliError, ExitCode, GlobalArgs, Printer, error, serve};
use crate::admin::api::{Event, Reason};
use crate::admin::client::{AdminClient, Error};

/// What `wait` takes.
#[derive(clap::Args, Debug)]
pub(super) struct WaitArgs {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

/// Waits.
pub(super) fn run(
    options: &WaitArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let sockets = admin_sockets(globals)?;
    serve::control_runtime()?.block_on(async {
        let start = Instant::now();
        let deadline = start + options.timeout;
        let mut last = None;
        loop {
            match AdminClient::find(&sockets).await {
                Ok(daemon) => match timeout_at(deadline, watch(&daemon, &mut last)).await {
                    Ok(Ok(WaitOutcome::Ready)) if globals.json => {
                        return print.json(&serde_json::json!({ "ready": true }));
                    }
                    Ok(Ok(WaitOutcome::Ready)) => return Ok(()),
                    Ok(Ok(WaitOutcome::Permanent(reason))) => return Err(permanent_error(reason)),
                    // It ended or is about to: another may follow.
                    Ok(
                        Ok(WaitOutcome::Ended)
                        | Err(Error::ConnectionClosed(_) | Error::NotRunning),
                    ) => {}
                    Ok(Err(error)) => return Err(error.into()),
                    Err(_) => return Err(timed_out(options.timeout, last)),
                },
                // One that is being started has its socket within moments.
                Err(Error::NotRunning)
                    if Instant::now() < deadline.min(start + STARTUP_TIMEOUT) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    })
}

enum WaitOutcome {
    Ready,
    /// Only a person can help.
    Permanent(Reason),
    Ended,
}

/// Watches one daemon until it is ready, cannot become so, or ends.
async fn watch(daemon: &AdminClient, last: &mut Option<Reason>) -> Result<WaitOutcome, Error> {
    let mut events = daemon.events("ready").await?;
    while let Some(event) = events.next().await {
        let Event::Ready(readiness) = event else { continue };
        if readiness.ready {
            return Ok(WaitOutcome::Ready);
        }
        let is_hopeless = |reason: &&Reason| PERMANENT_CODES.contains(&reason.code.as_str());
        if let Some(reason) = readiness.reasons.iter().find(is_hopeless) {
            return Ok(WaitOutcome::Permanent(reason.clone()));
        }
        *last = readiness.reasons.into_iter().next();
    }
    Ok(WaitOutcome::Ended)
}

fn permanent_error(reason: Reason) -> CliError {
    let code = error::exit_code_of(&reason.code);
    CliError::NotReady { sentence: reason.sentence.clone(), code, reason: Some(reason.into()) }
}

fn timed_out(limit: Duration, last: Option<Reason>) -> CliError {
    let limit = humantime::format_duration(limit);
    let why = last.as_ref().map_or("it has not said why", |reason| &reason.sentence);
    let sentence = format!("the daemon is not ready after {limit}: {why}");
    CliError::NotReady { sentence, code: ExitCode::Failed, reason: last.map(Box::new) }
}

/// What does not pass by itself: waiting is of no use.
const PERMANENT_CODES: &[&str] = &[
    "session.not-logged-in",
    "session.refused",
    "session.totp-required",
    "session.password-reset",
    "session.expired",
];

/// How long a daemon may take to open its socket.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(5);

const POLL_INTERVAL: Duration = Duration::from_millis(25);

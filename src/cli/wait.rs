//! `wait`: returns when the daemon can serve.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::config_flags::parse_duration_flag;
use super::daemon_client::admin_sockets;
use super::globals::GlobalArgs;
use super::waiting::say_waiting;
use super::{CliError, Printer, error, serve};
use crate::admin::api::{Event, Reason};
use crate::admin::client::{AdminClient, Error};
use crate::problem::{ExitCode, Problem as _, Report};

/// The arguments of `wait`.
#[derive(clap::Args, Debug)]
pub(super) struct WaitArgs {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration_flag)]
    timeout: Duration,
    /// Look once, for a probe: exit 0 if ready, 1 if not, 3 if not logged in, 4 if the login was refused,
    /// 6 without a daemon
    #[arg(long, conflicts_with = "timeout")]
    once: bool,
}

/// Waits until the daemon can serve.
pub(super) fn run(args: &WaitArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let sockets = admin_sockets(globals)?;
    if args.once {
        return serve::control_runtime()?.block_on(look_once(&sockets, globals, print));
    }
    serve::control_runtime()?.block_on(say_waiting(print, "the daemon to be ready", async {
        let start = Instant::now();
        let deadline = start + args.timeout;
        let mut last = None;
        loop {
            match AdminClient::find(&sockets).await {
                Ok(daemon) => match timeout_at(deadline, watch(&daemon, &mut last)).await {
                    Ok(Ok(WaitOutcome::Ready)) if globals.json => {
                        return print.json(&serde_json::json!({ "ready": true }));
                    }
                    Ok(Ok(WaitOutcome::Ready)) => return Ok(()),
                    Ok(Ok(WaitOutcome::Permanent(reason))) => return Err(permanent_error(reason)),
                    // The daemon ended or is about to: another may follow.
                    Ok(
                        Ok(WaitOutcome::Ended)
                        | Err(Error::ConnectionClosed(_) | Error::NotRunning),
                    ) => {}
                    // A stopped process may be continued in time.
                    Ok(Err(error @ Error::Unresponsive { .. })) if Instant::now() < deadline => {
                        last = Some(unresponsive(&error));
                    }
                    Ok(Err(error)) => return Err(error.into()),
                    Err(_) => return Err(timed_out(args.timeout, last)),
                },
                // A daemon that is being started has its socket within moments.
                Err(Error::NotRunning)
                    if Instant::now() < deadline.min(start + STARTUP_TIMEOUT) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }))
}

/// Looks once whether the daemon can serve.
async fn look_once(
    sockets: &[PathBuf],
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let look = async {
        let daemon = AdminClient::find(sockets).await?;
        let mut events = daemon.events("ready").await?;
        while let Some(event) = events.next().await {
            if let Event::Ready(readiness) = event {
                return Ok(readiness);
            }
        }
        Err(Error::ConnectionClosed(None))
    };
    let silent =
        || no_answer(format!("the daemon did not answer within {} s", ONCE_TIMEOUT.as_secs()));
    let readiness = tokio::time::timeout(ONCE_TIMEOUT, look).await.map_err(|_| silent())??;
    if readiness.ready && globals.json {
        return print.json(&serde_json::json!({ "ready": true }));
    }
    if readiness.ready {
        return Ok(());
    }
    let reasons = readiness.reasons;
    match reasons.iter().find(|reason| is_permanent(reason)).or(reasons.first()) {
        Some(reason) if is_permanent(reason) => Err(permanent_error(reason.clone())),
        Some(reason) => {
            let message = format!("the daemon is not ready: {}", reason.sentence);
            Err(not_ready(ExitCode::Failed, message, Some(reason.clone())))
        }
        None => Err(not_ready(ExitCode::Failed, "the daemon is not ready".to_owned(), None)),
    }
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
    while let Some(event) = events.try_next().await? {
        let Event::Ready(readiness) = event else { continue };
        if readiness.ready {
            return Ok(WaitOutcome::Ready);
        }
        if let Some(reason) = readiness.reasons.iter().find(|reason| is_permanent(reason)) {
            return Ok(WaitOutcome::Permanent(reason.clone()));
        }
        *last = readiness.reasons.into_iter().next();
    }
    Ok(WaitOutcome::Ended)
}

/// Describes a daemon that does not answer as the reason why it is not ready.
fn unresponsive(error: &Error) -> Reason {
    let details = error.details();
    Reason {
        code: details.kind.code().to_owned(),
        sentence: error.to_string(),
        cause: None,
        hint: details.hint.unwrap_or_default().into_owned(),
    }
}

fn permanent_error(reason: Reason) -> CliError {
    let exit_code = error::exit_code_of(&reason.code);
    not_ready(exit_code, reason.sentence.clone(), Some(reason))
}

fn timed_out(limit: Duration, last: Option<Reason>) -> CliError {
    let limit = humantime::format_duration(limit);
    let Some(reason) = last else {
        return no_answer(format!("the daemon has given no answer after {limit}"));
    };
    let message = format!("the daemon is not ready after {limit}: {}", reason.sentence);
    not_ready(ExitCode::Failed, message, Some(reason))
}

/// Reports a daemon that accepts a connection and says nothing.
fn no_answer(message: String) -> CliError {
    let hint = "It was waited for until it answers: it may be stopped (Ctrl-Z) or busy. \
                `nexudus-proxy doctor` names its process.";
    CliError::message(ExitCode::Failed, message, Some(hint))
}

/// Reports that the daemon is not ready, with the reason that it gave, if it gave one.
fn not_ready(exit_code: ExitCode, message: String, reason: Option<Reason>) -> CliError {
    let (cause, hint) = match reason {
        Some(reason) => (reason.cause, reason.hint),
        None => (None, "Look at its log; `nexudus-proxy doctor` may tell more.".to_owned()),
    };
    let report = Report { message, causes: cause.into_iter().collect(), hint: Some(hint) };
    CliError::Message { report, exit_code }
}

/// Returns whether a reason does not pass by itself: waiting is of no use.
fn is_permanent(reason: &Reason) -> bool {
    matches!(error::exit_code_of(&reason.code), ExitCode::NotLoggedIn | ExitCode::Unauthorized)
}

/// How long a daemon may take to open its socket.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time of one look: a little longer than the client of the admin socket takes to find out that a
/// daemon does not answer, and to name its process.
const ONCE_TIMEOUT: Duration = Duration::from_secs(6);

/// How often the command looks for a daemon.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

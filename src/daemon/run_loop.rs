//! A running daemon's days: signals and orders, reloads, its end.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::process::{Signal, Signals};
use super::{Daemon, DaemonCommand, sd_notify};
use crate::admin::api::{ErrorDetail, Lifecycle, Problem, ReloadResult, StopResult};
use crate::config::{Error as Invalid, Sources};

/// A second signal has ended it: requests may have been cut.
#[derive(Debug, thiserror::Error)]
#[error("stopped at once, because {signal} came again")]
pub struct ForcedExit {
    /// Its name.
    pub signal: &'static str,
}

/// Lives until a signal or an order ends it; a second signal ends it at once.
///
/// `sources` is where a reload reads the configuration again.
///
/// # Errors
///
/// [`ForcedExit`] when it was not let finish.
pub async fn run(
    mut daemon: Daemon,
    sources: Option<&Sources>,
    signals: &mut Signals,
) -> Result<(), ForcedExit> {
    // Dropped at the end: the watchdog is fed while requests in flight finish.
    let mut beside = JoinSet::new();
    beside.spawn(sd_notify::watchdog(daemon.heartbeat.clone()));
    let words = beside.spawn(sd_notify::watch_status(daemon.session.clone()));
    sd_notify::ready();

    let reason = run_until_stop(&mut daemon, sources, signals).await;
    words.abort();
    let in_flight = daemon.in_flight();
    tracing::info!(reason, in_flight, "draining");
    let drain =
        daemon.reload_state.as_ref().map_or(Duration::ZERO, |live| live.config.daemon.drain);
    sd_notify::stopping(in_flight, drain);
    tokio::select! {
        () = daemon.stop(drain) => {
            tracing::info!("stopped");
            Ok(())
        }
        signal = second_signal(signals) => {
            tracing::warn!(signal, "stopped at once");
            Err(ForcedExit { signal })
        }
    }
}

/// Does what is asked for; returns the reason to end.
async fn run_until_stop(
    daemon: &mut Daemon,
    sources: Option<&Sources>,
    signals: &mut Signals,
) -> &'static str {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::End(name) => return name,
                // Who sends a signal reads the log.
                Signal::Reload => drop(reload(daemon, sources)),
            },
            Some(order) = daemon.commands.recv() => match order {
                DaemonCommand::Reload(reply) => drop(reply.send(reload(daemon, sources))),
                DaemonCommand::HandOver(reply) => drop(reply.send(Err(no_run()))),
                DaemonCommand::Stop(reply) if daemon.is_activated => drop(reply.send(Err(activated()))),
                DaemonCommand::Stop(reply) => {
                    let in_flight = daemon.in_flight() as u64;
                    drop(reply.send(Ok(StopResult { in_flight, run: false })));
                    return "asked to";
                }
            },
        }
    }
}

/// Waits for somebody to lose patience.
async fn second_signal(signals: &mut Signals) -> &'static str {
    let begun = Instant::now();
    loop {
        match signals.next().await {
            Signal::End(name) if begun.elapsed() >= DUPLICATE_SIGNAL_WINDOW => return name,
            Signal::End(_) | Signal::Reload => {}
        }
    }
}

/// Reads the configuration again and takes over what can be changed.
fn reload(daemon: &mut Daemon, sources: Option<&Sources>) -> Result<ReloadResult, Box<Problem>> {
    sd_notify::reloading();
    daemon.runtime_state.send_modify(|now| now.lifecycle = Lifecycle::Reloading);
    let outcome = match sources.map(Sources::load) {
        None => Ok(ReloadResult::default()),
        Some(Err(error)) => Err(invalid(&error)),
        Some(Ok(loaded)) => {
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            daemon.reload(&loaded.config).map_err(|error| unusable(&error))
        }
    };
    daemon.runtime_state.send_modify(|now| now.lifecycle = Lifecycle::Serving);
    sd_notify::ready();
    match &outcome {
        Ok(ReloadResult { applied, restart_needed }) => tracing::info!(
            applied = applied.join(" "),
            restart_needed = restart_needed.join(" "),
            "reloaded"
        ),
        Err(problem) => {
            for ErrorDetail { sentence, causes, hint } in &problem.problems {
                let cause = (!causes.is_empty()).then(|| causes.join(": "));
                tracing::error!(error = sentence, cause, hint, "not reloaded");
            }
        }
    }
    outcome
}

fn invalid(Invalid(problems): &Invalid) -> Box<Problem> {
    let flaws =
        problems.iter().map(|problem| ErrorDetail { hint: problem.hint(), ..flaw(problem) });
    Box::new(refused("the configuration is not valid").with_details(flaws.collect()))
}

fn unusable(error: &super::reload::ReloadError) -> Box<Problem> {
    Box::new(refused("the configuration cannot be used").with_details(vec![flaw(error)]))
}

fn refused(detail: &str) -> Problem {
    Problem::new(http::StatusCode::UNPROCESSABLE_ENTITY, "config.invalid", detail)
        .with_hint("Nothing has changed: the daemon runs on with what it had.")
}

fn flaw(error: &(dyn std::error::Error + 'static)) -> ErrorDetail {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let causes = causes.map(ToString::to_string).collect();
    ErrorDetail { sentence: error.to_string(), causes, hint: None }
}

fn activated() -> Box<Problem> {
    let detail = "the service manager holds its sockets: the next request would start it again";
    let problem = Problem::new(http::StatusCode::CONFLICT, "daemon.activated", detail);
    Box::new(problem.with_hint("Run `nexudus-proxy service stop`."))
}

fn no_run() -> Box<Problem> {
    let detail = "this is no `run`: its place is its own";
    Box::new(Problem::new(http::StatusCode::CONFLICT, "daemon.serving", detail))
}

/// Signals that come as close as this are one: `timeout` signals the process and then its group, and
/// a terminal and a shell may both pass on one Ctrl-C.
const DUPLICATE_SIGNAL_WINDOW: Duration = Duration::from_secs(1);

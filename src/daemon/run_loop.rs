//! The main loop of a running daemon: signals, commands, reloads, the stop.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::process::{Signal, Signals};
use super::reload::ReloadError;
use super::{Daemon, DaemonCommand, sd_notify};
use crate::admin::api::{self, Lifecycle, ReloadResult, StopResult};
use crate::children;
use crate::config::{self, Sources};
use crate::problem::{Problem, ProblemDetails, ProblemKind, Report};
#[cfg(unix)]
use crate::telemetry;

/// A second signal has ended the daemon: requests may have been cut off.
#[derive(Debug, thiserror::Error)]
#[error("forced exit on second {signal}")]
pub struct ForcedExit {
    /// The signal's name.
    pub signal: &'static str,
}

impl Problem for ForcedExit {
    fn details(&self) -> ProblemDetails {
        ProblemKind::CommandFailed.into()
    }
}

/// Why the daemon refuses a command.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The configuration is wrong.
    #[error("the configuration is not valid")]
    Invalid(#[source] config::Error),
    /// The configuration is valid, but cannot be used on this machine.
    #[error("the configuration cannot be used")]
    Unusable(#[source] ReloadError),
    /// The service manager would start the daemon again.
    #[error("the service manager holds its sockets: the next request would start it again")]
    Activated,
    /// Only a `run` hands its profile over to a daemon.
    #[error("this is no `run`: its place is its own")]
    NotARun,
}

impl Problem for CommandError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Invalid(_) | Self::Unusable(_) => ProblemKind::ConfigInvalid
                .with_hint("Nothing has changed: the daemon runs on with what it had."),
            Self::Activated => ProblemKind::DaemonActivated.into(),
            Self::NotARun => ProblemKind::DaemonServing.into(),
        }
    }

    fn parts(&self) -> Vec<Report> {
        match self {
            Self::Invalid(error) => Report::all(error),
            Self::Unusable(error) => Report::all(error),
            Self::Activated | Self::NotARun => vec![],
        }
    }
}

impl From<CommandError> for Box<api::Problem> {
    fn from(error: CommandError) -> Self {
        Self::new(api::Problem::new(&error))
    }
}

/// Runs the daemon until a signal or a command stops it. A second signal ends it at once.
///
/// A reload reads the configuration from `sources`.
///
/// # Errors
///
/// [`ForcedExit`] if a second signal came before the requests in flight were finished.
pub async fn run(
    mut daemon: Daemon,
    sources: Option<&Sources>,
    signals: &mut Signals,
) -> Result<(), ForcedExit> {
    // Dropped at the end: the watchdog needs its signal also while requests in flight finish.
    let mut notifications = JoinSet::new();
    notifications.spawn(sd_notify::watchdog(daemon.heartbeat.clone()));
    notifications.spawn(children::reap_orphans());
    let status = notifications.spawn(sd_notify::watch_status(daemon.session.clone()));
    sd_notify::ready();

    let reason = run_until_stop(&mut daemon, sources, signals).await;
    status.abort();
    let in_flight = daemon.in_flight();
    #[cfg(unix)]
    telemetry::set_log_ending();
    tracing::info!(reason, in_flight, "draining");
    let drain =
        daemon.reload_state.as_ref().map_or(Duration::ZERO, |state| state.config.daemon.drain);
    sd_notify::stopping(in_flight, drain);
    tokio::select! {
        () = daemon.stop(drain) => {
            tracing::info!("stopped");
            Ok(())
        }
        signal = second_signal(signals) => {
            tracing::warn!(signal, "forced exit on a second signal");
            Err(ForcedExit { signal })
        }
    }
}

/// Executes commands until one stops the daemon; returns the reason to stop.
async fn run_until_stop(
    daemon: &mut Daemon,
    sources: Option<&Sources>,
    signals: &mut Signals,
) -> &'static str {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::End(name) => return name,
                // The result of a reload by signal is in the log.
                Signal::Reload => drop(reload(daemon, sources)),
            },
            command = daemon.next_command() => match command {
                DaemonCommand::Reload(reply) => drop(reply.send(reload(daemon, sources))),
                DaemonCommand::HandOver(reply) => drop(reply.send(Err(CommandError::NotARun.into()))),
                DaemonCommand::Stop(reply) if daemon.listening.activated => {
                    drop(reply.send(Err(CommandError::Activated.into())));
                }
                DaemonCommand::Stop(reply) => {
                    let in_flight = daemon.in_flight() as u64;
                    drop(reply.send(Ok(StopResult { in_flight, run: false })));
                    return "stop command";
                }
            },
        }
    }
}

/// Waits for a second signal to end.
async fn second_signal(signals: &mut Signals) -> &'static str {
    let begun = Instant::now();
    loop {
        match signals.next().await {
            Signal::End(name) if begun.elapsed() >= DUPLICATE_SIGNAL_WINDOW => return name,
            Signal::End(_) | Signal::Reload => {}
        }
    }
}

/// Reads the configuration again and applies what can be changed.
fn reload(
    daemon: &mut Daemon,
    sources: Option<&Sources>,
) -> Result<ReloadResult, Box<api::Problem>> {
    sd_notify::reloading();
    daemon.runtime_state.send_modify(|now| now.lifecycle = Lifecycle::Reloading);
    let outcome: Result<_, Box<api::Problem>> = match sources.map(Sources::load) {
        None => Ok(ReloadResult::default()),
        Some(Err(error)) => Err(CommandError::Invalid(error).into()),
        Some(Ok(loaded)) => {
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            daemon.reload(&loaded.config).map_err(|error| CommandError::Unusable(error).into())
        }
    };
    daemon.runtime_state.send_modify(|now| now.lifecycle = Lifecycle::Serving);
    sd_notify::ready();
    match &outcome {
        Ok(ReloadResult { applied, restart_needed, notes, .. }) => {
            let named = |keys: &[String]| (!keys.is_empty()).then(|| keys.join(" "));
            let (applied, restart_needed) = (named(applied), named(restart_needed));
            tracing::info!(applied, restart_needed, "reloaded");
            notes.iter().for_each(|note| tracing::warn!("{note}"));
        }
        Err(problem) => {
            for Report { message, causes, hint } in &problem.problems {
                let cause = (!causes.is_empty()).then(|| causes.join(": "));
                tracing::error!(error = message, cause, hint, "not reloaded");
            }
        }
    }
    outcome
}

/// Signals within this time count as one: `timeout` signals the process and then its group, and a
/// terminal and a shell may both forward one Ctrl-C.
const DUPLICATE_SIGNAL_WINDOW: Duration = Duration::from_secs(1);

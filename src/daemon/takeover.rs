//! How a daemon starts where a `run` serves the profile: the `run` hands it over.

use std::time::Duration;

use tokio::time::timeout;

use super::builder::{DaemonBuilder, Prepared};
use super::profile_lock::{ProfileLock, StartLock, lock_profile};
use super::{Daemon, Deps, Error};
use crate::admin::api::StopResult;
use crate::admin::client::{self, AdminClient};
use crate::config::{Config, Paths};

/// Starts a daemon. Requests the profile from a `run` that serves it.
///
/// # Errors
///
/// As [`Daemon::start`]: [`Error::AlreadyRunning`] if another daemon serves the profile, or if the
/// `run` does not end in time.
pub async fn start(config: &Config, paths: &Paths) -> Result<Daemon, Error> {
    let deps = Deps::from_config(config, paths);
    let prepared = Prepared::from_config(config)?.with_fleet(config, &deps.clock).await?;
    if let Some(lock) = ProfileLock::without_state(config, paths) {
        return DaemonBuilder::new(prepared, lock, config, paths, deps)?.start(config, paths);
    }
    let limit = config.daemon.drain + HANDOVER_TIMEOUT;
    let locks = timeout(limit, async {
        let starting = StartLock::wait(paths).await?;
        Ok::<_, Error>((starting, take_over(paths).await?))
    });
    // The start lock is held until the daemon's sockets respond.
    let (_starting, lock) = locks.await.unwrap_or_else(|_| Err(already_running(paths)))?;
    DaemonBuilder::new(prepared, lock, config, paths, deps)?.start(config, paths)
}

/// Takes the profile's lock. If another process holds the lock, requests the profile from that
/// process and waits.
async fn take_over(paths: &Paths) -> Result<ProfileLock, Error> {
    match lock_profile(paths) {
        Err(Error::AlreadyRunning { .. }) => {}
        outcome => return outcome,
    }
    tokio::select! {
        lock = ProfileLock::wait(paths) => lock,
        refused = refusal(paths) => Err(refused),
    }
}

/// Requests the profile from the process that serves it. Returns only if that process refuses,
/// because it is a daemon, or does not answer.
async fn refusal(paths: &Paths) -> Error {
    match request_handover(paths).await {
        Ok(StopResult { in_flight, .. }) => {
            tracing::info!(in_flight, "taking the profile over from a run");
        }
        Err(client::Error::Problem(problem)) if problem.code == DRAINING => {}
        Err(
            client::Error::Problem(_)
            | client::Error::VersionMismatch
            | client::Error::Forbidden { .. },
        ) => return already_running(paths),
        Err(client::Error::Unresponsive { .. } | client::Error::Unfinished { .. }) => {
            return Error::Unreachable { profile: paths.profile.clone(), why: NO_ANSWER };
        }
        // The process is ending.
        Err(
            client::Error::NotRunning
            | client::Error::ConnectionClosed(_)
            | client::Error::Unreachable { .. },
        ) => {}
    }
    std::future::pending().await
}

async fn request_handover(paths: &Paths) -> Result<StopResult, client::Error> {
    AdminClient::find(&[paths.admin_socket()]).await?.post("/v1/handover").await
}

fn already_running(paths: &Paths) -> Error {
    Error::AlreadyRunning { profile: paths.profile.clone() }
}

/// Why a process that holds the profile cannot be connected to.
const NO_ANSWER: &str = "it does not answer";

/// Code of the admin surface's response while its daemon is stopping already.
const DRAINING: &str = "daemon.draining";

/// Longest wait for the process that holds the profile, beside the time that its requests may take
/// to finish.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(15);

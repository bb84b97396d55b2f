//! `doctor`: everything that a request needs, checked; what fails says how to repair it.
//!
//! Checks that do not need each other run side by side. Nothing here changes what is stored, but
//! for an entry of its own that it writes to the keychain and removes.

mod check;
mod local;
mod network;

use std::time::{Duration, Instant};

use serde_json::json;

use self::check::{
    CheckOutcome, CheckResult, CheckStatus, fail, ok, outcome_of, skip, timed, warn,
};
use super::config_flags::ConfigOverrides;
use super::daemon_client::{DaemonClient, OtherOrigin, effective_config};
use super::globals::GlobalArgs;
use super::status::format_token as token_of;
use super::whoami::{self, WhoamiError};
use super::{CliError, Printer, serve};
use crate::config::{Config, LoadedConfig, Origin, Paths, with_profile_flag};
use crate::daemon::{self, process};
use crate::problem::ExitCode;
use crate::session::{self, SessionStatus};

/// Runs every check.
pub(super) fn run(
    overrides: ConfigOverrides,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    process::harden();
    let loaded = globals.load(overrides.into_overrides());
    let lines = match loaded {
        // Without a configuration nothing can be checked; its problems are the report.
        Err(error) => vec![CheckResult::new("config", outcome_of(&error), Duration::ZERO)],
        Ok(loaded) => {
            let mut lines = serve::control_runtime()?.block_on(run_checks(&loaded, print));
            refine_fixes(&mut lines);
            let fixes = lines.iter_mut().filter_map(|line| line.fix.as_mut());
            fixes.for_each(|fix| *fix = with_profile_flag(fix, &loaded.paths.profile));
            lines
        }
    };
    if !globals.json {
        print_results(&lines, print)?;
    }
    let failed = lines.iter().filter(|line| line.verdict == CheckStatus::Fail).count();
    let output = json!({ "passed": failed == 0, "checks": lines });
    let message = match failed {
        0 if globals.json => return print.json(&output),
        0 => return Ok(()),
        1 => "one check failed".to_owned(),
        _ => format!("{failed} checks failed"),
    };
    Err(CliError::message(ExitCode::Failed, message, None).with_output(output))
}

/// Replaces the advice to run `doctor`, which runs already.
fn refine_fixes(lines: &mut [CheckResult]) {
    let sends_here = |line: &&mut CheckResult| {
        line.fix.as_ref().is_some_and(|fix| fix.contains("`nexudus-proxy doctor`"))
    };
    let failed = lines.iter().filter(|line| line.verdict == CheckStatus::Fail);
    let failed: Vec<_> = failed.map(|line| line.check).collect();
    for line in lines.iter_mut().filter(sends_here) {
        let others = failed.iter().copied().filter(|check| *check != line.check);
        let others = others.collect::<Vec<_>>().join(", ");
        line.fix = Some(if others.is_empty() {
            "All that lies before it is well: try again, and look at the daemon's log.".to_owned()
        } else {
            format!("Repair first what fails beside it: {others}.")
        });
    }
}

async fn run_checks(loaded: &LoadedConfig, print: Printer) -> Vec<CheckResult> {
    let LoadedConfig { config, paths, .. } = loaded;
    let own = &config.upstream.origin;
    let credentials = daemon::credentials(config, paths);
    let serving = DaemonClient::new(config, paths).status().await;
    let other = serving.as_ref().and_then(|status| OtherOrigin::detect(status, own, paths));
    let other = other.as_ref();
    let (config, keys) = match &serving {
        Some(status) => effective_config(config, paths, status),
        None => (config.clone(), vec![]),
    };
    let config = &config;
    let running = DaemonClient::new(config, paths);
    let mut lines = vec![CheckResult::new("config", local::config(loaded), Duration::ZERO)];
    let stored = async {
        let daemon = serving.as_ref().map(|status| &status.session.status);
        let store = timed("store", local::store(config, paths, &credentials, daemon)).await;
        [store, timed("login", local::login(&credentials, own, other, paths, daemon)).await]
    };
    let here = async {
        let is_there = serving.is_some() || running.is_listening().await;
        [
            timed("daemon", local::daemon(is_there, &paths.profile, &keys, other, own)).await,
            timed("port", local::port(config, is_there)).await,
            timed("callers", local::callers(config)).await,
            timed("service", local::service(paths)).await,
        ]
    };
    let (stored, here, there) = tokio::join!(stored, here, network::all(config));
    lines.extend(stored);
    lines.extend(here);
    lines.extend(there);
    if let Some(status) = running.status().await {
        // The daemon has seen more than the one response above.
        let known = lines.iter_mut().find(|line| line.check == network::THROTTLE_CHECK);
        known
            .into_iter()
            .for_each(|line| line.update(network::throttle_from_daemon(&status.throttle)));
    }
    let daemon = serving.as_ref().map(|status| &status.session.status);
    lines.extend(token(config, (own, other), paths, daemon, print).await);
    lines
}

/// Checks the token and what it may do, as a request of any tool would.
async fn token(
    config: &Config,
    (own, other): (&Origin, Option<&OtherOrigin>),
    paths: &Paths,
    daemon: Option<&SessionStatus>,
    print: Printer,
) -> [CheckResult; 2] {
    let began = Instant::now();
    let fetched = whoami::fetch_user(config, own, other, paths, print).await;
    let elapsed = began.elapsed();
    let (token, access) = match fetched {
        Ok((me, through)) => {
            let access = match me.api_access {
                // Seen false on accounts whose requests are answered.
                Some(false) => warn(
                    "Nexudus says that the account has no API access, which is not always true",
                    "Try a request. If it gets 401, ask an administrator of your Nexudus account to \
                     turn API access on.",
                ),
                Some(true) => ok("the account may use the API"),
                None => warn("Nexudus does not say", "Try a request."),
            };
            (ok(format!("valid for {}, checked through the {through}", me.title())), access)
        }
        Err(error) => match (&error, daemon) {
            // The daemon wants a key, and this command has no login of its own for that origin.
            (
                WhoamiError::Session(session::Error::NotLoggedIn(_))
                | WhoamiError::OtherUpstream { .. },
                Some(daemon),
            ) => outcomes_from_daemon(daemon),
            (_, _) => (outcome_of(&error), skip("there is no token to send")),
        },
    };
    [
        CheckResult::new("token", token, elapsed),
        CheckResult::new("api access", access, Duration::ZERO),
    ]
}

/// Returns what the status of a daemon says of the token, where the daemon refuses to say more.
fn outcomes_from_daemon(daemon: &SessionStatus) -> (CheckOutcome, CheckOutcome) {
    match (&daemon.error, daemon.expires_in) {
        (None, Some(_)) => (
            ok(format!("{}, says the daemon", token_of(daemon))),
            match daemon.api_access {
                Some(false) => fail(
                    "forbidden: the account has no API access, says the daemon",
                    "Ask an administrator of your Nexudus account to turn it on.",
                ),
                Some(true) | None => skip("the daemon refuses requests without a client key"),
            },
        ),
        (Some(error), _) => {
            let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            let outcome = fail(format!("{}{cause}, says the daemon", error.sentence), &*error.hint);
            (outcome, skip("there is no token to send"))
        }
        (None, None) => (
            warn("none yet, says the daemon", "Wait: it is being fetched."),
            skip("there is no token to send"),
        ),
    }
}

fn print_results(lines: &[CheckResult], print: Printer) -> Result<(), CliError> {
    let mut rows = vec![];
    for line in lines {
        let verdict = match line.verdict {
            CheckStatus::Ok => "ok",
            CheckStatus::Warn => "warn",
            CheckStatus::Fail => "FAIL",
            CheckStatus::Skip => "skip",
        };
        let elapsed = format!("{} ms", line.elapsed_ms);
        rows.push([verdict.to_owned(), line.check.to_owned(), elapsed, line.finding.clone()]);
        if let Some(fix) = &line.fix {
            rows.push([String::new(), String::new(), String::new(), format!("→ {fix}")]);
        }
    }
    print.table(&rows, "\0")?;
    print.note(
        "Responses of Nexudus hold personal data, unredacted: mind where you send them, and what \
         you paste into a report.",
    );
    Ok(())
}

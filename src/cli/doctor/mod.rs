//! `doctor`: everything that a request needs, checked; what fails says how to repair it.
//!
//! Checks that do not need each other run side by side, and each line is printed as its check ends.
//! Nothing here changes what is stored, but for an entry of its own that it writes to the keychain and
//! removes. The system's daemon checks its own stores: no other process can use them.

mod check;
mod fleet;
mod limits;
mod local;
mod network;
mod service;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde_json::json;

use self::check::{
    CheckOutcome, CheckResult, CheckStatus, ok, outcome_of, reported, skip, timed, warn,
};
use super::config_flags::ConfigOverrides;
use super::daemon_client::{
    ClientStore, DaemonClient, FilesReason, FoundDaemon, OtherOrigin, ServingDaemon,
    effective_config, find_daemon, find_demo,
};
use super::globals::{DaemonScope, GlobalArgs};
use super::{CliError, Printer, serve, service as cli_service, whoami};
use crate::admin::api::SelfCheck;
use crate::clients::ClientStatus;
use crate::config::{Config, LoadedConfig, UpstreamAuth};
use crate::daemon::{self, process};
use crate::problem::ExitCode;
use crate::session;

/// Runs every check.
pub(super) fn run(
    overrides: ConfigOverrides,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    process::harden();
    let results = Results { globals, print, lines: RefCell::default() };
    match globals.load(overrides.into_overrides()) {
        // Without a configuration nothing can be checked; its problems are the report.
        Err(error) => {
            results.add(CheckResult::new("config", outcome_of(&error), Duration::ZERO))?;
        }
        Ok(loaded) => {
            // Where they cannot be read, another check says why.
            let clients = ClientStore::open(globals).and_then(|store| store.list());
            let clients = &*clients.unwrap_or_default();
            let checks = Checks { loaded: &loaded, globals, print, results: &results, clients };
            serve::control_runtime()?.block_on(checks.run())?;
        }
    }
    let lines = results.lines.into_inner();
    if !globals.json {
        print.note(
            "Responses of Nexudus hold personal data, unredacted: mind where you send them, and \
             what you paste into a report.",
        );
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

/// The results so far, in the order in which the checks ended.
struct Results<'a> {
    globals: &'a GlobalArgs,
    print: Printer,
    lines: RefCell<Vec<CheckResult>>,
}

impl Results<'_> {
    /// Adds a result, and prints it at once unless a program reads.
    fn add(&self, mut line: CheckResult) -> Result<(), CliError> {
        let mut lines = self.lines.borrow_mut();
        let failed = lines.iter().filter(|line| line.verdict == CheckStatus::Fail);
        line.fix = line.fix.map(|fix| {
            let fix = refine_fix(fix, failed.map(|line| line.check));
            self.globals.as_typed(&fix)
        });
        if !self.globals.json {
            self.print.raw(format_line(&line).as_bytes())?;
        }
        lines.push(line);
        Ok(())
    }
}

/// Replaces the advice to run `doctor`, which runs already.
fn refine_fix(fix: String, failed: impl Iterator<Item = &'static str>) -> String {
    if !fix.contains("`nexudus-proxy doctor`") {
        return fix;
    }
    let others = failed.collect::<Vec<_>>().join(", ");
    if others.is_empty() {
        "All that lies before it is well: try again, and look at the daemon's log.".to_owned()
    } else {
        format!("Repair first what fails beside it: {others}.")
    }
}

/// Formats a result: columns that fit the longest name of a check and a time of five digits.
fn format_line(line: &CheckResult) -> String {
    let verdict = match line.verdict {
        CheckStatus::Ok => "ok",
        CheckStatus::Warn => "warn",
        CheckStatus::Fail => "FAIL",
        CheckStatus::Skip => "skip",
    };
    let CheckResult { check, finding, fix, elapsed_ms, .. } = line;
    let mut text =
        format!("{verdict:<4}  {check:<10}  {:<8}  {finding}\n", format!("{elapsed_ms} ms"));
    if let Some(fix) = fix {
        text.push_str(&format!("{:28}→ {fix}\n", ""));
    }
    text
}

struct Checks<'a> {
    loaded: &'a LoadedConfig,
    globals: &'a GlobalArgs,
    print: Printer,
    results: &'a Results<'a>,
    clients: &'a [ClientStatus],
}

impl Checks<'_> {
    async fn run(&self) -> Result<(), CliError> {
        let LoadedConfig { config, paths, .. } = self.loaded;
        let own = &config.upstream.origin;
        let (serving, refusal, stuck) = match find_daemon(self.globals).await {
            Ok(FoundDaemon::Serving(daemon)) => (Some(*daemon), None, None),
            Ok(FoundDaemon::None(FilesReason::NoDaemon)) => (None, None, None),
            Ok(FoundDaemon::None(reason @ FilesReason::Refused { .. })) => {
                (None, Some(reason), None)
            }
            Err(error) => (None, None, Some(error)),
        };
        let serving = serving.as_ref();
        let owned = serving.filter(|daemon| daemon.is_own);
        let other = owned.and_then(|daemon| OtherOrigin::detect(&daemon.status, own, paths));
        let (config, keys) = match serving {
            Some(daemon) => effective_config(config, paths, &daemon.status),
            None => (config.clone(), vec![]),
        };
        let config = &config;
        let checked = match serving {
            Some(daemon) if !daemon.is_own => local::config_of_system(&daemon.status.config),
            Some(_) | None => local::config(self.loaded),
        };
        self.add("config", async { checked }).await?;
        let stored = self.stores(config, serving, other.as_ref(), stuck.is_some());
        let here = async {
            let daemon = match (&stuck, &refusal) {
                (Some(error), _) => reported(error),
                (None, Some(reason)) => local::refusing_daemon(reason),
                (None, None) => self.daemon(config, serving, &keys, other.as_ref()).await,
            };
            self.add("daemon", async { daemon }).await?;
            let is_there = serving.is_some() || stuck.is_some() || refusal.is_some();
            let demo = if is_there { None } else { find_demo().await };
            self.add("port", local::port(config, is_there, demo.as_ref())).await?;
            self.callers(config).await?;
            self.add("ca", async { local::authorities(serving) }).await?;
            self.services(is_there).await
        };
        let throttle = serving.map(|daemon| &daemon.status.throttle);
        let there = network::all(config, throttle, |line| self.results.add(line));
        let (stored, here, there) = tokio::join!(stored, here, there);
        stored.and(here).and(there)?;
        self.token(config, serving, stuck.is_some()).await
    }

    /// Describes the daemon, or that none runs. `keys` are those with another value in it than here.
    async fn daemon(
        &self,
        config: &Config,
        serving: Option<&ServingDaemon>,
        keys: &[&'static str],
        other: Option<&OtherOrigin>,
    ) -> CheckOutcome {
        let LoadedConfig { config: configured, paths, .. } = self.loaded;
        let outcome = if serving.is_some_and(|daemon| !daemon.is_own) {
            ok("the system's serves")
        } else {
            let is_there =
                serving.is_some() || DaemonClient::new(config, paths).is_listening().await;
            let (own, start) = (&configured.upstream.origin, self.start_hint());
            local::daemon(is_there, &paths.profile, keys, other, own, start)
        };
        let Some(ServingDaemon { status, .. }) = serving else { return outcome };
        let outcome = local::with_daemon_version(outcome, &status.version);
        local::with_restart_needed(outcome, &status.restart_needed)
    }

    /// Checks the installed service, and the engine of the fleet, if there is one.
    async fn services(&self, is_there: bool) -> Result<(), CliError> {
        let LoadedConfig { config, paths, .. } = self.loaded;
        self.add("service", async { service::service(paths) }).await?;
        match fleet::engine(config, is_there).await {
            Some(engine) => self.add("fleet", async { engine }).await,
            None => Ok(()),
        }
    }

    /// Checks who may call without a key, what such callers see, and which limits they go round.
    async fn callers(&self, config: &Config) -> Result<(), CliError> {
        self.add("callers", local::callers(config)).await?;
        if let Some(outcome) = limits::redaction(config, self.clients) {
            self.add("redaction", async { outcome }).await?;
        }
        match limits::limits(config, self.clients) {
            Some(outcome) => self.add("limits", async { outcome }).await,
            None => Ok(()),
        }
    }

    async fn add(
        &self,
        check: &'static str,
        work: impl Future<Output = CheckOutcome>,
    ) -> Result<(), CliError> {
        self.results.add(timed(check, work).await)
    }

    /// Checks the places of the login and the session.
    async fn stores(
        &self,
        config: &Config,
        serving: Option<&ServingDaemon>,
        other: Option<&OtherOrigin>,
        is_stuck: bool,
    ) -> Result<(), CliError> {
        let LoadedConfig { config: configured, paths, .. } = self.loaded;
        match serving {
            Some(daemon) if !daemon.is_own => {
                let began = Instant::now();
                let checks: Vec<SelfCheck> = daemon.admin.post("/v1/doctor").await?;
                for check in checks {
                    self.results.add(CheckResult::from_daemon(check, began.elapsed()))?;
                }
                return Ok(());
            }
            None if self.globals.scope() == DaemonScope::System => {
                let outcome = || async { skip("only the system's daemon may use its stores") };
                self.add("store", outcome()).await?;
                return self.add("login", outcome()).await;
            }
            Some(_) | None => {}
        }
        let credentials = daemon::credentials(configured, paths);
        let daemon = serving.map(|daemon| &daemon.status.session.status);
        if is_stuck {
            // The locks of the session may be the daemon's.
            self.add("store", async { skip("the daemon does not answer") }).await?;
        } else {
            self.add("store", local::store(config, paths, &credentials, daemon)).await?;
        }
        let own = &configured.upstream.origin;
        self.add("login", local::login(&credentials, own, other, paths, daemon)).await
    }

    /// Checks the token and what it may do.
    /// Returns how a daemon is started.
    fn start_hint(&self) -> &'static str {
        match self.globals.scope() {
            DaemonScope::System => cli_service::system_start_hint(self.globals),
            DaemonScope::Any | DaemonScope::User => "Start one: `nexudus-proxy serve`.",
        }
    }

    async fn token(
        &self,
        config: &Config,
        serving: Option<&ServingDaemon>,
        is_stuck: bool,
    ) -> Result<(), CliError> {
        let began = Instant::now();
        let (token, access) = if is_stuck {
            (skip("the daemon does not answer"), skip("no request can be sent without a session"))
        } else if serving.is_none() && self.globals.scope() == DaemonScope::System {
            (
                skip("the system's daemon does not run"),
                skip("no request can be sent without a session"),
            )
        } else {
            let paths = &self.loaded.paths;
            let fetched = whoami::fetch_user(serving, config, paths, self.print);
            token_outcomes(fetched.await, config.upstream.auth)
        };
        self.results.add(CheckResult::new("token", token, began.elapsed()))?;
        self.results.add(CheckResult::new("api access", access, Duration::ZERO))
    }
}

/// Judges the answer to the question who is logged in.
fn token_outcomes(
    fetched: Result<(session::CurrentUser, &'static str), whoami::WhoamiError>,
    auth: UpstreamAuth,
) -> (CheckOutcome, CheckOutcome) {
    match fetched {
        Ok((me, through)) => {
            let access = match me.has_api_access() {
                Some(false) => warn(
                    "Nexudus says that the account has no API access, which is not always true",
                    "Try a request. If it gets 401, ask an administrator of your Nexudus account to \
                     turn API access on.",
                ),
                Some(true) if me.api_access == Some(false) => warn(
                    "Nexudus says that the account has no API access, but answered a request",
                    "Ask an administrator of your Nexudus account to turn API access on, if a request \
                     gets 401.",
                ),
                Some(true) => ok("the account may use the API"),
                None => warn("Nexudus does not say", "Try a request."),
            };
            let accepted = match auth {
                UpstreamAuth::Bearer => "valid",
                UpstreamAuth::Basic => {
                    "none: each request carries the login (upstream.auth is basic), which is accepted"
                }
            };
            (ok(format!("{accepted} for {}, checked through the {through}", me.title())), access)
        }
        Err(error) => (outcome_of(&error), skip("no request can be sent without a session")),
    }
}

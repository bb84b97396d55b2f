//! `doctor`: everything that a request needs, checked; what fails says how to repair it.
//!
//! Checks that do not need each other run side by side. Nothing here changes what is stored, but
//! for an entry of its own that it writes to the keychain and removes.

mod local;
mod network;

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::exit::Report;
use super::running::{Other, RESTART, Running, in_use};
use super::status::token as token_of;
use super::{Code, Failure, Globals, Print, flags::AlsoKeys, serve, whoami};
use crate::admin::wire::Session;
use crate::config::{Config, Loaded, Origin, Paths, in_profile};
use crate::daemon::{self, process};
use crate::session;

/// What `doctor` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    keys: AlsoKeys,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    verdict: Verdict,
    finding: String,
    fix: Option<String>,
    elapsed_ms: u64,
}

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
    Skip,
}

/// What a check found.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    finding: String,
    fix: Option<String>,
}

/// Checks everything.
pub(super) fn run(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    process::harden();
    let loaded = globals.load(options.keys.given());
    let lines = match loaded {
        // Without a configuration there is nothing to check by; its problems are the report.
        Err(failure) => vec![Line::of("config", failed(&failure), Duration::ZERO)],
        Ok(loaded) => {
            let mut lines = serve::control()?.block_on(all(&loaded, print));
            onward(&mut lines);
            let fixes = lines.iter_mut().filter_map(|line| line.fix.as_mut());
            fixes.for_each(|fix| *fix = in_profile(fix, &loaded.paths.profile));
            lines
        }
    };
    if !globals.json {
        show(&lines, print)?;
    }
    let failed = lines.iter().filter(|line| line.verdict == Verdict::Fail).count();
    let shown = json!({ "passed": failed == 0, "checks": lines });
    let sentence = match failed {
        0 if globals.json => return print.json(&shown),
        0 => return Ok(()),
        1 => "one check failed".to_owned(),
        _ => format!("{failed} checks failed"),
    };
    let failure = Failure::Other { sentence, code: Code::Failed, hint: None };
    Err(Failure::Shown { shown, failure: Box::new(failure) })
}

/// Whoever is here has asked `doctor` already.
fn onward(lines: &mut [Line]) {
    let sends_here = |line: &&mut Line| {
        line.fix.as_ref().is_some_and(|fix| fix.contains("`nexudus-proxy doctor`"))
    };
    let failed = lines.iter().filter(|line| line.verdict == Verdict::Fail);
    let failed: Vec<_> = failed.map(|line| line.check).collect();
    for line in lines.iter_mut().filter(sends_here) {
        let others = failed.iter().copied().filter(|check| *check != line.check);
        let others = others.collect::<Vec<_>>().join(", ");
        line.fix = Some(match others.is_empty() {
            true => "All that lies before it is well: try again, and look at the daemon's log."
                .to_owned(),
            false => format!("Repair first what fails beside it: {others}."),
        });
    }
}

async fn all(loaded: &Loaded, print: Print) -> Vec<Line> {
    let Loaded { config, paths, .. } = loaded;
    let own = &config.upstream.origin;
    let credentials = daemon::credentials(config, paths);
    let serving = Running::of(config, paths).status().await;
    let other = serving.as_ref().and_then(|status| Other::of(status, own, paths));
    let other = other.as_ref();
    let (config, keys) = match &serving {
        Some(status) => in_use(config, paths, status),
        None => (config.clone(), vec![]),
    };
    let config = &config;
    let running = Running::of(config, paths);
    let mut lines = vec![Line::of("config", local::config(loaded), Duration::ZERO)];
    let stored = async {
        let daemon = serving.as_ref().map(|status| &status.session);
        let store = timed("store", local::store(config, paths, &credentials, daemon)).await;
        [store, timed("login", local::login(&credentials, own, other, paths, daemon)).await]
    };
    let here = async {
        let is_there = serving.is_some() || running.is_there().await;
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
        // It has seen more than the one answer above.
        let known = lines.iter_mut().find(|line| line.check == network::THROTTLE);
        known.into_iter().for_each(|line| line.tell(network::paced(&status.throttle)));
    }
    let daemon = serving.as_ref().map(|status| &status.session);
    lines.extend(token(config, (own, other), paths, daemon, print).await);
    lines
}

/// Asks who is logged in, as everything else will: the token and what it may do.
async fn token(
    config: &Config,
    (own, other): (&Origin, Option<&Other>),
    paths: &Paths,
    daemon: Option<&Session>,
    print: Print,
) -> [Line; 2] {
    let began = Instant::now();
    let asked = whoami::ask(config, own, other, paths, print).await;
    let elapsed = began.elapsed();
    let (token, access) = match asked {
        Ok((me, through)) => {
            let access = match me.api_access {
                Some(false) => fail(
                    "forbidden: the account has no API access",
                    "Ask an administrator of your Nexudus account to turn it on.",
                ),
                Some(true) => ok("the account may use the API"),
                None => warn("Nexudus does not say", "Try a request."),
            };
            (ok(format!("valid for {}, asked through the {through}", me.title())), access)
        }
        Err(failure) => match (&failure, daemon) {
            // It let nobody in without a key, and this command has no login of its own for there.
            (
                Failure::Session(session::Error::NotLoggedIn(_))
                | Failure::Whoami(whoami::Error::OtherUpstream { .. }),
                Some(daemon),
            ) => secondhand(daemon),
            (_, _) => (failed(&failure), skip("there is no token to ask with")),
        },
    };
    [Line::of("token", token, elapsed), Line::of("api access", access, Duration::ZERO)]
}

/// Tells of the token what a daemon says that cannot be asked for more.
fn secondhand(daemon: &Session) -> (Finding, Finding) {
    match (&daemon.error, daemon.expires_in_s) {
        (None, Some(_)) => (
            ok(format!("{}, says the daemon", token_of(daemon))),
            match daemon.api_access {
                Some(false) => fail(
                    "forbidden: the account has no API access, says the daemon",
                    "Ask an administrator of your Nexudus account to turn it on.",
                ),
                Some(true) | None => skip("the daemon lets nobody ask without a client key"),
            },
        ),
        (Some(error), _) => {
            let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            let told = fail(format!("{}{cause}, says the daemon", error.sentence), &*error.hint);
            (told, skip("there is no token to ask with"))
        }
        (None, None) => (
            warn("none yet, says the daemon", "Wait: it is being asked for."),
            skip("there is no token to ask with"),
        ),
    }
}

async fn timed(check: &'static str, work: impl Future<Output = Finding>) -> Line {
    let began = Instant::now();
    let finding = work.await;
    Line::of(check, finding, began.elapsed())
}

fn show(lines: &[Line], print: Print) -> Result<(), Failure> {
    let mut rows = vec![];
    for line in lines {
        let verdict = match line.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
            Verdict::Skip => "skip",
        };
        let elapsed = format!("{} ms", line.elapsed_ms);
        rows.push([verdict.to_owned(), line.check.to_owned(), elapsed, line.finding.clone()]);
        if let Some(fix) = &line.fix {
            rows.push([String::new(), String::new(), String::new(), format!("→ {fix}")]);
        }
    }
    print.table(&rows, "\0")?;
    print.note(
        "Answers of Nexudus hold personal data, unredacted: mind where you send them, and what \
         you paste into a report.",
    );
    Ok(())
}

impl Line {
    fn of(check: &'static str, finding: Finding, elapsed: Duration) -> Self {
        let Finding { verdict, finding, fix } = finding;
        let elapsed_ms = elapsed.as_millis().try_into().unwrap_or(u64::MAX);
        Self { check, verdict, finding, fix, elapsed_ms }
    }

    fn tell(&mut self, told: Finding) {
        (self.verdict, self.finding, self.fix) = (told.verdict, told.finding, told.fix);
    }
}

fn ok(finding: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, finding: finding.into(), fix: None }
}

fn warn(finding: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Warn, finding: finding.into(), fix: Some(fix.into()) }
}

fn fail(finding: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Fail, finding: finding.into(), fix: Some(fix.into()) }
}

fn skip(finding: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Skip, finding: finding.into(), fix: None }
}

/// Tells a failure in one line.
fn failed(failure: &Failure) -> Finding {
    let first = failure.reports().into_iter().next();
    let first = first.unwrap_or(Report { sentence: String::new(), causes: vec![], hint: None });
    let parts: Vec<_> = std::iter::once(first.sentence).chain(first.causes).collect();
    Finding { verdict: Verdict::Fail, finding: parts.join(": "), fix: first.hint }
}

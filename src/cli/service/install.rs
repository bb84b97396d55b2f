//! `service install`: writes the files, starts the service, and says what state it is in and what
//! comes next.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{CliError, GlobalArgs, Printer, Steps, end_daemon, format_rows, service_spec, sources};
use crate::admin::api::Status;
use crate::admin::client::{self as admin, AdminClient};
#[cfg(unix)]
use crate::cli::prompt;
use crate::cli::{daemon_client, serve};
use crate::config::{Config, LoadedConfig, Paths};
use crate::problem::{ExitCode, ProblemKind};
use crate::service::{Service, ServiceSpec};
use crate::session::SessionState;

/// Installs the service.
pub(super) fn run(
    system: bool,
    yes: bool,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let LoadedConfig { config, paths, warnings, .. } = sources(system, globals).load()?;
    warnings.iter().for_each(|warning| print.warning(warning));
    let mut steps = Steps::new(globals.json, print);
    let spec = service_spec(&config, &paths, globals)?;
    // A service that cannot be needs no copy of the program.
    Service::new(spec.clone(), system)?;
    let spec = if system { with_visible_program(spec, yes, &mut steps)? } else { spec };
    let service = Service::new(spec, system)?;
    let sockets = if system {
        vec![paths.admin_socket()]
    } else {
        daemon_client::admin_sockets(globals)?.into_iter().take(1).collect()
    };
    if service.is_installed() {
        // Only that makes room for the program and the task that are installed now.
        end_daemon(&service, globals, &steps)?;
    }
    if !service.is_active() {
        ensure_no_daemon(&sockets)?;
    }
    service.install(&mut |event| steps.tell(event))?;
    let summary = Summary {
        system,
        config: &config,
        paths: &paths,
        status: settled(&sockets, service.ends_with_daemon())?,
    };
    if globals.json {
        print.json(&json!({ "did": steps.events, "state": summary.to_json() }))?;
    } else {
        print.raw(format_rows(summary.rows(), print).as_bytes())?;
    }
    if service.has_linger() == Some(false) {
        print.note(LINGER_NOTE);
    }
    Ok(())
}

/// Copies a program that the system unit could not see, such as one below a home directory.
#[cfg(unix)]
fn with_visible_program(
    spec: ServiceSpec,
    yes: bool,
    steps: &mut Steps,
) -> Result<ServiceSpec, CliError> {
    use crate::service::{SYSTEM_PROGRAM, copy_program, is_hidden_from_system};

    if !is_hidden_from_system(&spec.program) {
        return Ok(spec);
    }
    let place = spec.program.display();
    let question = format!(
        "The system service cannot see {place}: it sees no home directory. Copy the program to \
         {SYSTEM_PROGRAM}?"
    );
    let instead = "Run it again with --yes: it copies the program to /usr/local/bin.";
    if !yes && !prompt::confirm(&question, instead, steps.print)? {
        let message = format!("the system service cannot see {place}");
        let hint = "Copy the program to /usr/local/bin yourself, and install the service with it.";
        return Err(CliError::message(ExitCode::Failed, message, Some(hint)));
    }
    let target = PathBuf::from(SYSTEM_PROGRAM);
    copy_program(&spec.program, &target, &mut |event| steps.tell(event))?;
    Ok(ServiceSpec { program: target, ..spec })
}

#[cfg(not(unix))]
fn with_visible_program(
    spec: ServiceSpec,
    _: bool,
    _: &mut Steps,
) -> Result<ServiceSpec, CliError> {
    Ok(spec)
}

/// Fails where a daemon that was started by hand holds the addresses that the service needs.
fn ensure_no_daemon(sockets: &[PathBuf]) -> Result<(), CliError> {
    let running: Result<Status, admin::Error> = serve::control_runtime()?
        .block_on(async { AdminClient::find(sockets).await?.get("/v1/status").await });
    match running {
        Err(admin::Error::NotRunning | admin::Error::ConnectionClosed(_)) => Ok(()),
        Ok(status) => Err(CliError::message(
            ExitCode::Failed,
            format!("a daemon runs already, and not as a service: process {}", status.pid),
            Some("Stop it first: `nexudus-proxy stop`."),
        )),
        // A process that accepts and does not answer holds the addresses all the same.
        Err(
            error @ (admin::Error::Unresponsive { .. }
            | admin::Error::Unfinished { .. }
            | admin::Error::Forbidden { .. }
            | admin::Error::Unreachable { .. }
            | admin::Error::Problem(_)
            | admin::Error::VersionMismatch),
        ) => Err(error.into()),
    }
}

/// Returns the daemon's status once its first login has ended, if it answers in time. `is_starting`: it
/// opens its sockets itself, and may not be so far.
fn settled(sockets: &[PathBuf], is_starting: bool) -> Result<Option<Status>, CliError> {
    let mut last = None;
    let asking = async {
        let daemon = loop {
            match AdminClient::find(sockets).await {
                Err(_) if is_starting => tokio::time::sleep(STATUS_POLL_INTERVAL).await,
                found => break found.ok()?,
            }
        };
        loop {
            let status: Status = daemon.get("/v1/status").await.ok()?;
            let session = &status.session.status;
            let is_settled = match session.state {
                SessionState::Starting => false,
                // While an attempt runs, the error is what it waits for, or that of an earlier one.
                SessionState::Waiting => session.error.is_some() && !session.renewing,
                SessionState::Ready
                | SessionState::Locked
                | SessionState::NotLoggedIn
                | SessionState::Refused
                | SessionState::TotpRequired
                | SessionState::PasswordReset
                | SessionState::Expired
                | SessionState::CredentialsUnavailable => true,
            };
            last = Some(status);
            if is_settled {
                return Some(());
            }
            tokio::time::sleep(STATUS_POLL_INTERVAL).await;
        }
    };
    let runtime = serve::control_runtime()?;
    // What was seen last is told, whether it is settled or not.
    let _ = runtime.block_on(async { tokio::time::timeout(SETTLE_TIMEOUT, asking).await });
    Ok(last)
}

/// The summary for a person after the installation.
struct Summary<'a> {
    system: bool,
    config: &'a Config,
    paths: &'a Paths,
    /// `None`: the daemon does not answer yet.
    status: Option<Status>,
}

impl Summary<'_> {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows =
            vec![("serves", self.url()), ("session", self.session()), ("callers", self.callers())];
        rows.extend(self.next_steps().into_iter().map(|step| ("next", step)));
        rows
    }

    fn to_json(&self) -> Json {
        json!({
            "url": self.url(),
            "session": self.status.as_ref().map(|status| status.session.status.state),
            "ready": self.status.as_ref().is_some_and(|status| status.readiness.ready),
            "callers": self.callers(),
            "next": self.next_steps(),
        })
    }

    fn url(&self) -> String {
        match (self.config.listen.tcp.first(), &self.status) {
            (Some(address), _) if address.ip().is_loopback() => {
                format!("http://localhost:{}", address.port())
            }
            (Some(address), _) => format!("http://{address}"),
            (None, Some(Status { listening, .. })) if listening.unix.is_some() => {
                let path = listening.unix.as_deref().unwrap_or(&self.paths.runtime);
                format!("the unix socket {}", path.display())
            }
            (None, _) => "a unix socket".to_owned(),
        }
    }

    fn session(&self) -> String {
        let Some(status) = &self.status else {
            return "the daemon does not answer yet".to_owned();
        };
        match status.readiness.reasons.first() {
            Some(reason) => match &reason.cause {
                Some(cause) => format!("{}: {cause}", reason.sentence),
                None => reason.sentence.clone(),
            },
            None => {
                let account = status.session.status.account.as_deref();
                format!("logged in{}", account.map(|it| format!(" as {it}")).unwrap_or_default())
            }
        }
    }

    fn callers(&self) -> String {
        let named = |names: &[String]| names.join(", ");
        let listen = &self.config.listen;
        let parts = [
            (!self.system).then(|| "you".to_owned()),
            (!listen.users.is_empty()).then(|| named(&listen.users)),
            (!listen.groups.is_empty()).then(|| format!("members of {}", named(&listen.groups))),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            "no user yet: the service has a user of its own (listen.users)".to_owned()
        } else {
            parts.join(", ")
        }
    }

    fn next_steps(&self) -> Vec<String> {
        let flag = if self.system { " --system" } else { "" };
        let Some(status) = &self.status else {
            return vec![format!("`nexudus-proxy service status{flag}`")];
        };
        let mut steps = vec![];
        if let Some(reason) = status.readiness.reasons.first() {
            let is_login = reason.code == ProblemKind::NotLoggedIn.code();
            steps.push(if is_login {
                format!("`nexudus-proxy login{flag}`")
            } else {
                reason.hint.clone()
            });
        }
        if self.system
            && self.config.listen.users.is_empty()
            && self.config.listen.groups.is_empty()
        {
            let invoker = std::env::var("SUDO_USER").ok().filter(|name| name != "root");
            let name = invoker.unwrap_or_else(|| "NAME".to_owned());
            steps.push(format!(
                "write `users = [\"{name}\"]` below `[listen]` in {}, and run `nexudus-proxy \
                 reload`",
                self.paths.config.display()
            ));
        }
        if steps.is_empty() {
            steps.push(format!("`curl {}/api/auth/me`", self.url()));
        }
        steps
    }
}

/// Longest wait for the first login: name resolution and a slow Nexudus, not a retry.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(100);

const LINGER_NOTE: &str = "It ends when you log out, and starts with your next login. \
    `loginctl enable-linger` keeps it running from the machine's start on.";

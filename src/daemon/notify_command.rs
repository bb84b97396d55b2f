//! `[notify] command`: notifies a person when the daemon cannot help itself.
//!
//! The command runs once per cause, and again for the same cause only after the session was ready
//! in between, or the certificate authority was made anew. The command gets no secret, neither in its arguments nor in its environment, and its
//! output is discarded.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::ca::{AuthorityKind, EXPIRY_NOTICE, LiveAuthorities};
use crate::children::OwnChild;
use crate::clock::Clock;
use crate::config::{Notify, Paths, explain_refusal, with_profile_flag};
use crate::credentials::{self, Credentials, PRIVATE_ENV_VARIABLES};
use crate::session::{Session, SessionState, SessionStatus};

/// The reason for a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alert {
    /// The stable code: `session.refused`, `session.degraded`, ….
    cause: &'static str,
    message: String,
}

/// Starts to watch the session, if a command is configured.
pub(super) fn start(
    config: &Notify,
    paths: &Paths,
    credentials: Credentials,
    (session, authorities, clock): (&Session, &LiveAuthorities, &Clock),
) -> Option<JoinHandle<()>> {
    let call = Call { command: config.command.clone(), profile: paths.profile.clone() };
    let (authorities, clock) = (authorities.clone(), clock.clone());
    (!call.command.is_empty())
        .then(|| tokio::spawn(watch(session.clone(), credentials, authorities, clock, call)))
}

/// The command, and the profile that it is told of.
struct Call {
    command: Vec<String>,
    profile: String,
}

/// Watches the session until it ends.
async fn watch(
    session: Session,
    credentials: Credentials,
    authorities: LiveAuthorities,
    clock: Clock,
    call: Call,
) {
    let mut changes = session.subscribe();
    let mut replacements = authorities.changes();
    let mut notified = BTreeSet::new();
    let mut ending = BTreeSet::new();
    loop {
        for kind in AuthorityKind::ALL {
            match alert_for_end(kind, &authorities, clock.now().wall) {
                Some(alert) if ending.insert(kind.name()) => call.run(&alert).await,
                Some(_) => {}
                None => drop(ending.remove(kind.name())),
            }
        }
        let status = session.status();
        let alert = match alert_for(&status) {
            // With a password, the daemon starts a new session by itself.
            Some(alert) if alert.cause == LAPSING && has_password(&credentials).await => None,
            alert => alert,
        };
        match alert {
            Some(alert) if notified.insert(alert.cause) => call.run(&alert).await,
            Some(_) => {}
            // During an attempt it is not known whether the cause is gone.
            None if status.state == SessionState::Ready => notified.clear(),
            None => {}
        }
        // The end of a session comes without an event.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            // `authorities` holds the sender.
            _ = replacements.changed() => {}
            () = tokio::time::sleep(SESSION_POLL_INTERVAL) => {}
        }
    }
}

/// Returns the alert for an authority that ends soon.
fn alert_for_end(
    kind: AuthorityKind,
    authorities: &LiveAuthorities,
    now: SystemTime,
) -> Option<Alert> {
    let issuer = authorities.get(kind)?;
    let end = issuer.authority().not_after();
    (end < now + EXPIRY_NOTICE).then(|| Alert {
        cause: "ca.expiring",
        message: format!(
            "the {kind} certificate authority ends on {}: `nexudus-proxy ca rotate {kind}` makes \
             another one",
            humantime::format_rfc3339_seconds(end)
        ),
    })
}

fn alert_for(status: &SessionStatus) -> Option<Alert> {
    let sentence = || status.error.as_ref().map(|error| error.sentence.clone()).unwrap_or_default();
    let stuck = match status.state {
        SessionState::Refused => Some("session.refused"),
        SessionState::TotpRequired => Some("session.totp-required"),
        SessionState::PasswordReset => Some("session.password-reset"),
        SessionState::Expired => Some("session.expired"),
        SessionState::Starting
        | SessionState::Ready
        | SessionState::Waiting
        | SessionState::Locked
        | SessionState::NotLoggedIn
        | SessionState::CredentialsUnavailable => None,
    };
    if let Some(cause) = stuck {
        return Some(Alert { cause, message: sentence() });
    }
    if let Some(reason) = &status.degraded {
        return Some(Alert { cause: "session.degraded", message: reason.clone() });
    }
    let left = status.refresh_token_expires_in.filter(|left| *left < LAPSING_THRESHOLD)?;
    let hours = left.as_secs() / 3_600;
    let message = format!("the saved session lapses in {hours} h and no password is stored");
    Some(Alert { cause: LAPSING, message })
}

/// Says whether a password may be stored. Runs no credential command: it may prompt a person.
async fn has_password(credentials: &Credentials) -> bool {
    !credentials.sources_beside_keychain().is_empty()
        || !matches!(credentials.load().await, Err(credentials::Error::Missing(_)))
}

impl Call {
    async fn run(&self, alert: &Alert) {
        run_command(&self.command, alert, &self.profile).await;
    }
}

async fn run_command(argv: &[String], alert: &Alert, profile: &str) {
    let Some((program, arguments)) = argv.split_first() else { return };
    tracing::warn!(cause = alert.cause, error = alert.message, "a person is needed");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NEXUDUS_NOTIFY_CAUSE", alert.cause)
        .env("NEXUDUS_NOTIFY_MESSAGE", with_profile_flag(&alert.message, profile))
        .env("NEXUDUS_NOTIFY_PROFILE", profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    PRIVATE_ENV_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    let failed = match command.spawn() {
        Err(error) => explain_refusal(program).or_else(|| Some(error.to_string())),
        Ok(mut child) => {
            let _own = OwnChild::new(child.id());
            match tokio::time::timeout(COMMAND_TIMEOUT, child.wait()).await {
                Ok(Ok(status)) if status.success() => None,
                Ok(Ok(status)) => Some(status.to_string()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => {
                    Some(format!("the command did not end within {} s", COMMAND_TIMEOUT.as_secs()))
                }
            }
        }
    };
    if let Some(error) = failed {
        tracing::error!(program, error, "notify.command failed");
    }
}

const LAPSING: &str = "session.lapsing";

/// How long before its end a session without a stored password is reported: over a weekend.
const LAPSING_THRESHOLD: Duration = Duration::from_secs(3 * 24 * 60 * 60);

const SESSION_POLL_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Longest time that the command may run.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

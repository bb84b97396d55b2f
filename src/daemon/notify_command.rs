//! `[notify] command`: calls a person when the daemon cannot help itself.
//!
//! Once per cause; a cause may be told again after all has been well in between. The command gets
//! no secret: not in its arguments, not in its environment, and what it prints goes nowhere.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::config::{Notify, Paths};
use crate::credentials::{self, Credentials, SECRET_ENV_VARIABLES};
use crate::session::{Session, SessionState, SessionStatus};

/// What somebody is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alert {
    /// The stable word: `session.refused`, `session.degraded`, ….
    cause: &'static str,
    message: String,
}

/// Starts to watch the session, where there is a command to call somebody with.
pub(super) fn start(
    config: &Notify,
    paths: &Paths,
    session: &Session,
    credentials: Credentials,
) -> Option<JoinHandle<()>> {
    let (command, profile) = (config.command.clone(), paths.profile.clone());
    (!command.is_empty())
        .then(|| tokio::spawn(watch(session.clone(), credentials, command, profile)))
}

/// Watches the session until it is gone.
async fn watch(session: Session, credentials: Credentials, command: Vec<String>, profile: String) {
    let mut changes = session.subscribe();
    let mut told = BTreeSet::new();
    loop {
        let view = session.status();
        let call = match alert_for(&view) {
            // A login with a password starts a new session by itself.
            Some(call) if call.cause == LAPSING && has_password(&credentials).await => None,
            call => call,
        };
        match call {
            Some(call) if told.insert(call.cause) => run_command(&command, &call, &profile).await,
            Some(_) => {}
            // While an attempt is under way nothing is known to be well.
            None if view.state == SessionState::Ready => told.clear(),
            None => {}
        }
        // A session lapses without any event.
        match tokio::time::timeout(SESSION_POLL_INTERVAL, changes.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return,
        }
    }
}

fn alert_for(view: &SessionStatus) -> Option<Alert> {
    let trouble = || view.error.as_ref().map(|error| error.sentence.clone()).unwrap_or_default();
    let stuck = match view.state {
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
        return Some(Alert { cause, message: trouble() });
    }
    if let Some(reason) = &view.degraded {
        return Some(Alert { cause: "session.degraded", message: reason.clone() });
    }
    let left = view.refresh_token_expires_in.filter(|left| *left < LAPSING_THRESHOLD)?;
    let hours = left.as_secs() / 3_600;
    let message = format!("the saved session lapses in {hours} h and no password is stored");
    Some(Alert { cause: LAPSING, message })
}

/// Says whether a password may be stored. A command is not run for that: it may ask a person.
async fn has_password(credentials: &Credentials) -> bool {
    !credentials.sources_beside_keychain().is_empty()
        || !matches!(credentials.load().await, Err(credentials::Error::Missing(_)))
}

async fn run_command(argv: &[String], call: &Alert, profile: &str) {
    let Some((program, arguments)) = argv.split_first() else { return };
    tracing::warn!(cause = call.cause, error = call.message, "a person is needed");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NEXUDUS_NOTIFY_CAUSE", call.cause)
        .env("NEXUDUS_NOTIFY_MESSAGE", &call.message)
        .env("NEXUDUS_NOTIFY_PROFILE", profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    SECRET_ENV_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    let failed = match command.spawn() {
        Err(error) => Some(error.to_string()),
        Ok(mut child) => match tokio::time::timeout(COMMAND_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) if status.success() => None,
            Ok(Ok(status)) => Some(status.to_string()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it did not end within {} s", COMMAND_TIMEOUT.as_secs())),
        },
    };
    if let Some(error) = failed {
        tracing::error!(program, error, "nobody could be told: notify.command failed");
    }
}

const LAPSING: &str = "session.lapsing";

/// How long before its end a session-only login is told about: over a weekend.
const LAPSING_THRESHOLD: Duration = Duration::from_secs(3 * 24 * 60 * 60);

const SESSION_POLL_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Longest run of the command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

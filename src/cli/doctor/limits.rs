//! Checks of what goes round the limits of clients: a program that leaves its key out.

use super::check::{CheckOutcome, ok, warn};
use crate::cli::client_redaction;
use crate::clients::{ClientPolicy, ClientStatus};
use crate::config::{AnonymousAccess, Config, RedactMode, Rule};

/// Compares what redacted clients see with what callers without a key see; `None` where there is no
/// redacted client.
pub(super) fn redaction(config: &Config, clients: &[ClientStatus]) -> Option<CheckOutcome> {
    let redacted = clients.iter().filter(|client| client.limits.redaction.is_active());
    let modes: Vec<_> = redacted.map(|client| client.limits.redaction.mode).collect();
    if modes.is_empty() {
        return None;
    }
    let mut wider =
        modes.into_iter().filter(|mode| client_redaction::is_anonymous_wider(*mode, config));
    let Some(first) = wider.next() else {
        return Some(ok("callers without a key see no more than redacted clients"));
    };
    let needed = match wider.fold(first, RedactMode::max) {
        RedactMode::Off | RedactMode::Table => "table",
        RedactMode::All => "all",
    };
    Some(warn(
        "callers without a key read personal values that redacted clients do not",
        format!(
            "Set policy.anonymous_redact = \"{needed}\", or policy.anonymous = \"none\"; then \
             `nexudus-proxy reload`, where a daemon runs."
        ),
    ))
}

/// Says whether callers without a key go round what clients are asked about or have a budget of; `None`
/// where there is no such client.
pub(super) fn limits(config: &Config, clients: &[ClientStatus]) -> Option<CheckOutcome> {
    let mut bound = clients.iter().filter(|client| binds(&client.limits)).peekable();
    bound.peek()?;
    let evaded = bound.filter(|client| is_evaded(&client.limits, config));
    let names: Vec<_> = evaded.map(|client| client.name.as_str()).collect();
    if names.is_empty() {
        return Some(ok("callers without a key go round no question and no budget of a client"));
    }
    Some(warn(
        format!(
            "a program that leaves its key out goes round the questions and budgets of {}",
            names.join(", ")
        ),
        "Set policy.anonymous = \"none\" and give each tool a key (`nexudus-proxy client add NAME`); \
         then `nexudus-proxy reload`, where a daemon runs.",
    ))
}

/// Says whether a person is asked about the client, or something of it is counted.
fn binds(limits: &ClientPolicy) -> bool {
    limits.ask.iter().next().is_some()
        || !limits.budgets.is_empty()
        || limits.max_requests.is_some()
}

/// Says whether a caller without a key may do uncounted and unasked what this client may not.
fn is_evaded(limits: &ClientPolicy, config: &Config) -> bool {
    let mut unasked = limits.ask.iter().filter(|rule| {
        // The owner's rules hold for every caller.
        let owner = config.policy.deny.iter().chain(&config.policy.ask);
        !owner.into_iter().any(|other| other.covers(rule))
    });
    match config.policy.anonymous {
        _ if config.listen.expose => false,
        AnonymousAccess::Full => {
            unasked.next().is_some() || !limits.budgets.is_empty() || limits.max_requests.is_some()
        }
        AnonymousAccess::None => false,
        AnonymousAccess::ReadOnly => {
            unasked.any(Rule::can_read)
                || limits.budgets.bytes.is_some()
                || limits.max_requests.is_some()
        }
    }
}

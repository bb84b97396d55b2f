//! The charge of a request to the rate, the number and the budgets of its client.

use std::pin::Pin;
use std::sync::LazyLock;

use super::{AccessLevel, Allowed, Error, command};
use crate::clients::{ClientUse, QuotaError};
use crate::config::{Rule, RuleMatches, RuleSet};
use crate::gateway::client_auth::ClientIdentity;
use crate::gateway::path_interpretations::PathInterpretations;
use crate::upstream::ReplayBody;

/// Counts a request against the quota of its client. Where the file of the counts must be written
/// first, returns what waits for that.
///
/// # Errors
///
/// The quota that is used up.
pub(in crate::gateway) fn count(
    client: &ClientIdentity,
    of: ClientUse,
) -> Result<Option<PendingCount>, Error> {
    let ClientIdentity::Client(client) = client else { return Ok(None) };
    match client.consume(of) {
        Ok(()) => Ok(None),
        Err(QuotaError::Unreserved(call)) => {
            let client = client.clone();
            // Boxed, because few requests come here.
            Ok(Some(Box::pin(async move { Ok(client.consume_reserved(of, call).await?) })))
        }
        Err(error) => Err(error.into()),
    }
}

/// Says whether the quota of a client has room for a request, before a person is asked about it.
///
/// # Errors
///
/// The quota that is used up.
pub(in crate::gateway) async fn check_left(
    client: &ClientIdentity,
    of: ClientUse,
) -> Result<(), Error> {
    let ClientIdentity::Client(client) = client else { return Ok(()) };
    Ok(client.check_left(of).await?)
}

/// A request that is counted as soon as the file of the counts is written.
pub(in crate::gateway) type PendingCount = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Waits until a request is counted, if it was not counted at once.
pub(in crate::gateway) async fn wait_counted(pending: Option<PendingCount>) -> Result<(), Error> {
    match pending {
        Some(pending) => pending.await,
        None => Ok(()),
    }
}

impl Allowed {
    /// Returns what the request uses, as far as its head says.
    pub(in crate::gateway) fn use_by_head(&self) -> ClientUse {
        use_by_method(self.method().as_str())
    }

    /// Returns what the request uses: a command may delete, and by any method.
    pub(in crate::gateway) fn use_by_body(&self, body: &ReplayBody) -> ClientUse {
        if !self.awaits_command {
            return self.use_by_head();
        }
        let keys = command::keys(&self.head, body).unwrap_or_default();
        use_of(self.method().as_str(), &PathInterpretations::new(self.path()), &keys)
    }
}

fn use_by_method(method: &str) -> ClientUse {
    let is_write = !matches!(method, "GET" | "HEAD" | "OPTIONS");
    ClientUse { is_write, is_delete: method == "DELETE" }
}

/// Returns what a request with these commands uses.
pub(in crate::gateway) fn use_of(
    method: &str,
    path: &PathInterpretations<'_>,
    keys: &[String],
) -> ClientUse {
    let by_method = use_by_method(method);
    let deletes = |path: &str| {
        let mut rules = DELETIONS.commands_ignoring_extensions(method, path).into_iter();
        rules.any(|rule| keys.iter().any(|key| rule.names_command(key)))
    };
    let is_delete = by_method.is_delete || path.any(deletes);
    ClientUse { is_write: by_method.is_write || is_delete, is_delete }
}

/// Says whether the budgets of a client depend on the command of a request.
pub(super) fn counts_commands(
    method: &str,
    path: &PathInterpretations<'_>,
    level: AccessLevel<'_>,
) -> bool {
    let AccessLevel::Client(policy) = level else { return false };
    if policy.budgets.deletes.is_none() {
        return false;
    }
    let mut found = RuleMatches::default();
    path.for_each(|path| DELETIONS.find_ignoring_extensions(method, path, &mut found));
    found.has_command
}

/// Refuses a WebSocket of a client with budgets.
pub(super) fn check_websocket(level: AccessLevel<'_>) -> Result<(), Error> {
    match level {
        AccessLevel::Client(policy) if !policy.budgets.is_empty() => Err(Error::UncountedWebSocket),
        AccessLevel::Client(_) | AccessLevel::Full | AccessLevel::ReadOnly => Ok(()),
    }
}

/// The commands that delete.
static DELETIONS: LazyLock<RuleSet> = LazyLock::new(|| {
    vec![Rule::parse("RUN *DELETE* /**").expect("the rule is well-formed")].into()
});

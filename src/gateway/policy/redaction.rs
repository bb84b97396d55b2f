//! Which clients get redacted responses, and what their requests may ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::error::Error;
use super::{Policy, check_login_material};
use crate::clients::RedactionPolicy;
use crate::clock::Clock;
use crate::config::{Config, RedactMode};
use crate::gateway::client_auth::ClientIdentity;
use crate::gateway::path_interpretations::PathInterpretations;
use crate::redact::{
    FieldRules, RecordKind, Redaction, Redactor, ResolveError, TableName, TokenVault, resolve_query,
};

/// The redaction that the client of a request is under.
#[derive(Debug)]
pub(in crate::gateway) struct RequestRedaction {
    redaction: Arc<Redaction>,
    /// The records that the path leads to, in every reading of it.
    kind: RecordKind,
    /// Whether values took the places of tokens in the request: Nexudus may repeat them.
    has_resolved: AtomicBool,
    /// Counts the values that are hidden in the response.
    redactions: Arc<AtomicU64>,
}

impl RequestRedaction {
    /// Returns what counts the values that are hidden in the response.
    pub(in crate::gateway) fn redactions(&self) -> &Arc<AtomicU64> {
        &self.redactions
    }

    pub(in crate::gateway) fn redaction(&self) -> &Arc<Redaction> {
        &self.redaction
    }

    pub(in crate::gateway) fn kind(&self) -> RecordKind {
        self.kind
    }

    pub(in crate::gateway) fn has_resolved(&self) -> bool {
        self.has_resolved.load(Ordering::Relaxed)
    }

    pub(in crate::gateway) fn set_resolved(&self) {
        self.has_resolved.store(true, Ordering::Relaxed);
    }
}

impl Policy {
    /// Redacts with `redactor`, and for clients without a key as `anonymous` says.
    #[must_use]
    pub fn with_redaction(self, redactor: Redactor, anonymous: RedactMode) -> Self {
        Self { redactor, anonymous_redact: anonymous, ..self }
    }

    /// Returns the tokens of a redacted client as long as those of an earlier process are not read.
    pub(in crate::gateway) fn unread_tokens(&self, client: &ClientIdentity) -> Option<TokenVault> {
        let is_redacted = match client {
            ClientIdentity::Anonymous => self.anonymous_redact != RedactMode::Off,
            ClientIdentity::Client(client) => client.policy().redaction.is_active(),
        };
        Some(self.redactor.vault()).filter(|it| is_redacted && !it.is_settled()).cloned()
    }

    /// Checks the head of a redacted client's request, and puts the values of its tokens into its
    /// query.
    pub(super) fn redact_request(
        &self,
        client: &ClientIdentity,
        head: &mut Parts,
        is_websocket: bool,
    ) -> Result<Option<Box<RequestRedaction>>, Error> {
        let Some(redaction) = self.redaction(client) else { return Ok(None) };
        if is_websocket {
            return Err(Error::Unredactable("a WebSocket carries any bytes"));
        }
        if matches!(client, ClientIdentity::Anonymous) {
            // Who has a token asks Nexudus itself, for everything.
            let path = PathInterpretations::new(head.uri.path());
            check_login_material(None, head.method.as_str(), &path)?;
        }
        let kind = redaction.record_kind(head.uri.path()).map_err(ResolveError::from)?;
        let query = head.uri.query().unwrap_or_default();
        let resolved = resolve_query(&redaction, kind, query)?;
        let has_resolved = AtomicBool::new(resolved.is_some());
        if let Some(query) = resolved {
            let target = format!("{}?{}", head.uri.path(), *query);
            let mut parts = std::mem::take(&mut head.uri).into_parts();
            parts.path_and_query =
                Some(PathAndQuery::try_from(target).map_err(|_| ResolveError::Unreadable)?);
            head.uri = Uri::from_parts(parts).map_err(|_| ResolveError::Unreadable)?;
        }
        let redactions = Arc::default();
        Ok(Some(Box::new(RequestRedaction { redaction, kind, has_resolved, redactions })))
    }

    fn redaction(&self, client: &ClientIdentity) -> Option<Arc<Redaction>> {
        match client {
            ClientIdentity::Anonymous if self.anonymous_redact == RedactMode::Off => None,
            ClientIdentity::Anonymous => {
                let name = TableName::Anonymous;
                Some(self.redactor.redaction(self.anonymous_redact, false, &name))
            }
            ClientIdentity::Client(client) => {
                let policy = &client.policy().redaction;
                if !policy.is_active() {
                    return None;
                }
                let name = match &policy.share_tokens {
                    Some(group) => TableName::Group(group.clone()),
                    None => TableName::Client(client.id().to_owned()),
                };
                Some(self.redactor.redaction(policy.mode, policy.resolve, &name))
            }
        }
    }
}

/// Checks the path and the query of a client that may be redacted, for those who ask what would happen.
/// A token counts as known.
pub(in crate::gateway) fn check_redacted_query(
    uri: &Uri,
    client: Option<&RedactionPolicy>,
    config: &Config,
) -> Result<(), Error> {
    let mode = client.map_or(config.policy.anonymous_redact, |policy| policy.mode);
    if mode == RedactMode::Off {
        return Ok(());
    }
    let fields = FieldRules::new(&config.redact.fields, &config.redact.keep);
    let vault = TokenVault::new(Clock::system());
    let redactor = Redactor::new(vault, fields, &config.upstream.origin);
    let can_resolve = client.is_some_and(|policy| policy.resolve);
    let redaction = redactor.redaction(mode, can_resolve, &TableName::Anonymous);
    let kind = redaction.record_kind(uri.path()).map_err(ResolveError::from)?;
    match resolve_query(&redaction, kind, uri.query().unwrap_or_default()) {
        Ok(_) | Err(ResolveError::Unknown(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

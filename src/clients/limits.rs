//! The limits of a client, and how they change.

use std::fmt;
use std::sync::LazyLock;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::RedactionPolicy;
use super::budget::Budgets;
use super::web_origin::WebOrigin;
use crate::config::{Rate, Rule, RuleSet};

/// The requests that a client may send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPolicy {
    /// Whether the client may only read.
    pub read_only: bool,
    /// Unless empty, one of these rules must match a request.
    pub allow: RuleSet,
    /// None of these rules may match a request.
    pub deny: RuleSet,
    /// A call that one of these rules matches waits for a person, who may allow it.
    pub ask: RuleSet,
    /// The budgets: an amount in a span of time.
    pub budgets: Budgets,
    /// When the key stops working.
    pub expires: Option<SystemTime>,
    /// Most requests in a span of time.
    pub rate: Option<Rate>,
    /// Most requests in all.
    pub max_requests: Option<u64>,
    /// Pages of this origin may send requests with the key: more than others may, and no limit.
    pub origin: Option<WebOrigin>,
    /// The values that are hidden from the client.
    pub redaction: RedactionPolicy,
}

/// One kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// [`ClientPolicy::read_only`].
    ReadOnly,
    /// [`ClientPolicy::allow`].
    Allow,
    /// [`ClientPolicy::deny`].
    Deny,
    /// [`ClientPolicy::ask`].
    Ask,
    /// [`Budgets::writes`].
    MaxWrites,
    /// [`Budgets::deletes`].
    MaxDeletes,
    /// [`Budgets::bytes`].
    MaxBytes,
    /// [`ClientPolicy::expires`].
    Expires,
    /// [`ClientPolicy::rate`].
    Rate,
    /// [`ClientPolicy::max_requests`].
    MaxRequests,
    /// [`ClientPolicy::origin`].
    Origin,
    /// [`RedactionPolicy::mode`].
    Redact,
    /// [`RedactionPolicy::resolve`].
    Resolve,
    /// [`RedactionPolicy::share_tokens`].
    ShareTokens,
}

/// A change of limits: some are cleared, then some are given. Those that it does not name stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitChange {
    /// The limits to clear.
    pub clear: Vec<Limit>,
    /// The limits to set, where they limit anything. Rules replace those of the same kind.
    pub given: ClientPolicy,
    /// Whether to deny deletions, beside the other rules.
    pub no_delete: bool,
}

impl ClientPolicy {
    /// Says whether nothing is limited. An origin is no limit.
    pub fn is_unlimited(&self) -> bool {
        Self { origin: None, ..self.clone() } == Self::default()
    }

    /// Says whether the key has expired.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl LimitChange {
    /// Returns these limits as they are after the change.
    #[must_use]
    pub fn apply(&self, limits: &ClientPolicy) -> ClientPolicy {
        let given = &self.given;
        let kept = |limit: Limit| !self.clear.contains(&limit);
        let rules = |limit: Limit, given: &RuleSet, before: &RuleSet| match given.is_empty() {
            true if kept(limit) => before.clone(),
            true => RuleSet::default(),
            false => given.clone(),
        };
        let mut deny = rules(Limit::Deny, &given.deny, &limits.deny);
        if self.no_delete {
            let more = NO_DELETE.iter().filter(|rule| !deny.contains(rule));
            deny = deny.iter().chain(more).cloned().collect();
        }
        ClientPolicy {
            read_only: given.read_only || (limits.read_only && kept(Limit::ReadOnly)),
            allow: rules(Limit::Allow, &given.allow, &limits.allow),
            deny,
            ask: rules(Limit::Ask, &given.ask, &limits.ask),
            budgets: Budgets {
                writes: given
                    .budgets
                    .writes
                    .or(limits.budgets.writes.filter(|_| kept(Limit::MaxWrites))),
                deletes: given
                    .budgets
                    .deletes
                    .or(limits.budgets.deletes.filter(|_| kept(Limit::MaxDeletes))),
                bytes: given
                    .budgets
                    .bytes
                    .or(limits.budgets.bytes.filter(|_| kept(Limit::MaxBytes))),
            },
            expires: given.expires.or(limits.expires.filter(|_| kept(Limit::Expires))),
            rate: given.rate.or(limits.rate.filter(|_| kept(Limit::Rate))),
            max_requests: given
                .max_requests
                .or(limits.max_requests.filter(|_| kept(Limit::MaxRequests))),
            origin: given.origin.clone().or(limits.origin.clone().filter(|_| kept(Limit::Origin))),
            redaction: self.kept_redaction(&limits.redaction).changed(&given.redaction),
        }
    }

    /// Returns what is left of a redaction once the limits of the change are cleared.
    fn kept_redaction(&self, before: &RedactionPolicy) -> RedactionPolicy {
        let is_kept = |limit: Limit| !self.clear.contains(&limit);
        let mode = Some(before.mode).filter(|_| is_kept(Limit::Redact));
        RedactionPolicy {
            mode: mode.unwrap_or_default(),
            resolve: before.resolve && is_kept(Limit::Resolve),
            share_tokens: before.share_tokens.clone().filter(|_| is_kept(Limit::ShareTokens)),
        }
    }

    /// Says whether the change names no limit.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rules against deleting, cancelling, voiding and refunding, by method and by command. `docs/nexudus-api.md` lists
/// the commands that were seen.
static NO_DELETE: LazyLock<[Rule; 5]> = LazyLock::new(|| {
    ["DELETE /**", "RUN *DELETE* /**", "RUN *CANCEL* /**", "RUN *VOID* /**", "RUN *REFUND* /**"]
        .map(|rule| Rule::parse(rule).expect("the rules above are well-formed"))
});

/// The allowed requests, in short: `read only, +GET /api/spaces/**`.
impl fmt::Display for ClientPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no_delete = NO_DELETE.iter().all(|rule| self.deny.contains(rule));
        let deny = self.deny.iter().filter(|rule| !no_delete || !NO_DELETE.contains(rule));
        let words = [(self.read_only, "read only"), (no_delete, "no deletions")];
        let words = words.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).to_owned());
        let words = words.chain(self.redaction.words().map(str::to_owned));
        let parts = words.chain(self.allow.iter().map(|rule| format!("+{rule}")));
        let parts = parts.chain(deny.map(|rule| format!("-{rule}")));
        let parts: Vec<_> = parts.chain(self.ask.iter().map(|rule| format!("?{rule}"))).collect();
        f.write_str(&if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") })?;
        self.origin.iter().try_for_each(|origin| write!(f, ", for pages of {origin}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::clients::Budget;
    use crate::config::RedactMode;

    #[test]
    fn a_change_replaces_what_it_names_and_keeps_the_rest() {
        let rules = |texts: &[&str]| texts.iter().map(|it| Rule::parse(it).unwrap()).collect();
        let before = ClientPolicy {
            read_only: true,
            allow: rules(&["GET /a"]),
            deny: rules(&["GET /b"]),
            ask: rules(&["GET /q"]),
            budgets: Budgets { deletes: Budget::parse_count("5/day"), ..Budgets::default() },
            expires: Some(UNIX_EPOCH),
            rate: Some(Rate::Fixed { count: 5, per: Duration::from_secs(1) }),
            max_requests: Some(7),
            origin: Some(WebOrigin::parse("http://localhost:1").unwrap()),
            redaction: RedactionPolicy { mode: RedactMode::Table, ..RedactionPolicy::default() },
        };
        assert_eq!(LimitChange::default().apply(&before), before);

        let given = ClientPolicy {
            allow: rules(&["GET /c", "GET /d"]),
            max_requests: Some(8),
            ..ClientPolicy::default()
        };
        let clear = vec![Limit::ReadOnly, Limit::Expires];
        let after = LimitChange { clear, given, no_delete: false }.apply(&before);
        let expected = ClientPolicy {
            read_only: false,
            allow: rules(&["GET /c", "GET /d"]),
            expires: None,
            max_requests: Some(8),
            ..before.clone()
        };
        assert_eq!(after, expected);

        let clear = vec![
            Limit::Allow,
            Limit::Deny,
            Limit::Rate,
            Limit::MaxRequests,
            Limit::ReadOnly,
            Limit::Redact,
        ];
        let clear = [clear, vec![Limit::Origin, Limit::Ask, Limit::MaxDeletes]].concat();
        let rest = LimitChange { clear, ..LimitChange::default() }.apply(&before);
        assert_eq!(rest, ClientPolicy { expires: Some(UNIX_EPOCH), ..ClientPolicy::default() });
        let page = ClientPolicy { origin: before.origin.clone(), ..ClientPolicy::default() };
        assert!(page.is_unlimited() && !rest.is_unlimited());
        assert_eq!(page.to_string(), "everything, for pages of http://localhost:1");
    }

    #[test]
    fn what_is_hidden_changes_part_by_part() {
        let redacted = |mode, resolve, group: Option<&str>| ClientPolicy {
            redaction: RedactionPolicy { mode, resolve, share_tokens: group.map(str::to_owned) },
            ..ClientPolicy::default()
        };
        let before = redacted(RedactMode::Table, true, Some("bots"));
        let change = |clear: Vec<Limit>, given| {
            LimitChange { clear, given, no_delete: false }.apply(&before)
        };
        let nothing = ClientPolicy::default;
        let all = redacted(RedactMode::All, false, None);
        assert_eq!(change(vec![], all), redacted(RedactMode::All, true, Some("bots")));
        let without = change(vec![Limit::Resolve, Limit::ShareTokens], nothing());
        assert_eq!(without, redacted(RedactMode::Table, false, None));
        assert_eq!(without.to_string(), "redacted");
        assert_eq!(change(vec![Limit::Redact], nothing()).redaction.mode, RedactMode::Off);
        assert_eq!(before.to_string(), "redacted, sends tokens");
    }

    #[test]
    fn deletions_are_denied_by_method_and_by_command() {
        let change = LimitChange { no_delete: true, ..LimitChange::default() };
        let limits = change.apply(&ClientPolicy::default());
        assert_eq!(limits.deny.len(), 5);
        assert_eq!(limits.to_string(), "no deletions");
        assert_eq!(change.apply(&limits), limits);
        let run = |key: &str| limits.deny.iter().any(|rule| rule.names_command(key));
        for key in [
            "COWORKER_DELETE",
            "COWORKER_INVOICE_DELETE",
            "DELETE_CONTRACT",
            "CANCEL_CONTRACT",
            "CANCEL_BOOKING",
            "COWORKER_INVOICE_CANCEL",
            "VOID_INVOICE",
            "COWORKER_INVOICE_REFUND",
        ] {
            assert!(run(key), "{key}");
        }
        for key in ["COWORKER_INVOICE_PRINT", "CHARGE_BOOKING", "PROPOSAL_SEND"] {
            assert!(!run(key), "{key}");
        }
        let more = RuleSet::from(vec![Rule::parse("* /x").unwrap()]);
        let beside = ClientPolicy { deny: more, ..ClientPolicy::default() };
        assert_eq!(change.apply(&beside).to_string(), "no deletions, -* /x");
    }
}

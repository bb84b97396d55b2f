//! The limits of a client as flags: for `client add` and for `run`.

use std::time::{Duration, SystemTime};

use super::client_redaction::{self, RedactionArgs};
use super::{CliError, Printer};
use crate::clients::{Budget, Budgets, ClientPolicy, Limit, LimitChange};
use crate::config::{AnonymousAccess, Config, ParseError, Rate, Rule, parse_duration, parse_rate};
use crate::problem::ExitCode;

/// The limits of a client.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Only GET, HEAD and OPTIONS, under /api/ and /ContentDownload/
    #[arg(long)]
    read_only: bool,
    /// Only what one of these rules is about, e.g. 'GET /api/spaces/**'; may be repeated
    #[arg(long, value_name = "RULE", value_parser = rule)]
    allow: Vec<Rule>,
    /// Nothing that one of these rules is about; may be repeated
    #[arg(long, value_name = "RULE", value_parser = rule)]
    deny: Vec<Rule>,
    /// Nothing that deletes: DELETE, and commands that delete, cancel, void or refund
    #[arg(long)]
    no_delete: bool,
    /// Hold calls that this rule matches until a person approves; may be repeated
    #[arg(long, value_name = "RULE", value_parser = rule)]
    ask: Vec<Rule>,
    #[command(flatten)]
    budgets: BudgetArgs,
    /// The key stops working after this time, e.g. 8h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    /// At most so many requests in any such span, e.g. 5/s or 100/10m
    #[arg(long, value_name = "N/TIME", value_parser = rate)]
    rate: Option<Rate>,
    /// So many requests in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_requests: Option<u64>,
    #[command(flatten)]
    redaction: RedactionArgs,
}

/// Budgets of a client: each for a span of time that begins with the first use.
#[derive(clap::Args, Clone, Debug)]
struct BudgetArgs {
    /// So many requests that may change something, e.g. 50/day
    #[arg(long, value_name = "N/TIME", value_parser = budget_of_requests)]
    max_writes: Option<Budget>,
    /// So many deletions, by DELETE or by a command, e.g. 5/day
    #[arg(long, value_name = "N/TIME", value_parser = budget_of_requests)]
    max_deletes: Option<Budget>,
    /// So many bytes of responses, e.g. 200MiB/day
    #[arg(long, value_name = "SIZE/TIME", value_parser = budget_of_bytes)]
    max_bytes: Option<Budget>,
}

impl LimitArgs {
    /// Returns the limits of a new client, from `now` on.
    pub(super) fn limits(self, now: SystemTime) -> ClientPolicy {
        self.change(now, vec![]).apply(&ClientPolicy::default())
    }

    /// Says whether this limit is given.
    pub(super) fn sets(&self, limit: Limit) -> bool {
        match limit {
            Limit::ReadOnly => self.read_only,
            Limit::Allow => !self.allow.is_empty(),
            Limit::Deny => !self.deny.is_empty(),
            Limit::Ask => !self.ask.is_empty(),
            Limit::MaxWrites => self.budgets.max_writes.is_some(),
            Limit::MaxDeletes => self.budgets.max_deletes.is_some(),
            Limit::MaxBytes => self.budgets.max_bytes.is_some(),
            Limit::Expires => self.expires.is_some(),
            Limit::Rate => self.rate.is_some(),
            Limit::MaxRequests => self.max_requests.is_some(),
            // Of `client` alone: a command is no web page.
            Limit::Origin => false,
            Limit::Redact | Limit::Resolve | Limit::ShareTokens => self.redaction.sets(limit),
        }
    }

    /// Returns the change that sets these limits from `now` on, once those of `clear` are gone.
    pub(super) fn change(self, now: SystemTime, clear: Vec<Limit>) -> LimitChange {
        let given = ClientPolicy {
            read_only: self.read_only,
            allow: self.allow.into(),
            deny: self.deny.into(),
            ask: self.ask.into(),
            budgets: Budgets {
                writes: self.budgets.max_writes,
                deletes: self.budgets.max_deletes,
                bytes: self.budgets.max_bytes,
            },
            expires: self.expires.map(|after| now + after),
            rate: self.rate,
            max_requests: self.max_requests,
            origin: None,
            redaction: self.redaction.policy(),
        };
        LimitChange { clear, given, no_delete: self.no_delete }
    }
}

/// Warns of each rule of a client that has no effect.
///
/// # Errors
///
/// When no rule that allows something has an effect: the key would be good for nothing.
pub(super) fn check_rules(
    limits: &ClientPolicy,
    config: &Config,
    print: Printer,
) -> Result<(), CliError> {
    let idle: Vec<_> =
        limits.allow.iter().map(|rule| ineffective_allow(rule, limits, config)).collect();
    let unheard = limits.deny.iter().map(never_matches);
    let unasked = limits.ask.iter().map(|rule| ineffective_ask(rule, limits, config));
    let warnings = idle.iter().cloned().chain(unheard).chain(unasked);
    warnings.flatten().for_each(|warning| print.warning(&warning));
    client_redaction::warn(limits, print);
    let asks = limits.ask.iter().any(|rule| ineffective_ask(rule, limits, config).is_none());
    if !idle.is_empty() && idle.iter().all(Option::is_some) && !asks {
        return Err(CliError::message(
            ExitCode::Usage,
            "with these rules nothing is allowed: the key would be good for nothing",
            Some("Correct what the warnings are about; nothing was changed."),
        ));
    }
    Ok(())
}

/// Returns what a client without a key may do that these limits forbid: limits bind only a client
/// that sends its key.
pub(super) fn access_without_key(limits: &ClientPolicy, config: &Config) -> Option<&'static str> {
    let only_reads = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    match config.policy.anonymous {
        _ if limits.is_unlimited() || config.listen.expose => None,
        AnonymousAccess::Full => Some("do everything"),
        AnonymousAccess::ReadOnly if *limits == only_reads => None,
        AnonymousAccess::ReadOnly => Some("read everything"),
        AnonymousAccess::None => None,
    }
}

/// Returns why a rule allows nothing, if that is so.
fn ineffective_allow(rule: &Rule, limits: &ClientPolicy, config: &Config) -> Option<String> {
    let wider =
        || config.policy.deny.iter().chain(limits.deny.iter()).find(|deny| deny.covers(rule));
    let denied =
        || Some(format!("the rule `{rule}` allows nothing: `{}` is checked first", wider()?));
    let unread = || {
        (limits.read_only && !rule.can_read()).then(|| {
            format!("the rule `{rule}` allows nothing: with --read-only there is only reading")
        })
    };
    let unspelt = || {
        (!rule.as_str().is_ascii()).then(|| {
            format!("the rule `{rule}` allows nothing: write `*` for its letters beyond ASCII")
        })
    };
    never_matches(rule).or_else(unspelt).or_else(denied).or_else(unread)
}

/// Returns why a rule asks about nothing, if that is so: what is refused anyway is not asked about.
fn ineffective_ask(rule: &Rule, limits: &ClientPolicy, config: &Config) -> Option<String> {
    let mut denied = config.policy.deny.iter().chain(limits.deny.iter());
    let wider = denied.find(|deny| deny.covers(rule));
    let is_unread = limits.read_only && !rule.can_read();
    never_matches(rule)
        .or_else(|| {
            wider.map(|deny| format!("the rule `{rule}` asks nobody: `{deny}` is checked first"))
        })
        .or_else(|| {
            is_unread.then(|| {
                format!("the rule `{rule}` asks nobody: with --read-only there is only reading")
            })
        })
}

/// Returns why no request can match a rule, if that is so.
fn never_matches(rule: &Rule) -> Option<String> {
    rule.why_unmatchable().map(|why| format!("the rule `{rule}` can never match: {why}"))
}

fn rule(text: &str) -> Result<Rule, ParseError> {
    Rule::parse(text)
}

fn budget_of_requests(text: &str) -> Result<Budget, &'static str> {
    Budget::parse_count(text).ok_or("a budget is written 50/day, 5/hour, 100/week or 10/30m")
}

fn budget_of_bytes(text: &str) -> Result<Budget, &'static str> {
    Budget::parse_bytes(text).ok_or("a budget of bytes is written 200MiB/day or 10MiB/hour")
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration = parse_duration(text).filter(|duration| !duration.is_zero());
    duration.ok_or("a duration is written 30m, 8h or 15d")
}

fn rate(text: &str) -> Result<Rate, &'static str> {
    match parse_rate(text) {
        Some(pace @ Rate::Fixed { count, .. }) if count <= MAX_RATE_COUNT => Ok(pace),
        Some(_) | None => Err("a rate is written 5/s, 100/m or 10/500ms, with at most 10000"),
    }
}

/// Largest number of requests in a rate: each request is remembered until its span is over.
const MAX_RATE_COUNT: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_gone_round_where_callers_without_a_key_may_do_more() {
        let nothing = ClientPolicy::default();
        let reads = ClientPolicy { read_only: true, ..ClientPolicy::default() };
        let some = ClientPolicy {
            allow: vec![Rule::parse("GET /api/x").unwrap()].into(),
            ..reads.clone()
        };
        let counted = ClientPolicy { max_requests: Some(1), ..ClientPolicy::default() };
        for (anonymous, limits, wider) in [
            (AnonymousAccess::Full, &nothing, None),
            (AnonymousAccess::Full, &reads, Some("do everything")),
            (AnonymousAccess::Full, &counted, Some("do everything")),
            (AnonymousAccess::ReadOnly, &reads, None),
            (AnonymousAccess::ReadOnly, &some, Some("read everything")),
            (AnonymousAccess::ReadOnly, &counted, Some("read everything")),
            (AnonymousAccess::None, &some, None),
        ] {
            let mut config = Config::default();
            config.policy.anonymous = anonymous;
            assert_eq!(access_without_key(limits, &config), wider, "{anonymous:?} {limits}");
            config.listen.expose = true;
            assert_eq!(access_without_key(limits, &config), None);
        }
    }
}

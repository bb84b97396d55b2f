//! How far a caller may go, as flags: for `client add` and for `run`.

use std::time::{Duration, SystemTime};

use super::{Code, Failure, Print};
use crate::clients::Limits;
use crate::config::{Anonymous, Config, Flaw, Pace, Rule, read_duration, read_pace};

/// The limits of a client.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(super) struct Flags {
    /// Only GET, HEAD and OPTIONS, under /api/ and /ContentDownload/
    #[arg(long)]
    read_only: bool,
    /// Only what one of these rules is about, e.g. 'GET /api/spaces/**'; may be repeated
    #[arg(long, value_name = "RULE", value_parser = rule)]
    allow: Vec<Rule>,
    /// Nothing that one of these rules is about; may be repeated
    #[arg(long, value_name = "RULE", value_parser = rule)]
    deny: Vec<Rule>,
    /// The key stops working after this time, e.g. 8h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    /// At most so many requests in any such span, e.g. 5/s or 100/10m
    #[arg(long, value_name = "N/TIME", value_parser = rate)]
    rate: Option<Pace>,
    /// So many requests in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_requests: Option<u64>,
}

impl Flags {
    /// Returns the limits, from `now` on.
    pub(super) fn limits(self, now: SystemTime) -> Limits {
        Limits {
            read_only: self.read_only,
            allow: self.allow,
            deny: self.deny,
            expires: self.expires.map(|after| now + after),
            rate: self.rate,
            max_requests: self.max_requests,
        }
    }
}

/// Warns of each rule of a client that has no effect.
///
/// # Errors
///
/// When none of those that allow something has one: the key would be good for nothing.
pub(super) fn check(limits: &Limits, config: &Config, print: Print) -> Result<(), Failure> {
    let idle: Vec<_> = limits.allow.iter().map(|rule| idle(rule, limits, config)).collect();
    let unheard = limits.deny.iter().map(unheard);
    let warnings = idle.iter().cloned().chain(unheard);
    warnings.flatten().for_each(|warning| print.warning(&warning));
    match !idle.is_empty() && idle.iter().all(Option::is_some) {
        true => Err(Failure::Other {
            sentence: "with these rules nothing is allowed: the key would be good for nothing"
                .into(),
            code: Code::Usage,
            hint: Some("Correct what the warnings are about; no key was made.".to_owned()),
        }),
        false => Ok(()),
    }
}

/// Says what a caller without a key may do that these limits forbid, if there is such: limits bind
/// only a caller that shows its key.
pub(super) fn wider_without_key(limits: &Limits, config: &Config) -> Option<&'static str> {
    let only_reads = Limits { read_only: true, ..Limits::default() };
    match config.policy.anonymous {
        _ if *limits == Limits::default() || config.listen.expose => None,
        Anonymous::Full => Some("do everything"),
        Anonymous::ReadOnly if *limits == only_reads => None,
        Anonymous::ReadOnly => Some("read everything"),
        Anonymous::None => None,
    }
}

/// Says why a rule allows nothing, if that is so.
fn idle(rule: &Rule, limits: &Limits, config: &Config) -> Option<String> {
    let wider = || config.policy.deny.iter().chain(&limits.deny).find(|deny| deny.covers(rule));
    let denied =
        || Some(format!("the rule `{rule}` allows nothing: `{}` is asked first", wider()?));
    let unread = || {
        (limits.read_only && !rule.can_read()).then(|| {
            format!("the rule `{rule}` allows nothing: with --read-only there is only reading")
        })
    };
    unheard(rule).or_else(denied).or_else(unread)
}

/// Says why no request can match a rule, if that is so.
fn unheard(rule: &Rule) -> Option<String> {
    rule.never().map(|why| format!("the rule `{rule}` can never match: {why}"))
}

fn rule(text: &str) -> Result<Rule, Flaw> {
    Rule::read(text)
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let found = read_duration(text).filter(|duration| !duration.is_zero());
    found.ok_or("a duration is written 30m, 8h or 15d")
}

fn rate(text: &str) -> Result<Pace, &'static str> {
    match read_pace(text) {
        Some(pace @ Pace::Fixed { count, .. }) if count <= MOST => Ok(pace),
        Some(_) | None => Err("a rate is written 5/s, 100/m or 10/500ms, with at most 10000"),
    }
}

/// Each is remembered until its span is over.
const MOST: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_gone_round_where_callers_without_a_key_may_do_more() {
        let nothing = Limits::default();
        let reads = Limits { read_only: true, ..Limits::default() };
        let some = Limits { allow: vec![Rule::read("GET /api/x").unwrap()], ..reads.clone() };
        let counted = Limits { max_requests: Some(1), ..Limits::default() };
        for (anonymous, limits, wider) in [
            (Anonymous::Full, &nothing, None),
            (Anonymous::Full, &reads, Some("do everything")),
            (Anonymous::Full, &counted, Some("do everything")),
            (Anonymous::ReadOnly, &reads, None),
            (Anonymous::ReadOnly, &some, Some("read everything")),
            (Anonymous::ReadOnly, &counted, Some("read everything")),
            (Anonymous::None, &some, None),
        ] {
            let mut config = Config::default();
            config.policy.anonymous = anonymous;
            assert_eq!(wider_without_key(limits, &config), wider, "{anonymous:?} {limits}");
            config.listen.expose = true;
            assert_eq!(wider_without_key(limits, &config), None);
        }
    }
}

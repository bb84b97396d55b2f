//! How far a caller may go, as flags: for `client add` and for `run`.

use std::time::{Duration, SystemTime};

use crate::clients::Limits;
use crate::config::{Config, Flaw, Pace, Rule, read_duration, read_pace};

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

/// Says which rules of a client have no effect, and why.
pub(super) fn useless(limits: &Limits, config: &Config) -> Vec<String> {
    let never = limits.allow.iter().chain(&limits.deny).filter_map(|rule| {
        rule.never().map(|why| format!("the rule `{rule}` can never match: {why}"))
    });
    let denies = config.policy.deny.iter().chain(&limits.deny);
    let denies: Vec<&Rule> = denies.collect();
    let denied = limits.allow.iter().filter_map(|rule| {
        let wider = denies.iter().find(|deny| deny.covers(rule))?;
        Some(format!("the rule `{rule}` allows nothing: `{wider}` is asked first"))
    });
    let unread = limits.allow.iter().filter(|rule| limits.read_only && !rule.can_read());
    let unread = unread.map(|rule| {
        format!("the rule `{rule}` allows nothing: with --read-only there is only reading")
    });
    never.chain(denied).chain(unread).collect()
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

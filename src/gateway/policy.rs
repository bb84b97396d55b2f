//! Which requests the upstream may get, and from whom.
//!
//! In order: the token endpoint, the rules that hold for all clients, then the rules for a limited
//! client: one with a key, or any client while anonymous ones may only read. Every rule is applied
//! to all interpretations of the path; the path itself is never changed. Rules about commands
//! (`RUN`) decide once the body is there, and only such a request has its body read for them.

mod allowed;
mod asking;
mod command;
mod error;
mod guide_request;
mod matching;
mod quota;
mod redaction;
mod sensitive_paths;

use std::sync::atomic::AtomicU32;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Request};

pub use self::allowed::Allowed;
pub(super) use self::command::in_query as commands_in_query;
pub(super) use self::error::Error;
pub use self::error::path_with_api;
pub(super) use self::guide_request::{GUIDE_PATH, is_guide};
use self::matching::{allowing, check_denied, check_login_material, find_rule};
pub(super) use self::quota::{PendingCount, check_left, count, use_of, wait_counted};
pub(super) use self::redaction::{RequestRedaction, check_redacted_query};
pub(super) use self::sensitive_paths::carries_login_material;
use self::sensitive_paths::{READABLE, TOKEN_BEARING};
use super::client_auth::ClientIdentity;
use super::guard::Admitted;
use super::max_forwards;
use super::method_override::{self, OverrideScan};
use super::path_interpretations::PathInterpretations;
use super::token_path::{TokenPathMatch, match_token_path};
use crate::clients::{ClientPolicy, RedactionPolicy};
use crate::config::{AnonymousAccess, RedactMode, Rule, RuleSet};
use crate::redact::Redactor;
use crate::upstream::ReplayBody;

/// The rules that hold for every request.
#[derive(Clone, Debug)]
pub struct Policy {
    deny: RuleSet,
    ask: RuleSet,
    anonymous: AnonymousAccess,
    has_cookies: bool,
    redactor: Redactor,
    anonymous_redact: RedactMode,
}

/// The decision about an admitted request.
#[derive(Debug)]
pub enum Decision<B> {
    /// The upstream gets it, with its body.
    Forward(Allowed, B),
    /// The daemon responds to it: an OPTIONS request that may not be forwarded (RFC 9110 §7.6.2).
    Options(ClientIdentity),
    /// The daemon tells its client what it may do; the `Host` that it called us.
    Guide(ClientIdentity, Option<HeaderValue>),
    /// The daemon handles it at its own token endpoint.
    TokenEndpoint(Request<B>, ClientIdentity),
}

/// The requests that a client may send.
#[derive(Clone, Copy, Debug)]
pub(super) enum AccessLevel<'a> {
    /// All requests.
    Full,
    /// Requests that read.
    ReadOnly,
    /// The requests that the policy of the client allows.
    Client(&'a ClientPolicy),
}

/// The reason why a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchedRule<'a> {
    /// No rule denies the request.
    None,
    /// This rule of the client allows the request.
    Rule(&'a Rule),
    /// A rule about commands decides, once the command is known.
    Command,
}

impl Policy {
    /// Denies all clients what `deny` matches, and gives clients without a key the access that
    /// `anonymous` names.
    pub fn new(deny: Vec<Rule>, anonymous: AnonymousAccess) -> Self {
        Self {
            deny: deny.into(),
            ask: RuleSet::default(),
            anonymous,
            has_cookies: false,
            redactor: Redactor::default(),
            anonymous_redact: RedactMode::Off,
        }
    }

    /// Has what `ask` matches wait for a person, whoever sends it.
    #[must_use]
    pub fn with_ask(self, ask: Vec<Rule>) -> Self {
        Self { ask: ask.into(), ..self }
    }

    /// Forwards the cookies of unlimited clients, if `is_enabled`. To a limited client they would
    /// be login material.
    #[must_use]
    pub fn with_cookies(self, is_enabled: bool) -> Self {
        Self { has_cookies: is_enabled, ..self }
    }

    pub(super) fn access_level<'a>(&self, client: &'a ClientIdentity) -> AccessLevel<'a> {
        match client {
            ClientIdentity::Client(client) => AccessLevel::Client(client.policy()),
            ClientIdentity::Anonymous => self.anonymous_level(),
        }
    }

    /// Returns the access of clients without a key, where they are admitted at all.
    pub(super) fn anonymous_level(&self) -> AccessLevel<'static> {
        match self.anonymous {
            AnonymousAccess::Full => AccessLevel::Full,
            AnonymousAccess::ReadOnly | AnonymousAccess::None => AccessLevel::ReadOnly,
        }
    }

    /// Returns the limits of clients without a key, beside their access.
    pub(super) fn anonymous_limits(&self) -> ClientPolicy {
        let redaction = RedactionPolicy { mode: self.anonymous_redact, ..<_>::default() };
        ClientPolicy { redaction, ..ClientPolicy::default() }
    }

    /// Checks a head that is not for a token endpoint.
    fn check_head(
        &self,
        head: &Parts,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'_>,
        is_websocket: bool,
    ) -> Result<HeadVerdict, Error> {
        let matched = self.check_rules(head.method.as_str(), path, level)?;
        let asks = self.may_ask(head.method.as_str(), path, level);
        let awaits_command = matched == MatchedRule::Command
            || asks.has_command
            || quota::counts_commands(head.method.as_str(), path, level);
        if is_websocket {
            // No rule sees what goes through a WebSocket: its client may do anything there.
            self.check_every_write(path, level)?;
            quota::check_websocket(level)?;
        }
        let (asks, is_full) = (asks.has_any, matches!(level, AccessLevel::Full));
        // A page that a client names (`guard.rs`): no rule gives it what logs in elsewhere.
        if !is_full && head.headers.contains_key(ORIGIN) {
            check_login_material(None, head.method.as_str(), path)?;
        }
        // A person would be shown another call than the one that is made.
        if (asks || !is_full) && method_override::in_headers(&head.headers) {
            return Err(Error::Override("a header"));
        }
        self.check_query(head.uri.query(), level)?;
        if is_full {
            return Ok(HeadVerdict { has_login_material: false, awaits_command, asks });
        }
        let has_login_material = find_rule(path, &*TOKEN_BEARING, "GET").is_some();
        if is_websocket && has_login_material {
            return Err(Error::LoginMaterialInResponse);
        }
        Ok(HeadVerdict { has_login_material, awaits_command, asks })
    }

    fn check_every_write(
        &self,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'_>,
    ) -> Result<(), Error> {
        WRITE_METHODS.iter().try_for_each(|method| match self.check_rules(method, path, level)? {
            MatchedRule::None | MatchedRule::Rule(_)
                if self.may_ask(method, path, level).has_any =>
            {
                Err(Error::Unaskable)
            }
            MatchedRule::None | MatchedRule::Rule(_) => Ok(()),
            MatchedRule::Command => Err(Error::UnreadableCommand("nothing says which it is")),
        })
    }

    /// Checks the body of a request that is about to be sent. ASP.NET MVC takes the method of a
    /// POST from a field of its form, and Nexudus takes a command from the body.
    pub(super) fn check_body(&self, allowed: &Allowed, body: &ReplayBody) -> Result<(), Error> {
        if allowed.awaits_command {
            if body.lacks_memory() {
                return Err(Error::NoMemory);
            }
            let command = command::keys(&allowed.head, body);
            let path = PathInterpretations::new(allowed.path());
            let level = self.access_level(&allowed.client);
            self.check_command(allowed.method().as_str(), &path, level, &command)?;
        }
        let level = self.access_level(&allowed.client);
        if !self.seeks_overrides(level) {
            return Ok(());
        }
        match method_override::in_body(&allowed.head.headers, body) {
            OverrideScan::Absent => Ok(()),
            OverrideScan::Present => Err(Error::Override("a field of the form")),
            // An unlimited client uploads forms of any size.
            OverrideScan::Unknown if !allowed.is_limited => Ok(()),
            // A client that may write in every way may send any form.
            OverrideScan::Unknown => {
                let path = PathInterpretations::new(allowed.path());
                let unreadable =
                    if body.lacks_memory() { Error::NoMemory } else { Error::UnreadableForm };
                self.check_every_write(&path, level).map_err(|_| unreadable)
            }
        }
    }

    /// Refuses a query that names another method than the one that the rules are asked about.
    pub(super) fn check_query(
        &self,
        query: Option<&str>,
        level: AccessLevel<'_>,
    ) -> Result<(), Error> {
        let is_override =
            self.seeks_overrides(level) && query.is_some_and(method_override::in_query);
        if is_override { Err(Error::Override("a field of the query")) } else { Ok(()) }
    }

    /// Says whether a rule may hold for the client, which another method would get round.
    fn seeks_overrides(&self, level: AccessLevel<'_>) -> bool {
        let is_limited = !matches!(level, AccessLevel::Full);
        is_limited || !self.deny.is_empty() || !self.ask.is_empty()
    }

    /// Checks a request that is not for a token endpoint.
    pub(super) fn check_rules<'a>(
        &self,
        method: &str,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'a>,
    ) -> Result<MatchedRule<'a>, Error> {
        let mut awaits_command = check_denied(&self.deny, method, path)?;
        let policy = match level {
            AccessLevel::Full if awaits_command => return Ok(MatchedRule::Command),
            AccessLevel::Full => return Ok(MatchedRule::None),
            AccessLevel::ReadOnly => None,
            AccessLevel::Client(policy) => Some(policy),
        };
        if path.is_ambiguous() {
            return Err(Error::Ambiguous);
        }
        if let Some(policy) = policy {
            awaits_command |= check_denied(&policy.deny, method, path)?;
        }
        if let Some(label) = sensitive_paths::find_indirect(path) {
            return Err(Error::Indirect(label));
        }
        if policy.is_none_or(|policy| policy.read_only) {
            let is_read = matches!(method, "GET" | "HEAD" | "OPTIONS");
            if !is_read {
                return Err(Error::ReadOnly);
            }
            let is_readable = |path: &str| READABLE.iter().any(|rule| rule.matches(method, path));
            if !path.all(is_readable) {
                return Err(Error::ReadOnlyPath { path: path.shown() });
            }
        }
        let allow = policy.map(|policy| &policy.allow).filter(|allow| !allow.is_empty());
        check_login_material(allow, method, path)?;
        let Some(allow) = allow else {
            return Ok(if awaits_command { MatchedRule::Command } else { MatchedRule::None });
        };
        match allowing(allow, method, path).find(|rule| !rule.is_command()) {
            Some(_) if awaits_command => Ok(MatchedRule::Command),
            Some(rule) => Ok(MatchedRule::Rule(rule)),
            None if allowing(allow, method, path).next().is_some() => Ok(MatchedRule::Command),
            None => asking::allowed_after_asking(level, method, path, awaits_command),
        }
    }

    /// Checks the command of a request for which [`Policy::check_rules`] awaits it: the keys that
    /// name it, or why they cannot be read.
    pub(super) fn check_command<'a>(
        &self,
        method: &str,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'a>,
        command: &Result<Vec<String>, &'static str>,
    ) -> Result<MatchedRule<'a>, Error> {
        let keys = command.as_ref().map_err(|why| Error::UnreadableCommand(why))?;
        let policy = match level {
            AccessLevel::Client(policy) => Some(policy),
            AccessLevel::Full | AccessLevel::ReadOnly => None,
        };
        for deny in [&self.deny].into_iter().chain(policy.map(|policy| &policy.deny)) {
            let denies = |path: &str| {
                let mut rules = deny.commands_ignoring_extensions(method, path).into_iter();
                rules.find(|rule| keys.iter().any(|key| rule.names_command(key)))
            };
            if let Some(rule) = path.find_map(denies) {
                return Err(Error::Denied(rule.as_str().to_owned()));
            }
        }
        let allow = policy.map(|policy| &policy.allow).filter(|allow| !allow.is_empty());
        let Some(allow) = allow else { return Ok(MatchedRule::None) };
        let ask = policy.map(|policy| &policy.ask).into_iter();
        let mut rules = allowing(allow, method, path);
        let mut asked = ask.flat_map(|ask| allowing(ask, method, path));
        let is_allowed = |rule: &&Rule| {
            !rule.is_command()
                || (!keys.is_empty() && keys.iter().all(|key| rule.names_command(key)))
        };
        let found = rules.find(is_allowed).map(MatchedRule::Rule);
        let found = found.or_else(|| asked.find(is_allowed).map(|_| MatchedRule::None));
        found.ok_or(Error::NotAllowed)
    }
}

/// The consequences of the head of a request that is not refused for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeadVerdict {
    /// Whether the response contains login material, which must be removed.
    has_login_material: bool,
    /// Whether a rule about commands decides, once the body is there.
    awaits_command: bool,
    /// Whether a rule may want a person asked, once the body is there.
    asks: bool,
}

/// Decides what happens to an admitted request.
///
/// The token endpoint never reaches Nexudus: a grant that went through would hand out real tokens
/// and end our own session.
///
/// # Errors
///
/// The first rule that the request breaks.
pub fn decide<B>(admitted: Admitted<B>, policy: &Policy) -> Result<Decision<B>, Error> {
    let (mut head, body, client, is_websocket) = admitted.into_parts();
    let path = PathInterpretations::new(head.uri.path());
    match match_token_path(head.uri.path(), &path) {
        TokenPathMatch::Other => {}
        TokenPathMatch::Exact if head.method == Method::POST => {
            return Ok(Decision::TokenEndpoint(Request::from_parts(head, body), client));
        }
        TokenPathMatch::Exact => return Err(Error::TokenMethod),
        TokenPathMatch::Ambiguous => return Err(Error::Reserved),
        TokenPathMatch::Unknown => return Err(Error::TooManyInterpretations),
    }
    if is_guide(&head.method, &head.uri, &path)? {
        return Ok(Decision::Guide(client, head.headers.get(HOST).cloned()));
    }
    let level = policy.access_level(&client);
    let is_limited = !matches!(level, AccessLevel::Full);
    let verdict = policy.check_head(&head, &path, level, is_websocket)?;
    if max_forwards::remaining(&head) == Ok(Some(0)) {
        return Ok(Decision::Options(client));
    }
    let redaction = policy.redact_request(&client, &mut head, is_websocket)?;
    let has_cookies = policy.has_cookies && !is_limited && redaction.is_none();
    let HeadVerdict { has_login_material, awaits_command, asks } = verdict;
    let allowed = Allowed {
        head,
        client,
        is_limited,
        has_login_material,
        has_cookies,
        is_websocket,
        awaits_command,
        asks,
        connect_micros: AtomicU32::new(0),
        redaction,
    };
    Ok(Decision::Forward(allowed, body))
}

/// The methods that a WebSocket can stand for, beside reading.
const WRITE_METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

#[cfg(test)]
mod tests;

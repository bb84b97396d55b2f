//! What may be asked of the upstream, and by whom.
//!
//! In order: the daemon's own endpoint, the rules that nobody passes, then what a limited caller
//! (one with a key, or anybody while callers without one may only read) must not ask. Every test is
//! put to all readings of the path; the path itself is never changed.

use std::sync::LazyLock;

use http::request::Parts;
use http::{HeaderMap, Method, Request};

use super::caller::Caller;
use super::guard::Admitted;
use super::target::Readings;
use crate::clients::{Limits, Spent};
use crate::config::{Anonymous, Rule};
use crate::upstream::{Kept, Repeat, Reuse};

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Policy {
    deny: Vec<Rule>,
    anonymous: Anonymous,
    cookies: bool,
}

/// A request that may be sent.
#[derive(Debug)]
pub(super) struct Allowed {
    head: Parts,
    caller: Caller,
    is_limited: bool,
    is_without_tokens: bool,
    has_cookies: bool,
    switches: bool,
}

/// Where an admitted request goes.
#[derive(Debug)]
pub(super) enum Verdict<B> {
    /// To the upstream, with its body.
    Forward(Allowed, B),
    /// To our own token endpoint.
    Login(Request<B>, Caller),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A server could read the path as the token endpoint, which the daemon keeps to itself.
    #[error("the path can be read as /api/token, which is answered here only in that spelling")]
    Reserved,
    /// The token endpoint takes POST.
    #[error("/api/token takes POST only")]
    TokenMethod,
    /// A rule is against it.
    #[error("the rule `{0}` is against it")]
    Denied(String),
    /// None of the client's rules is for it.
    #[error("none of the client's rules allows it")]
    NotAllowed,
    /// A limited caller wrote a path that can be read in more than one way.
    #[error("the path can be read in more than one way, and this caller is limited")]
    Ambiguous,
    /// A limited caller asked for what would make it an unlimited one.
    #[error("a limited caller gets no login material unless one of its rules allows `{0}` by name")]
    LoginMaterial(&'static str),
    /// What came back would have made it one.
    #[error("the answer could not be freed of login material for a limited caller")]
    LoginMaterialInside,
    /// A reader asked for more than reading.
    #[error("this caller may only GET, HEAD and OPTIONS what is under /api/ and /ContentDownload/")]
    ReadOnly,
    /// A client has used what it may.
    #[error(transparent)]
    Spent(#[from] Spent),
}

/// How far a caller may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach<'a> {
    /// Wherever the user may.
    Full,
    /// To what can be read.
    ReadOnly,
    /// As far as its limits.
    Client(&'a Limits),
}

/// What lets a request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground<'a> {
    /// Nothing is against it.
    Free,
    /// This rule of the client.
    Rule(&'a Rule),
}

impl Policy {
    /// Refuses what `deny` is about to everybody, and lets callers without a key go as far as
    /// `anonymous` says.
    pub fn new(deny: Vec<Rule>, anonymous: Anonymous) -> Self {
        Self { deny, anonymous, cookies: false }
    }

    /// Relays cookies to and from callers that are not limited: for the others they would be login
    /// material.
    #[must_use]
    pub fn relaying(self, cookies: bool) -> Self {
        Self { cookies, ..self }
    }

    /// Says whether a caller without a key may send this head; for measuring what that costs.
    #[doc(hidden)]
    pub fn trial(&self, head: &Parts) -> bool {
        let path = Readings::of(head.uri.path());
        endpoint(head.uri.path(), &path) == Endpoint::Other
            && self.judge(head.method.as_str(), &path, self.keyless()).is_ok()
    }

    fn reach<'a>(&self, caller: &'a Caller) -> Reach<'a> {
        match caller {
            Caller::Client(client) => Reach::Client(client.limits()),
            Caller::Keyless => self.keyless(),
        }
    }

    /// Returns how far callers without a key may go, where they get in at all.
    pub(super) fn keyless(&self) -> Reach<'static> {
        match self.anonymous {
            Anonymous::Full => Reach::Full,
            Anonymous::ReadOnly | Anonymous::None => Reach::ReadOnly,
        }
    }

    /// Judges a request that is not for the token endpoint.
    pub(super) fn judge<'a>(
        &self,
        method: &str,
        path: &Readings<'_>,
        reach: Reach<'a>,
    ) -> Result<Ground<'a>, Error> {
        let against = |rules: &[Rule]| {
            let rule = rules.iter().find(|rule| path.any(|path| rule.matches(method, path)));
            rule.map_or(Ok(()), |rule| Err(Error::Denied(rule.text().to_owned())))
        };
        against(&self.deny)?;
        let limits = match reach {
            Reach::Full => return Ok(Ground::Free),
            Reach::ReadOnly => None,
            Reach::Client(limits) => Some(limits),
        };
        if path.is_ambiguous() {
            return Err(Error::Ambiguous);
        }
        limits.map_or(Ok(()), |limits| against(&limits.deny))?;
        if limits.is_none_or(|limits| limits.read_only) {
            let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
            let below = |path: &str| READABLE.iter().any(|rule| rule.matches(method, path));
            if !reads || !path.all(below) {
                return Err(Error::ReadOnly);
            }
        }
        let allow = limits.map_or(&[][..], |limits| &limits.allow);
        for material in LOGIN_MATERIAL.iter().filter(|material| path.any(|path| material.is(path)))
        {
            let names = |rule: &&Rule| {
                material.is_named_by(rule) && path.all(|path| rule.matches(method, path))
            };
            if !allow.iter().any(|rule| names(&rule)) {
                return Err(Error::LoginMaterial(material.words));
            }
        }
        if allow.is_empty() {
            return Ok(Ground::Free);
        }
        let rule = allow.iter().find(|rule| path.all(|path| rule.matches(method, path)));
        rule.map(Ground::Rule).ok_or(Error::NotAllowed)
    }
}

/// Allows what the policy and the caller's limits let pass. The token endpoint never reaches
/// Nexudus: a grant that went through would hand out real tokens and end our own session.
pub(super) fn allow<B>(admitted: Admitted<B>, policy: &Policy) -> Result<Verdict<B>, Error> {
    let Admitted { head, body, caller, switches } = admitted;
    let path = Readings::of(head.uri.path());
    match endpoint(head.uri.path(), &path) {
        Endpoint::Other => {}
        Endpoint::Exact if head.method == Method::POST => {
            return Ok(Verdict::Login(Request::from_parts(head, body), caller));
        }
        Endpoint::Exact => return Err(Error::TokenMethod),
        Endpoint::Odd => return Err(Error::Reserved),
    }
    let reach = policy.reach(&caller);
    policy.judge(head.method.as_str(), &path, reach)?;
    if switches {
        // What goes through a WebSocket is judged by nobody: who opens one may do anything there.
        WRITES.iter().try_for_each(|method| policy.judge(method, &path, reach).map(drop))?;
    }
    let is_limited = !matches!(reach, Reach::Full);
    let is_without_tokens =
        is_limited && path.any(|path| WITH_TOKENS.iter().any(|rule| rule.matches("GET", path)));
    if switches && is_without_tokens {
        return Err(Error::LoginMaterialInside);
    }
    if let Caller::Client(client) = &caller {
        client.spend()?;
    }
    let has_cookies = policy.cookies && !is_limited;
    let allowed = Allowed { head, caller, is_limited, is_without_tokens, has_cookies, switches };
    Ok(Verdict::Forward(allowed, body))
}

impl Allowed {
    /// Returns the method.
    pub(super) fn method(&self) -> &Method {
        &self.head.method
    }

    /// Returns the path, without the query.
    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Returns the head as the caller sent it.
    pub(super) fn head(&self) -> &Parts {
        &self.head
    }

    /// Gives up the caller's fields.
    pub(super) fn into_fields(self) -> HeaderMap {
        self.head.headers
    }

    /// Returns who sends it.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns with whom the connection may be shared that has carried this request. A limited caller
    /// must not be able to leave bytes on it that are read as another caller's.
    pub(super) fn reuse(&self) -> Reuse<'_> {
        match &self.caller {
            _ if !self.is_limited => Reuse::Shared,
            Caller::Client(client) => Reuse::Client(client.id()),
            Caller::Keyless => Reuse::Never,
        }
    }

    /// Says whether tokens are taken out of the answer.
    pub(super) fn is_without_tokens(&self) -> bool {
        self.is_without_tokens
    }

    /// Says whether cookies are relayed, both ways.
    pub(super) fn has_cookies(&self) -> bool {
        self.has_cookies
    }

    /// Says whether it asks for a WebSocket.
    pub(super) fn switches(&self) -> bool {
        self.switches
    }

    /// Says whether a second execution would change anything (RFC 9110 §9.2.1).
    pub(super) fn repeat(&self, body: &Kept) -> Repeat {
        let safe = matches!(self.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match safe && matches!(body, Kept::Empty) {
            true => Repeat::Harmless,
            false => Repeat::Never,
        }
    }
}

/// How a path relates to the daemon's own endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// It is it.
    Exact,
    /// A server could take it for it.
    Odd,
    /// It is something else.
    Other,
}

/// Compares a path with the daemon's own endpoint.
pub(super) fn endpoint(path: &str, readings: &Readings<'_>) -> Endpoint {
    match path == TOKEN {
        true => Endpoint::Exact,
        false if readings.any(|reading| TOKEN_RULE.matches("POST", reading)) => Endpoint::Odd,
        false => Endpoint::Other,
    }
}

/// What would let a limited caller become an unlimited one.
struct Material {
    words: &'static str,
    paths: Rule,
    begins: &'static [&'static str],
    ends: &'static [&'static str],
}

impl Material {
    fn is(&self, path: &str) -> bool {
        self.paths.matches("*", path)
    }

    /// A rule that only happens to be wide enough does not count.
    fn is_named_by(&self, rule: &Rule) -> bool {
        rule.begins_with(self.begins) && rule.ends_with(self.ends)
    }
}

static LOGIN_MATERIAL: LazyLock<[Material; 3]> = LazyLock::new(|| {
    let material = |words, path, begins, ends| Material { words, paths: rule(path), begins, ends };
    [
        material(
            "/api/sys/refreshtokens",
            "* /api/sys/refreshtokens*/**",
            &["api", "sys", "refreshtokens"],
            &[],
        ),
        material("/api/sys/users", "* /api/sys/users*/**", &["api", "sys", "users"], &[]),
        material("*/token/refresh", "* /**/token/refresh", &[], &["token", "refresh"]),
    ]
});

/// Answers that carry the user's own token.
static WITH_TOKENS: LazyLock<[Rule; 2]> =
    LazyLock::new(|| [rule("* /api/auth/me"), rule("* /**/user/me")]);

static READABLE: LazyLock<[Rule; 2]> =
    LazyLock::new(|| [rule("* /api/**"), rule("* /ContentDownload/**")]);

/// What a WebSocket can stand for, beside reading.
const WRITES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

static TOKEN_RULE: LazyLock<Rule> = LazyLock::new(|| rule("* /api/token"));

fn rule(text: &str) -> Rule {
    Rule::read(text).expect("the rules above are well-formed")
}

const TOKEN: &str = "/api/token";

#[cfg(test)]
mod tests;

//! What may be asked of the upstream, and by whom.
//!
//! In order: the daemon's own endpoints, the rules that nobody passes, then what a limited caller
//! (one with a key, or anybody while callers without one may only read) must not ask. Every test is
//! put to all readings of the path; the path itself is never changed.

mod paths;

use http::request::Parts;
use http::{HeaderMap, Method, Request};

pub(super) use self::paths::{Endpoint, endpoint, is_token_endpoint};
use self::paths::{LOGIN_MATERIAL, READABLE, WITH_TOKENS};
use super::caller::Caller;
use super::guard::Admitted;
use super::overrides::{self, Form};
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

/// What would become of a head: see [`Policy::trial`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The daemon refuses it, or answers it itself.
    Kept,
    /// It is forwarded; `without_tokens` if login material is taken out of the answer.
    Forwarded { without_tokens: bool },
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
    #[error(
        "the path can be read as a token endpoint, which is answered here only as it is documented"
    )]
    Reserved,
    /// Nobody can say what a server takes the path for.
    #[error("the path can be read in more ways than are looked at")]
    Endless,
    /// The token endpoint takes POST.
    #[error("a token endpoint takes POST only")]
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
    /// A limited caller asked for what stands for other requests.
    #[error(
        "`{0}` is refused to limited callers: it may stand for other requests, which no rule can judge"
    )]
    Indirect(&'static str),
    /// A limited caller named another method or target than those that were judged.
    #[error("{0} names another method or target than the request, and this caller is limited")]
    Override(&'static str),
    /// A limited caller sent a form in which another method may be named.
    #[error("the form cannot be looked through for `_method`, and this caller is limited")]
    Form,
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

    /// Says what would become of this head, if it came from a client with `limits` or from a caller
    /// without a key; for measuring what that costs, and for fuzzing.
    #[doc(hidden)]
    pub fn trial(&self, head: &Parts, limits: Option<&Limits>) -> Trial {
        let path = Readings::of(head.uri.path());
        let reach = limits.map_or_else(|| self.keyless(), Reach::Client);
        match self.decide(head, &path, reach, false) {
            Ok(without_tokens) if endpoint(head.uri.path(), &path) == Endpoint::Other => {
                Trial::Forwarded { without_tokens }
            }
            Ok(_) | Err(_) => Trial::Kept,
        }
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

    /// Judges a head that is not for the token endpoint, and says whether tokens are taken out of the
    /// answer.
    fn decide(
        &self,
        head: &Parts,
        path: &Readings<'_>,
        reach: Reach<'_>,
        switches: bool,
    ) -> Result<bool, Error> {
        self.judge(head.method.as_str(), path, reach)?;
        if switches {
            // What goes through a WebSocket is judged by nobody: who opens one may do anything there.
            self.judge_every_write(path, reach)?;
        }
        if matches!(reach, Reach::Full) {
            return Ok(false);
        }
        if overrides::in_head(&head.headers) {
            return Err(Error::Override("a header"));
        }
        overridden(head.uri.query(), reach)?;
        let is_without_tokens = forbids(path, &*WITH_TOKENS, "GET").is_some();
        match switches && is_without_tokens {
            true => Err(Error::LoginMaterialInside),
            false => Ok(is_without_tokens),
        }
    }

    fn judge_every_write(&self, path: &Readings<'_>, reach: Reach<'_>) -> Result<(), Error> {
        WRITES.iter().try_for_each(|method| self.judge(method, path, reach).map(drop))
    }

    /// Looks at the body of a request that is about to be sent. ASP.NET MVC takes the method of a
    /// POST from a field of its form.
    pub(super) fn look(&self, allowed: &Allowed, body: &Kept) -> Result<(), Error> {
        if !allowed.is_limited {
            return Ok(());
        }
        match overrides::in_body(&allowed.head.headers, body) {
            Form::Plain => Ok(()),
            Form::Overriding => Err(Error::Override("a field of the form")),
            // Whoever may do everything there may do it this way.
            Form::Unknown => self
                .judge_every_write(&Readings::of(allowed.path()), self.reach(&allowed.caller))
                .map_err(|_| Error::Form),
        }
    }

    /// Judges a request that is not for the token endpoint.
    pub(super) fn judge<'a>(
        &self,
        method: &str,
        path: &Readings<'_>,
        reach: Reach<'a>,
    ) -> Result<Ground<'a>, Error> {
        let against = |rules: &[Rule]| match forbids(path, rules, method) {
            Some(rule) => Err(Error::Denied(rule.text().to_owned())),
            None => Ok(()),
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
        if let Some(words) = paths::indirect(path) {
            return Err(Error::Indirect(words));
        }
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

/// Refuses a limited caller's query that names another method.
pub(super) fn overridden(query: Option<&str>, reach: Reach<'_>) -> Result<(), Error> {
    let is_overridden = query.is_some_and(overrides::in_query);
    match is_overridden && !matches!(reach, Reach::Full) {
        true => Err(Error::Override("a field of the query")),
        false => Ok(()),
    }
}

/// Returns the first of these rules that forbids some reading of a path.
fn forbids<'a>(path: &Readings<'_>, rules: &'a [Rule], method: &str) -> Option<&'a Rule> {
    let is_against = |rule: &&Rule| path.any(|path| rule.matches_ignoring_extensions(method, path));
    rules.iter().find(is_against)
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
        Endpoint::Unknown => return Err(Error::Endless),
    }
    let reach = policy.reach(&caller);
    let is_limited = !matches!(reach, Reach::Full);
    let is_without_tokens = policy.decide(&head, &path, reach, switches)?;
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

/// What a WebSocket can stand for, beside reading.
const WRITES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

#[cfg(test)]
mod tests;

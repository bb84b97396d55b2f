//! What may be asked of the upstream, and by whom.
//!
//! In order: the daemon's own endpoints, the rules that nobody passes, then what a limited caller
//! (one with a key, or anybody while callers without one may only read) must not ask. Every test is
//! put to all readings of the path; the path itself is never changed.

mod paths;

use http::request::Parts;
use http::{HeaderMap, Method, Request};

use self::paths::{LOGIN_MATERIAL, READABLE, TOKEN_BEARING};
pub(super) use self::paths::{TokenPathMatch, is_token_endpoint, match_token_path};
use super::client_auth::ClientIdentity;
use super::guard::Admitted;
use super::method_override::{self, OverrideScan};
use super::path_interpretations::PathInterpretations;
use crate::clients::{ClientPolicy, QuotaError};
use crate::config::{AnonymousAccess, Rule};
use crate::upstream::{ReplayBody, Retry, Reuse};

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Policy {
    deny: Vec<Rule>,
    anonymous: AnonymousAccess,
    cookies: bool,
}

/// A request that may be sent.
#[derive(Debug)]
pub(super) struct Allowed {
    head: Parts,
    client: ClientIdentity,
    is_limited: bool,
    has_login_material: bool,
    has_cookies: bool,
    is_websocket: bool,
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
pub(super) enum Decision<B> {
    /// To the upstream, with its body.
    Forward(Allowed, B),
    /// To our own token endpoint.
    TokenEndpoint(Request<B>, ClientIdentity),
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
    TooManyInterpretations,
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
    UnreadableForm,
    /// A limited caller asked for what would make it an unlimited one.
    #[error("a limited caller gets no login material unless one of its rules allows `{0}` by name")]
    LoginMaterial(&'static str),
    /// What came back would have made it one.
    #[error("the answer could not be freed of login material for a limited caller")]
    LoginMaterialInResponse,
    /// A reader asked for more than reading.
    #[error("this caller may only GET, HEAD and OPTIONS what is under /api/ and /ContentDownload/")]
    ReadOnly,
    /// A client has used what it may.
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

/// How far a caller may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum AccessLevel<'a> {
    /// Wherever the user may.
    Full,
    /// To what can be read.
    ReadOnly,
    /// As far as its limits.
    Client(&'a ClientPolicy),
}

/// What lets a request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchedRule<'a> {
    /// Nothing is against it.
    None,
    /// This rule of the client.
    Rule(&'a Rule),
}

impl Policy {
    /// Refuses what `deny` is about to everybody, and lets callers without a key go as far as
    /// `anonymous` says.
    pub fn new(deny: Vec<Rule>, anonymous: AnonymousAccess) -> Self {
        Self { deny, anonymous, cookies: false }
    }

    /// Relays cookies to and from callers that are not limited: for the others they would be login
    /// material.
    #[must_use]
    pub fn with_cookies(self, cookies: bool) -> Self {
        Self { cookies, ..self }
    }

    /// Says what would become of this head, if it came from a client with `limits` or from a caller
    /// without a key; for measuring what that costs, and for fuzzing.
    #[doc(hidden)]
    pub fn trial(&self, head: &Parts, limits: Option<&ClientPolicy>) -> Trial {
        let path = PathInterpretations::new(head.uri.path());
        let reach = limits.map_or_else(|| self.anonymous_level(), AccessLevel::Client);
        match self.check_head(head, &path, reach, false) {
            Ok(without_tokens)
                if match_token_path(head.uri.path(), &path) == TokenPathMatch::Other =>
            {
                Trial::Forwarded { without_tokens }
            }
            Ok(_) | Err(_) => Trial::Kept,
        }
    }

    fn access_level<'a>(&self, caller: &'a ClientIdentity) -> AccessLevel<'a> {
        match caller {
            ClientIdentity::Client(client) => AccessLevel::Client(client.policy()),
            ClientIdentity::Anonymous => self.anonymous_level(),
        }
    }

    /// Returns how far callers without a key may go, where they get in at all.
    pub(super) fn anonymous_level(&self) -> AccessLevel<'static> {
        match self.anonymous {
            AnonymousAccess::Full => AccessLevel::Full,
            AnonymousAccess::ReadOnly | AnonymousAccess::None => AccessLevel::ReadOnly,
        }
    }

    /// Judges a head that is not for the token endpoint, and says whether tokens are taken out of the
    /// answer.
    fn check_head(
        &self,
        head: &Parts,
        path: &PathInterpretations<'_>,
        reach: AccessLevel<'_>,
        switches: bool,
    ) -> Result<bool, Error> {
        self.check_rules(head.method.as_str(), path, reach)?;
        if switches {
            // What goes through a WebSocket is judged by nobody: who opens one may do anything there.
            self.check_every_write(path, reach)?;
        }
        if matches!(reach, AccessLevel::Full) {
            return Ok(false);
        }
        if method_override::in_headers(&head.headers) {
            return Err(Error::Override("a header"));
        }
        check_query(head.uri.query(), reach)?;
        let is_without_tokens = matching_rule(path, &*TOKEN_BEARING, "GET").is_some();
        match switches && is_without_tokens {
            true => Err(Error::LoginMaterialInResponse),
            false => Ok(is_without_tokens),
        }
    }

    fn check_every_write(
        &self,
        path: &PathInterpretations<'_>,
        reach: AccessLevel<'_>,
    ) -> Result<(), Error> {
        WRITE_METHODS.iter().try_for_each(|method| self.check_rules(method, path, reach).map(drop))
    }

    /// Looks at the body of a request that is about to be sent. ASP.NET MVC takes the method of a
    /// POST from a field of its form.
    pub(super) fn check_body(&self, allowed: &Allowed, body: &ReplayBody) -> Result<(), Error> {
        if !allowed.is_limited {
            return Ok(());
        }
        match method_override::in_body(&allowed.head.headers, body) {
            OverrideScan::Absent => Ok(()),
            OverrideScan::Present => Err(Error::Override("a field of the form")),
            // Whoever may do everything there may do it this way.
            OverrideScan::Unknown => self
                .check_every_write(
                    &PathInterpretations::new(allowed.path()),
                    self.access_level(&allowed.client),
                )
                .map_err(|_| Error::UnreadableForm),
        }
    }

    /// Judges a request that is not for the token endpoint.
    pub(super) fn check_rules<'a>(
        &self,
        method: &str,
        path: &PathInterpretations<'_>,
        reach: AccessLevel<'a>,
    ) -> Result<MatchedRule<'a>, Error> {
        let against = |rules: &[Rule]| match matching_rule(path, rules, method) {
            Some(rule) => Err(Error::Denied(rule.as_str().to_owned())),
            None => Ok(()),
        };
        against(&self.deny)?;
        let limits = match reach {
            AccessLevel::Full => return Ok(MatchedRule::None),
            AccessLevel::ReadOnly => None,
            AccessLevel::Client(limits) => Some(limits),
        };
        if path.is_ambiguous() {
            return Err(Error::Ambiguous);
        }
        limits.map_or(Ok(()), |limits| against(&limits.deny))?;
        if let Some(words) = paths::find_indirect(path) {
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
        for material in
            LOGIN_MATERIAL.iter().filter(|material| path.any(|path| material.matches(path)))
        {
            let names = |rule: &&Rule| {
                material.is_named_by(rule) && path.all(|path| rule.matches(method, path))
            };
            if !allow.iter().any(|rule| names(&rule)) {
                return Err(Error::LoginMaterial(material.label));
            }
        }
        if allow.is_empty() {
            return Ok(MatchedRule::None);
        }
        let rule = allow.iter().find(|rule| path.all(|path| rule.matches(method, path)));
        rule.map(MatchedRule::Rule).ok_or(Error::NotAllowed)
    }
}

/// Refuses a limited caller's query that names another method.
pub(super) fn check_query(query: Option<&str>, reach: AccessLevel<'_>) -> Result<(), Error> {
    let is_overridden = query.is_some_and(method_override::in_query);
    match is_overridden && !matches!(reach, AccessLevel::Full) {
        true => Err(Error::Override("a field of the query")),
        false => Ok(()),
    }
}

/// Returns the first of these rules that forbids some reading of a path.
fn matching_rule<'a>(
    path: &PathInterpretations<'_>,
    rules: &'a [Rule],
    method: &str,
) -> Option<&'a Rule> {
    let is_against = |rule: &&Rule| path.any(|path| rule.matches_ignoring_extensions(method, path));
    rules.iter().find(is_against)
}

/// Allows what the policy and the caller's limits let pass. The token endpoint never reaches
/// Nexudus: a grant that went through would hand out real tokens and end our own session.
pub(super) fn decide<B>(admitted: Admitted<B>, policy: &Policy) -> Result<Decision<B>, Error> {
    let Admitted { head, body, client: caller, is_websocket: switches } = admitted;
    let path = PathInterpretations::new(head.uri.path());
    match match_token_path(head.uri.path(), &path) {
        TokenPathMatch::Other => {}
        TokenPathMatch::Exact if head.method == Method::POST => {
            return Ok(Decision::TokenEndpoint(Request::from_parts(head, body), caller));
        }
        TokenPathMatch::Exact => return Err(Error::TokenMethod),
        TokenPathMatch::Ambiguous => return Err(Error::Reserved),
        TokenPathMatch::Unknown => return Err(Error::TooManyInterpretations),
    }
    let reach = policy.access_level(&caller);
    let is_limited = !matches!(reach, AccessLevel::Full);
    let is_without_tokens = policy.check_head(&head, &path, reach, switches)?;
    if let ClientIdentity::Client(client) = &caller {
        client.consume()?;
    }
    let has_cookies = policy.cookies && !is_limited;
    let allowed = Allowed {
        head,
        client: caller,
        is_limited,
        has_login_material: is_without_tokens,
        has_cookies,
        is_websocket: switches,
    };
    Ok(Decision::Forward(allowed, body))
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
    pub(super) fn into_headers(self) -> HeaderMap {
        self.head.headers
    }

    /// Returns who sends it.
    pub(super) fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// Returns with whom the connection may be shared that has carried this request. A limited caller
    /// must not be able to leave bytes on it that are read as another caller's.
    pub(super) fn reuse(&self) -> Reuse<'_> {
        match &self.client {
            _ if !self.is_limited => Reuse::Shared,
            ClientIdentity::Client(client) => Reuse::Client(client.id()),
            ClientIdentity::Anonymous => Reuse::Never,
        }
    }

    /// Says whether tokens are taken out of the answer.
    pub(super) fn has_login_material(&self) -> bool {
        self.has_login_material
    }

    /// Says whether cookies are relayed, both ways.
    pub(super) fn has_cookies(&self) -> bool {
        self.has_cookies
    }

    /// Says whether it asks for a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    /// Says whether a second execution would change anything (RFC 9110 §9.2.1).
    pub(super) fn idempotency(&self, body: &ReplayBody) -> Retry {
        let safe = matches!(self.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match safe && matches!(body, ReplayBody::Empty) {
            true => Retry::Safe,
            false => Retry::Never,
        }
    }
}

/// What a WebSocket can stand for, beside reading.
const WRITE_METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

#[cfg(test)]
mod tests;

//! Which requests the upstream may get, and from whom.
//!
//! In order: the token endpoint, the rules that hold for all clients, then the rules for a limited
//! client: one with a key, or any client while anonymous ones may only read. Every rule is applied
//! to all interpretations of the path; the path itself is never changed.

mod error;
mod sensitive_paths;

use http::request::Parts;
use http::{HeaderMap, Method, Request};

pub(super) use self::error::Error;
use self::sensitive_paths::{LOGIN_MATERIAL, READABLE, TOKEN_BEARING};
use super::client_auth::ClientIdentity;
use super::guard::Admitted;
use super::max_forwards;
use super::method_override::{self, OverrideScan};
use super::path_interpretations::PathInterpretations;
use super::token_path::{TokenPathMatch, match_token_path};
use crate::clients::ClientPolicy;
use crate::config::{AnonymousAccess, Rule};
use crate::upstream::{ReplayBody, Retry, Reuse};

/// The rules that hold for every request.
#[derive(Clone, Debug)]
pub struct Policy {
    deny: Vec<Rule>,
    anonymous: AnonymousAccess,
    has_cookies: bool,
}

/// A request that may be sent.
#[derive(Debug)]
pub struct Allowed {
    head: Parts,
    client: ClientIdentity,
    is_limited: bool,
    has_login_material: bool,
    has_cookies: bool,
    is_websocket: bool,
}

/// The decision about an admitted request.
#[derive(Debug)]
pub enum Decision<B> {
    /// The upstream gets it, with its body.
    Forward(Allowed, B),
    /// The daemon responds to it: an OPTIONS request that may not be forwarded (RFC 9110 §7.6.2).
    Options,
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
}

impl Policy {
    /// Denies all clients what `deny` matches, and gives clients without a key the access that
    /// `anonymous` names.
    pub fn new(deny: Vec<Rule>, anonymous: AnonymousAccess) -> Self {
        Self { deny, anonymous, has_cookies: false }
    }

    /// Forwards the cookies of unlimited clients, if `is_enabled`. To a limited client they would
    /// be login material.
    #[must_use]
    pub fn with_cookies(self, is_enabled: bool) -> Self {
        Self { has_cookies: is_enabled, ..self }
    }

    fn access_level<'a>(&self, client: &'a ClientIdentity) -> AccessLevel<'a> {
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

    /// Checks a head that is not for a token endpoint, and says whether its response contains login
    /// material, which must be removed.
    fn check_head(
        &self,
        head: &Parts,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'_>,
        is_websocket: bool,
    ) -> Result<bool, Error> {
        self.check_rules(head.method.as_str(), path, level)?;
        if is_websocket {
            // No rule sees what goes through a WebSocket: its client may do anything there.
            self.check_every_write(path, level)?;
        }
        if matches!(level, AccessLevel::Full) {
            return Ok(false);
        }
        if method_override::in_headers(&head.headers) {
            return Err(Error::Override("a header"));
        }
        check_query(head.uri.query(), level)?;
        let has_login_material = matching_rule(path, &*TOKEN_BEARING, "GET").is_some();
        if is_websocket && has_login_material {
            return Err(Error::LoginMaterialInResponse);
        }
        Ok(has_login_material)
    }

    fn check_every_write(
        &self,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'_>,
    ) -> Result<(), Error> {
        WRITE_METHODS.iter().try_for_each(|method| self.check_rules(method, path, level).map(drop))
    }

    /// Checks the body of a request that is about to be sent. ASP.NET MVC takes the method of a
    /// POST from a field of its form.
    pub(super) fn check_body(&self, allowed: &Allowed, body: &ReplayBody) -> Result<(), Error> {
        if !allowed.is_limited {
            return Ok(());
        }
        match method_override::in_body(&allowed.head.headers, body) {
            OverrideScan::Absent => Ok(()),
            OverrideScan::Present => Err(Error::Override("a field of the form")),
            // A client that may write in every way may send any form.
            OverrideScan::Unknown => {
                let path = PathInterpretations::new(allowed.path());
                let level = self.access_level(&allowed.client);
                self.check_every_write(&path, level).map_err(|_| Error::UnreadableForm)
            }
        }
    }

    /// Checks a request that is not for a token endpoint.
    pub(super) fn check_rules<'a>(
        &self,
        method: &str,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'a>,
    ) -> Result<MatchedRule<'a>, Error> {
        check_denied(&self.deny, method, path)?;
        let policy = match level {
            AccessLevel::Full => return Ok(MatchedRule::None),
            AccessLevel::ReadOnly => None,
            AccessLevel::Client(policy) => Some(policy),
        };
        if path.is_ambiguous() {
            return Err(Error::Ambiguous);
        }
        policy.map_or(Ok(()), |policy| check_denied(&policy.deny, method, path))?;
        if let Some(label) = sensitive_paths::find_indirect(path) {
            return Err(Error::Indirect(label));
        }
        if policy.is_none_or(|policy| policy.read_only) {
            let is_read = matches!(method, "GET" | "HEAD" | "OPTIONS");
            let is_readable = |path: &str| READABLE.iter().any(|rule| rule.matches(method, path));
            if !is_read || !path.all(is_readable) {
                return Err(Error::ReadOnly);
            }
        }
        let allow = policy.map_or(&[][..], |policy| &policy.allow);
        check_login_material(allow, method, path)?;
        if allow.is_empty() {
            return Ok(MatchedRule::None);
        }
        let rule = allow.iter().find(|rule| path.all(|path| rule.matches(method, path)));
        rule.map(MatchedRule::Rule).ok_or(Error::NotAllowed)
    }
}

/// Denies login material unless a rule in `allow` names its path.
fn check_login_material(
    allow: &[Rule],
    method: &str,
    path: &PathInterpretations<'_>,
) -> Result<(), Error> {
    for material in LOGIN_MATERIAL.iter().filter(|it| path.any(|path| it.matches(path))) {
        let is_named =
            |rule: &Rule| material.is_named_by(rule) && path.all(|path| rule.matches(method, path));
        if !allow.iter().any(is_named) {
            return Err(Error::LoginMaterial(material.label));
        }
    }
    Ok(())
}

/// Denies a limited client a query that names another method.
pub(super) fn check_query(query: Option<&str>, level: AccessLevel<'_>) -> Result<(), Error> {
    let is_override = query.is_some_and(method_override::in_query);
    if is_override && !matches!(level, AccessLevel::Full) {
        return Err(Error::Override("a field of the query"));
    }
    Ok(())
}

fn check_denied(rules: &[Rule], method: &str, path: &PathInterpretations<'_>) -> Result<(), Error> {
    match matching_rule(path, rules, method) {
        Some(rule) => Err(Error::Denied(rule.as_str().to_owned())),
        None => Ok(()),
    }
}

/// Returns the first of these rules that matches any interpretation of a path.
fn matching_rule<'a>(
    path: &PathInterpretations<'_>,
    rules: &'a [Rule],
    method: &str,
) -> Option<&'a Rule> {
    let matches = |rule: &&Rule| path.any(|path| rule.matches_ignoring_extensions(method, path));
    rules.iter().find(matches)
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
    let (head, body, client, is_websocket) = admitted.into_parts();
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
    let level = policy.access_level(&client);
    let is_limited = !matches!(level, AccessLevel::Full);
    let has_login_material = policy.check_head(&head, &path, level, is_websocket)?;
    if let ClientIdentity::Client(client) = &client {
        client.consume()?;
    }
    if max_forwards::remaining(&head) == Ok(Some(0)) {
        return Ok(Decision::Options);
    }
    let has_cookies = policy.has_cookies && !is_limited;
    let allowed =
        Allowed { head, client, is_limited, has_login_material, has_cookies, is_websocket };
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

    /// Returns the head as the client sent it.
    pub(super) fn head(&self) -> &Parts {
        &self.head
    }

    /// Gives up the client's headers.
    pub(super) fn into_headers(self) -> HeaderMap {
        self.head.headers
    }

    /// Returns the sender.
    pub(super) fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// Returns which requests may later use the connection of this one. A limited client must not
    /// be able to leave bytes on a connection that are read as the request of another client.
    pub(super) fn reuse(&self) -> Reuse<'_> {
        match &self.client {
            _ if !self.is_limited => Reuse::Shared,
            ClientIdentity::Client(client) => Reuse::Client(client.id()),
            ClientIdentity::Anonymous => Reuse::Never,
        }
    }

    /// Says whether the response contains login material, which is removed for this client.
    pub fn has_login_material(&self) -> bool {
        self.has_login_material
    }

    /// Says whether cookies are forwarded, both ways.
    pub(super) fn has_cookies(&self) -> bool {
        self.has_cookies
    }

    /// Says whether the request opens a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    /// Says whether a second execution would change anything (RFC 9110 §9.2.1).
    pub(super) fn idempotency(&self, body: &ReplayBody) -> Retry {
        let safe = matches!(self.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if safe && matches!(body, ReplayBody::Empty) { Retry::Safe } else { Retry::Never }
    }
}

/// The methods that a WebSocket can stand for, beside reading.
const WRITE_METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

#[cfg(test)]
mod tests;

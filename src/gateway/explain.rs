//! Explains what would happen to a request, without sending it: for people who write rules.

use http::{Method, Uri};

use super::client_auth;
use super::error::Error;
use super::error_response::UnparsedRequest;
use super::guard;
use super::path_interpretations::PathInterpretations;
use super::policy::{self, AccessLevel, MatchedRule, Policy};
use super::token_path::{TokenPathMatch, is_token_endpoint, match_token_path};
use crate::clients::ClientPolicy;
use crate::config::{AnonymousAccess, Config};
use crate::problem::Problem;

/// The decision about a request, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the request would be forwarded, or handled by the daemon itself.
    pub is_allowed: bool,
    /// The code of the error.
    pub code: Option<&'static str>,
    /// The rule that decided, if one of the user's rules did.
    pub rule: Option<String>,
    /// The reason in words.
    pub reason: String,
}

/// Explains `method` and `target` under `config`, for a client with the policy `client`, or for one
/// without a key.
pub fn explain(
    method: &str,
    target: &str,
    client: Option<&ClientPolicy>,
    config: &Config,
) -> Explanation {
    let denied = |error: &dyn Problem, rule, reason| Explanation {
        is_allowed: false,
        code: Some(error.kind().code()),
        rule,
        reason,
    };
    let unparsed = |error: UnparsedRequest| denied(&error, None, error.to_string());
    let Ok(method) = method.parse::<Method>() else { return unparsed(UnparsedRequest::NotHttp) };
    let Some(uri) = parse_target(target) else { return unparsed(UnparsedRequest::NotATarget) };
    match check(&method, &uri, client, config) {
        Ok((rule, reason)) => Explanation { is_allowed: true, code: None, rule, reason },
        Err(error) => {
            let rule = if let Error::Policy(policy::Error::Denied(rule)) = &error {
                Some(rule.clone())
            } else {
                None
            };
            denied(&error, rule, error.to_string())
        }
    }
}

/// Returns the rule that allows a request, if one does, and the reason.
fn check(
    method: &Method,
    uri: &Uri,
    client: Option<&ClientPolicy>,
    config: &Config,
) -> Result<(Option<String>, String), Error> {
    guard::would_admit(method, uri, config)?;
    let is_token_request = method == Method::POST && is_token_endpoint(uri.path());
    let needs_key = config.listen.expose || config.policy.anonymous == AnonymousAccess::None;
    if client.is_none() && needs_key && !is_token_request {
        return Err(guard::Error::Client(client_auth::Error::KeyRequired).into());
    }
    let path = PathInterpretations::new(uri.path());
    match match_token_path(uri.path(), &path) {
        TokenPathMatch::Other => {}
        TokenPathMatch::Ambiguous => return Err(policy::Error::Reserved.into()),
        TokenPathMatch::Unknown => return Err(policy::Error::TooManyInterpretations.into()),
        TokenPathMatch::Exact if !is_token_request => {
            return Err(policy::Error::TokenMethod.into());
        }
        TokenPathMatch::Exact => {
            return Ok((
                None,
                "the daemon itself responds; the request never reaches Nexudus".to_owned(),
            ));
        }
    }
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous);
    let level = client.map_or_else(|| policy.anonymous_level(), AccessLevel::Client);
    let matched = policy.check_rules(method.as_str(), &path, level)?;
    policy::check_query(uri.query(), level)?;
    Ok(match (matched, level) {
        (MatchedRule::Rule(rule), _) => {
            (Some(rule.as_str().to_owned()), format!("rule `{rule}` allows it"))
        }
        (MatchedRule::None, AccessLevel::Full) => (None, "no rule denies it".to_owned()),
        (MatchedRule::None, AccessLevel::ReadOnly) => {
            (None, "clients without a key may read it".to_owned())
        }
        (MatchedRule::None, AccessLevel::Client(_)) => {
            (None, "none of the client's rules denies it".to_owned())
        }
    })
}

/// Parses a target as hyper does, which calls httparse first: no spaces and no control characters.
fn parse_target(target: &str) -> Option<Uri> {
    let is_target = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    target.parse().ok().filter(|_| is_target)
}

//! What would happen to a request, without sending it: for people who write rules.

use http::{Method, Uri};

use super::client_auth;
use super::path_interpretations::PathInterpretations;
use super::policy::{self, AccessLevel, MatchedRule, Policy, TokenPathMatch};
use super::{Error, error_response, guard};
use crate::clients::ClientPolicy;
use crate::config::{AnonymousAccess, Config};

/// The verdict on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it would be forwarded, or answered by the daemon itself.
    pub is_allowed: bool,
    /// The code of the refusal.
    pub code: Option<&'static str>,
    /// The rule that decided, if it was one of the user's.
    pub rule: Option<String>,
    /// In words.
    pub reason: String,
}

/// Judges `method` and `target` under `config`, for a client with `limits`, or for a caller without
/// a key.
pub fn explain(
    method: &str,
    target: &str,
    limits: Option<&ClientPolicy>,
    config: &Config,
) -> Explanation {
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous);
    let needs_key = config.listen.expose || config.policy.anonymous == AnonymousAccess::None;
    let malformed = |code, why: &str| Explanation {
        is_allowed: false,
        code: Some(code),
        rule: None,
        reason: why.to_owned(),
    };
    let Ok(known) = method.parse::<Method>() else {
        return malformed(error_response::MALFORMED_REQUEST, error_response::NOT_HTTP);
    };
    let Some(uri) = parse_target(target) else {
        return malformed(error_response::MALFORMED_TARGET, error_response::NOT_A_TARGET);
    };
    if let Err(error) = guard::would_admit(&known, &uri, config) {
        return denied(error.into(), None);
    }
    let path = uri.path();
    let readings = PathInterpretations::new(path);
    let is_login = method == "POST" && policy::is_token_endpoint(path);
    if limits.is_none() && needs_key && !is_login {
        return denied(guard::Error::Client(client_auth::Error::KeyRequired).into(), None);
    }
    match policy::match_token_path(path, &readings) {
        TokenPathMatch::Other => {}
        TokenPathMatch::Ambiguous => return denied(policy::Error::Reserved.into(), None),
        TokenPathMatch::Unknown => {
            return denied(policy::Error::TooManyInterpretations.into(), None);
        }
        TokenPathMatch::Exact if !is_login => {
            return denied(policy::Error::TokenMethod.into(), None);
        }
        TokenPathMatch::Exact => {
            return allowed(None, "it is answered by the daemon itself and never reaches Nexudus");
        }
    }
    let reach = limits.map_or_else(|| policy.anonymous_level(), AccessLevel::Client);
    let judged = policy.check_rules(method, &readings, reach);
    match judged.and_then(|ground| policy::check_query(uri.query(), reach).map(|()| ground)) {
        Ok(MatchedRule::Rule(rule)) => {
            allowed(Some(rule.as_str().to_owned()), &format!("the rule `{rule}` allows it"))
        }
        Ok(MatchedRule::None) => allowed(
            None,
            match reach {
                AccessLevel::Full => "no rule is against it",
                AccessLevel::ReadOnly => "callers without a key may read it",
                AccessLevel::Client(_) => "none of the client's limits is against it",
            },
        ),
        Err(error) => {
            let rule = match &error {
                policy::Error::Denied(rule) => Some(rule.clone()),
                policy::Error::Reserved
                | policy::Error::TooManyInterpretations
                | policy::Error::Indirect(_)
                | policy::Error::Override(_)
                | policy::Error::UnreadableForm
                | policy::Error::TokenMethod
                | policy::Error::NotAllowed
                | policy::Error::Ambiguous
                | policy::Error::LoginMaterial(_)
                | policy::Error::LoginMaterialInResponse
                | policy::Error::ReadOnly
                | policy::Error::Quota(_) => None,
            };
            denied(error.into(), rule)
        }
    }
}

fn allowed(rule: Option<String>, why: &str) -> Explanation {
    Explanation { is_allowed: true, code: None, rule, reason: why.to_owned() }
}

fn denied(error: Error, rule: Option<String>) -> Explanation {
    let why = error.to_string();
    Explanation { is_allowed: false, code: Some(error_response::code(&error)), rule, reason: why }
}

/// Parses what hyper would, which asks httparse first: no spaces and no control characters.
fn parse_target(target: &str) -> Option<Uri> {
    let is_word = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    target.parse().ok().filter(|_| is_word)
}

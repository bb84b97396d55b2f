//! What would happen to a request, without sending it: for people who write rules.

use http::{Method, Uri};

use super::caller;
use super::policy::{self, Endpoint, Ground, Policy, Reach};
use super::target::Readings;
use super::{Error, guard, respond};
use crate::clients::Limits;
use crate::config::{Anonymous, Config};

/// The verdict on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Whether it would be forwarded, or answered by the daemon itself.
    pub is_allowed: bool,
    /// The code of the refusal.
    pub code: Option<&'static str>,
    /// The rule that decided, if it was one of the user's.
    pub rule: Option<String>,
    /// In words.
    pub why: String,
}

/// Judges `method` and `target` under `config`, for a client with `limits`, or for a caller without
/// a key.
pub fn explain(method: &str, target: &str, limits: Option<&Limits>, config: &Config) -> Explained {
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous);
    let needs_key = config.listen.expose || config.policy.anonymous == Anonymous::None;
    let malformed = |code, why: &str| Explained {
        is_allowed: false,
        code: Some(code),
        rule: None,
        why: why.to_owned(),
    };
    let Ok(known) = method.parse::<Method>() else {
        return malformed(respond::MALFORMED, respond::NOT_HTTP);
    };
    let Some(uri) = parse(target) else {
        return malformed(respond::MALFORMED_TARGET, respond::NO_TARGET);
    };
    if let Err(error) = guard::would_admit(&known, &uri, config) {
        return refused(error.into(), None);
    }
    let path = uri.path();
    let readings = Readings::of(path);
    let is_login = method == "POST" && policy::is_token_endpoint(path);
    if limits.is_none() && needs_key && !is_login {
        return refused(guard::Error::Client(caller::Error::Needed).into(), None);
    }
    match policy::endpoint(path, &readings) {
        Endpoint::Other => {}
        Endpoint::Odd => return refused(policy::Error::Reserved.into(), None),
        Endpoint::Unknown => return refused(policy::Error::Endless.into(), None),
        Endpoint::Exact if !is_login => return refused(policy::Error::TokenMethod.into(), None),
        Endpoint::Exact => {
            return allowed(None, "it is answered by the daemon itself and never reaches Nexudus");
        }
    }
    let reach = limits.map_or_else(|| policy.keyless(), Reach::Client);
    let judged = policy.judge(method, &readings, reach);
    match judged.and_then(|ground| policy::overridden(uri.query(), reach).map(|()| ground)) {
        Ok(Ground::Rule(rule)) => {
            allowed(Some(rule.text().to_owned()), &format!("the rule `{rule}` allows it"))
        }
        Ok(Ground::Free) => allowed(
            None,
            match reach {
                Reach::Full => "no rule is against it",
                Reach::ReadOnly => "callers without a key may read it",
                Reach::Client(_) => "none of the client's limits is against it",
            },
        ),
        Err(error) => {
            let rule = match &error {
                policy::Error::Denied(rule) => Some(rule.clone()),
                policy::Error::Reserved
                | policy::Error::Endless
                | policy::Error::Indirect(_)
                | policy::Error::Override(_)
                | policy::Error::Form
                | policy::Error::TokenMethod
                | policy::Error::NotAllowed
                | policy::Error::Ambiguous
                | policy::Error::LoginMaterial(_)
                | policy::Error::LoginMaterialInside
                | policy::Error::ReadOnly
                | policy::Error::Spent(_) => None,
            };
            refused(error.into(), rule)
        }
    }
}

fn allowed(rule: Option<String>, why: &str) -> Explained {
    Explained { is_allowed: true, code: None, rule, why: why.to_owned() }
}

fn refused(error: Error, rule: Option<String>) -> Explained {
    let why = error.to_string();
    Explained { is_allowed: false, code: Some(respond::code(&error)), rule, why }
}

/// Parses what hyper would, which asks httparse first: no spaces and no control characters.
fn parse(target: &str) -> Option<Uri> {
    let is_word = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    target.parse().ok().filter(|_| is_word)
}

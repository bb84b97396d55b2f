//! Explains what would happen to a request, without sending it: for people who write rules.

use std::time::SystemTime;

use http::{Method, Uri};

use super::client_auth;
use super::error::Error;
use super::error_response::UnparsedRequest;
use super::guard;
use super::path_interpretations::PathInterpretations;
use super::policy::{self, AccessLevel, MatchedRule, Policy};
use super::token_path::{TokenPathMatch, is_token_endpoint, match_token_path};
use crate::clients::{ClientPolicy, ClientStatus, Metered, QuotaError};
use crate::config::{AnonymousAccess, COMMAND_SEGMENT, Config, Rule};
use crate::problem::{Problem, ProblemKind};

/// The decision about a request, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the request would be forwarded, or handled by the daemon itself.
    pub is_allowed: bool,
    /// Whether a person would be asked.
    pub is_asked: bool,
    /// The code of the error.
    pub code: Option<&'static str>,
    /// The rule that decided, if one of the user's rules did.
    pub rule: Option<String>,
    /// The reason in words.
    pub reason: String,
    /// The way out of an error.
    pub hint: Option<String>,
    /// A remark for a person who relies on the decision.
    pub note: Option<String>,
}

/// The request that a person asks about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// The target.
    pub target: &'a str,
    /// The key of the command in its body.
    pub command: Option<&'a str>,
}

/// Explains what happens to a request under `config`, for a client with the policy `client`, or for
/// one without a key.
pub fn explain(
    question: Question<'_>,
    client: Option<&ClientPolicy>,
    config: &Config,
) -> Explanation {
    let denied = |error: &dyn Problem, rule, reason| Explanation {
        is_allowed: false,
        is_asked: false,
        code: Some(error.kind().code()),
        rule,
        reason,
        hint: error.details().hint.map(Into::into),
        note: None,
    };
    let unparsed = |error: UnparsedRequest| denied(&error, None, error.to_string());
    let method = question.method.parse::<Method>();
    let Ok(method) = method else { return unparsed(UnparsedRequest::NotHttp) };
    let typed = question.target.split('?').next().unwrap_or_default();
    let begins_with_api =
        |meant| format!("did you mean {meant}? Paths of the API begin with /api.");
    let Some(uri) = parse_target(question.target) else {
        let note = policy::path_with_api(typed).map(begins_with_api);
        return Explanation { note, ..unparsed(UnparsedRequest::NotATarget) };
    };
    let explained = match check(&method, &uri, question.command, client, config) {
        Ok(answer) => answer.explanation(),
        Err(error) => {
            let rule = if let Error::Policy(policy::Error::Denied(rule)) = &error {
                Some(rule.clone())
            } else {
                None
            };
            denied(&error, rule, error.to_string())
        }
    };
    let meant = policy::path_with_api(uri.path()).or_else(|| policy::path_with_api(typed));
    let note = match meant {
        Some(meant) => Some(begins_with_api(meant)),
        None => note_on_deletions(&method, &uri, &explained, client, config).map(str::to_owned),
    };
    Explanation { note, ..explained }
}

/// Changes an explanation where the client has used up what the request would take.
#[must_use]
pub fn explain_use(
    explained: Explanation,
    question: Question<'_>,
    client: &ClientStatus,
) -> Explanation {
    let is_judged = explained.is_allowed || explained.is_asked;
    let Some(error) = used_up(question, client).filter(|_| is_judged) else { return explained };
    Explanation {
        is_allowed: false,
        is_asked: false,
        code: Some(error.kind().code()),
        rule: None,
        reason: error.to_string(),
        hint: error.details().hint.map(Into::into),
        note: explained.note,
    }
}

/// Returns what is used up of that which a request takes.
fn used_up(question: Question<'_>, client: &ClientStatus) -> Option<QuotaError> {
    let method: Method = question.method.parse().ok()?;
    let uri = parse_target(question.target)?;
    let path = PathInterpretations::new(uri.path());
    let is_answered_here = match_token_path(uri.path(), &path) != TokenPathMatch::Other
        || policy::is_guide(&method, &uri, &path) == Ok(true);
    if is_answered_here {
        return None;
    }
    let most = client.limits.max_requests.zip(client.counted);
    if most.is_some_and(|(most, used)| used >= most) {
        return Some(QuotaError::Exhausted);
    }
    let keys: Vec<String> = question.command.map(str::to_owned).into_iter().collect();
    let of = policy::use_of(method.as_str(), &path, &keys);
    let is_taken = |metered: Metered| match metered {
        Metered::Requests => false,
        Metered::Writes => of.is_write,
        Metered::Deletes => of.is_delete,
        Metered::Bytes => true,
    };
    let mut budgets = client.budgets.iter();
    let spent = budgets.find(|budget| budget.is_used_up() && is_taken(budget.metered))?;
    let back = spent.back.unwrap_or(SystemTime::UNIX_EPOCH);
    let after = back.duration_since(SystemTime::now()).unwrap_or_default();
    Some(QuotaError::Budget { what: spent.metered.as_str(), back, after })
}

/// Says that rules about DELETE stop few deletions, where a person may rely on one: where it decides,
/// and where the command that it does not stop is allowed.
fn note_on_deletions(
    method: &Method,
    uri: &Uri,
    explained: &Explanation,
    client: Option<&ClientPolicy>,
    config: &Config,
) -> Option<&'static str> {
    let rules = || config.policy.deny.iter().chain(client.iter().flat_map(|it| it.deny.iter()));
    let relies_on_method = rules().any(Rule::is_about_deletions) && !rules().any(Rule::is_command);
    let is_denied_delete = *method == Method::DELETE && explained.rule.is_some();
    let last = uri.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_command = last.eq_ignore_ascii_case(COMMAND_SEGMENT);
    let is_apt = if explained.is_allowed { is_command } else { is_denied_delete };
    (relies_on_method && is_apt).then_some(DELETIONS_ARE_COMMANDS)
}

const DELETIONS_ARE_COMMANDS: &str = "deny DELETE protects little: most deletions are run-commands (POST …/runcommand). Deny \
     `RUN *DELETE* /**` too, or give a key `--no-delete`.";

/// The verdict on a request that no rule denies.
enum Answer {
    /// Forwarded: the rule that allows the request, if one does, and the reason.
    Allowed(Option<String>, String),
    /// A person is asked, because of this rule.
    Asked(String),
}

impl Answer {
    fn by_daemon() -> Self {
        Self::Allowed(
            None,
            "the daemon itself responds; the request never reaches Nexudus".to_owned(),
        )
    }

    fn explanation(self) -> Explanation {
        let (is_asked, code, rule, reason) = match self {
            Self::Allowed(rule, reason) => (false, None, rule, reason),
            Self::Asked(rule) => {
                let reason = format!("rule `{rule}` wants a person asked");
                (true, Some(ProblemKind::ApprovalPending.code()), Some(rule), reason)
            }
        };
        Explanation { is_allowed: !is_asked, is_asked, code, rule, reason, hint: None, note: None }
    }
}

/// Returns whether a request is forwarded or asked about.
fn check(
    method: &Method,
    uri: &Uri,
    command: Option<&str>,
    client: Option<&ClientPolicy>,
    config: &Config,
) -> Result<Answer, Error> {
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
        TokenPathMatch::Exact => return Ok(Answer::by_daemon()),
    }
    if policy::is_guide(method, uri, &path)? {
        return Ok(Answer::by_daemon());
    }
    judge(method, uri, &path, command, client, config)
}

/// Returns what happens to a request which is not for a token endpoint.
fn judge(
    method: &Method,
    uri: &Uri,
    path: &PathInterpretations<'_>,
    command: Option<&str>,
    client: Option<&ClientPolicy>,
    config: &Config,
) -> Result<Answer, Error> {
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous)
        .with_ask(config.policy.ask.clone());
    let level = client.map_or_else(|| policy.anonymous_level(), AccessLevel::Client);
    let mut matched = policy.check_rules(method.as_str(), path, level)?;
    policy.check_query(uri.query(), level)?;
    policy::check_redacted_query(uri, client.map(|client| &client.redaction), config)?;
    let mut keys = policy::commands_in_query(uri.query());
    if let Ok(keys) = &mut keys {
        keys.extend(command.map(str::to_owned));
    }
    if matched == MatchedRule::Command && keys.as_ref().map_or(true, |keys| !keys.is_empty()) {
        matched = policy.check_command(method.as_str(), path, level, &keys)?;
    }
    if matched == MatchedRule::Command && client.is_some_and(|client| !client.allow.is_empty()) {
        // Without a command, only a rule about the method and the path allows anything.
        policy.check_command(method.as_str(), path, level, &Ok(vec![]))?;
    }
    let named = keys.as_deref().unwrap_or_default();
    if let Some(rule) = policy.asking(method.as_str(), path, level, named).first() {
        return Ok(Answer::Asked(rule.as_str().to_owned()));
    }
    if named.is_empty() && policy.may_ask(method.as_str(), path, level).has_command {
        matched = MatchedRule::Command;
    }
    let (rule, reason) = match (matched, level) {
        (MatchedRule::Command, _) => {
            (None, "no rule denies it; rules about commands decide: add --command KEY".to_owned())
        }
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
    };
    Ok(Answer::Allowed(rule, reason))
}

/// Parses a target as hyper does, which calls httparse first: no spaces and no control characters.
fn parse_target(target: &str) -> Option<Uri> {
    let is_target = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let mut uri = target.parse().ok().filter(|_| is_target)?;
    guard::encode_target(&mut uri);
    Some(uri)
}

//! The guide for a client, made from its policy: `GET /.well-known/nexudus-proxy` and
//! `client add --guide`.
//!
//! The text goes into the instructions of an agent, so that it neither guesses nor tries. It says
//! nothing that the client could not find out by itself, and goes to the client that asks.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde_json::{Value as Json, json};

use super::client_auth::ClientIdentity;
use super::peer_identity::ConnectionTarget;
use super::policy::{AccessLevel, GUIDE_PATH, Policy};
use super::response_body::ProxyBody;
use crate::clients::{BudgetStatus, ClientPolicy, RedactionPolicy};
use crate::config::{Config, Origin, RedactMode, Rule, format_rate};
use crate::listen::insert_sandbox_headers;
use crate::redact::Redactor;

/// The requests that a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guide {
    base_url: String,
    is_read_only: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    ask: Vec<String>,
    redaction: RedactionPolicy,
    bounds: Vec<String>,
    expires: Option<String>,
}

impl Guide {
    /// Describes a client with these limits, under this configuration.
    pub fn of_client(limits: &ClientPolicy, config: &Config) -> Self {
        let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous)
            .with_ask(config.policy.ask.clone())
            .with_redaction(Redactor::default(), config.policy.anonymous_redact);
        let known = config.listen.tcp.iter().find(|address| address.port() != 0);
        let base = known.map_or_else(
            || "http://localhost:6398".to_owned(),
            |address| format!("http://localhost:{}", address.port()),
        );
        Self::new(base, &policy, AccessLevel::Client(limits))
    }

    fn new(base_url: String, policy: &Policy, level: AccessLevel<'_>) -> Self {
        let own = match level {
            AccessLevel::Client(limits) => limits.clone(),
            AccessLevel::ReadOnly => ClientPolicy { read_only: true, ..policy.anonymous_limits() },
            AccessLevel::Full => policy.anonymous_limits(),
        };
        let (deny, ask) = policy.rules_for_all();
        let texts = |all: &[Rule], own: &[Rule]| {
            all.iter().chain(own).map(|rule| rule.as_str().to_owned()).collect()
        };
        let rate = own.rate.map(|rate| format!("{} requests", format_rate(rate)));
        let all = own.max_requests.map(|most| format!("{most} requests in all"));
        let budgets = (!own.budgets.is_empty()).then(|| own.budgets.to_string());
        Self {
            base_url,
            is_read_only: own.read_only,
            allow: texts(&[], &own.allow),
            deny: texts(deny, &own.deny),
            ask: texts(ask, &own.ask),
            redaction: own.redaction,
            bounds: rate.into_iter().chain(all).chain(budgets).collect(),
            expires: own.expires.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        }
    }

    /// Writes it for the instructions of an agent.
    pub fn text(&self, name: &str) -> String {
        let mut lines = vec![
            format!("You reach the Nexudus API at {} as the client `{name}`.", self.base_url),
            "Send your key with every request, as `Authorization: Bearer KEY`. Ask for no token and \
             no password: the proxy has the session."
                .to_owned(),
        ];
        if self.is_read_only {
            lines.push("You may only read: GET, HEAD and OPTIONS.".to_owned());
        }
        lines.extend(sentence("You may send only:", &self.allow));
        lines.extend(sentence("You may not send:", &self.deny));
        lines.extend(sentence("A person decides about each:", &self.ask));
        if !self.ask.is_empty() {
            lines.push(
                "Such a request is answered with 503 and the code `policy.approval-pending` while the \
                 person has not decided: nothing was done. Wait for Retry-After and send exactly the \
                 same request again; after a yes it goes through once. 403 with \
                 `policy.approval-denied` is a no: do not send it again."
                    .to_owned(),
            );
        }
        lines.extend(redaction(&self.redaction));
        lines.extend(sentence("You may use at most:", &self.bounds));
        lines.push(
            "403 with another code that begins with `policy.` means that you may not do this: say so, \
             and do not look for a way round. `policy.exhausted` says when your budget comes back. 429 \
             and 503 say with Retry-After when to try again."
                .to_owned(),
        );
        lines.extend(self.expires.iter().map(|at| format!("Your key ends at {at}.")));
        lines.push(format!("GET {GUIDE_PATH} says this again, with what you have used."));
        lines.join("\n")
    }

    fn json(&self, name: Option<&str>, budgets: &[BudgetStatus]) -> Json {
        json!({
            "client": name,
            "base_url": self.base_url,
            "read_only": self.is_read_only,
            "allow": self.allow,
            "deny": self.deny,
            "ask": self.ask,
            "redact": self.redaction.mode,
            "resolve": self.redaction.resolve,
            "budgets": budgets,
            "expires": self.expires,
            "responses": {
                "policy.approval-pending": "a person has not decided: send the same request again \
                    after Retry-After",
                "policy.approval-denied": "a person said no: do not send it again",
                "policy.exhausted": "the budget is used up: the response says when it comes back",
            },
            "guide": self.text(name.unwrap_or("a program without a key")),
        })
    }
}

/// Says what tokens are, and where they may be sent, if values are hidden.
fn redaction(policy: &RedactionPolicy) -> Option<String> {
    let hidden = match policy.mode {
        RedactMode::Off => return None,
        RedactMode::Table => "Personal values",
        RedactMode::All => "All texts but a few",
    };
    let sent = if policy.resolve {
        "Send a token in a filter or in a body where you mean its value: the proxy puts the value in \
         its place. 409 with `policy.token-unknown` means that you must read the record again."
    } else {
        "Do not send tokens: Nexudus does not know them."
    };
    Some(format!(
        "{hidden} are hidden from you. In their places are tokens such as `«PII:EMAIL:3f9a1c20»`: \
         equal values have equal tokens. Filter and sort only by identifiers, dates and states: 403 \
         with `policy.redacted` says that a request would tell more. {sent}"
    ))
}

/// Says what holds for these, if there are any.
fn sentence(what: &str, rules: &[String]) -> Option<String> {
    let quoted: Vec<_> = rules.iter().map(|rule| format!("`{rule}`")).collect();
    (!rules.is_empty()).then(|| format!("{what} {}.", quoted.join(", ")))
}

/// Responds with the guide for the client that asks. `host` is its name for what it has connected to.
pub(super) fn respond(
    policy: &Policy,
    client: &ClientIdentity,
    host: Option<&HeaderValue>,
    (target, origin): (ConnectionTarget, &Origin),
) -> Response<ProxyBody> {
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let base_url = match target {
        ConnectionTarget::Daemon => format!("http://{host}"),
        ConnectionTarget::DaemonOverTls => format!("https://{host}"),
        // Never without TLS: outside of the proxy, a key would go to the origin in the clear.
        ConnectionTarget::Origin => origin.to_string(),
    };
    let guide = Guide::new(base_url, policy, policy.access_level(client));
    let json = match client {
        ClientIdentity::Client(client) => guide.json(Some(client.name()), &client.budgets()),
        ClientIdentity::Anonymous => guide.json(None, &[]),
    };
    let mut response = Response::new(ProxyBody::full(format!("{json:#}\n").into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert_sandbox_headers(headers);
    response
}

//! Why the guard refuses a request.

use crate::config::SystemdUnit;
use crate::gateway::client_auth;
use crate::listen::BrowserHeaders;
use crate::peer::local_user_name;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::upstream::MAX_CONNECTION_OPTIONS;

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The framing is not what RFC 9112 allows.
    #[error("the request's framing is ambiguous: {0}")]
    Framing(&'static str),
    /// The target is not a path.
    #[error("the request target is not a path on this host: {0}")]
    Target(&'static str),
    /// The request does not name exactly one host.
    #[error("the request must have exactly one well-formed Host header")]
    Host,
    /// `Connection` names too many options.
    #[error("the Connection header names more than {MAX_CONNECTION_OPTIONS} options")]
    TooManyOptions,
    /// The target is longer than `limits.target_bytes`.
    #[error("the request target is longer than {0} bytes")]
    TargetTooLong(usize),
    /// The request is meant for another host, as after DNS rebinding.
    #[error("the Host header names another host")]
    ForeignHost,
    /// The request is one to a forward proxy, for another host.
    #[error("the request is for another host, and this listener is no forward proxy")]
    NoForwardProxy,
    /// The connection is meant for the upstream, and the request for another host.
    #[error("the Host header names another host than the connection was opened for")]
    MisdirectedHost,
    /// A browser sent the request, on behalf of any page.
    #[error("web browsers are refused, and only they send {headers}")]
    Browser {
        /// The headers that only browsers send.
        headers: BrowserHeaders,
        /// Whether a person will read the response.
        is_navigation: bool,
    },
    /// A page of an origin that a client names sent the request, without the key of such a client.
    #[error("a web page of this origin needs the key of a client that names the origin")]
    Page,
    /// The process of another user, this one if the kernel names it, sent the request.
    #[error("the calling process belongs to another user")]
    User(Option<u32>),
    /// A method that Nexudus does not use.
    #[error("the method is not forwarded")]
    Method,
    /// The request opens a WebSocket, which is disabled here or not as RFC 6455 demands.
    #[error("this WebSocket connection is not forwarded: {0}")]
    Upgrade(&'static str),
    /// The client key is missing or invalid.
    #[error(transparent)]
    Client(#[from] client_auth::Error),
}

impl Problem for Error {
    /// Returns the kind without its hint, which takes memory: every rejection is counted by its code.
    fn kind(&self) -> ProblemKind {
        match self {
            Self::Framing(_) => ProblemKind::MalformedRequest,
            Self::Target(_) => ProblemKind::MalformedTarget,
            Self::Host => ProblemKind::MalformedHost,
            // RFC 6585 §5: the status is also right where a single header is at fault.
            Self::TooManyOptions => ProblemKind::HeadTooLarge,
            Self::TargetTooLong(_) => ProblemKind::TargetTooLong,
            Self::ForeignHost | Self::NoForwardProxy | Self::MisdirectedHost => {
                ProblemKind::ForeignHost
            }
            Self::Browser { .. } | Self::Page => ProblemKind::Browser,
            Self::User(_) => ProblemKind::ForeignUser,
            Self::Method => ProblemKind::MethodNotForwarded,
            Self::Upgrade(_) => ProblemKind::UpgradeNotForwarded,
            Self::Client(error) => error.kind(),
        }
    }

    fn details(&self) -> ProblemDetails {
        match self {
            Self::TooManyOptions => {
                self.kind().with_hint("Name in Connection only the headers that are hop-by-hop.")
            }
            Self::Browser { headers, .. } => self.kind().with_hint(format!(
                "Leave out {headers} (in \"Copy as cURL\": those lines); a development server that \
                 passes a page's requests on must drop them (docs/tools.md). For a page of your own: \
                 `nexudus-proxy client add NAME --origin URL` makes a key for its origin \
                 (docs/web-apps.md)."
            )),
            Self::Page => self.kind().with_hint(
                "Send the key in Nexudus-Proxy-Key or as a bearer token, and leave out /api/token and \
                 WebSockets, which are for programs; `nexudus-proxy client list` shows which client \
                 names the origin.",
            ),
            Self::Upgrade(why) if *why == UPGRADE_DISABLED => {
                self.kind().with_hint("Send it without Upgrade, or set upstream.upgrade.")
            }
            Self::NoForwardProxy => self.kind().with_hint(
                "Ask for a path here, such as http://localhost:6398/api/auth/me. A proxy for other \
                 programs is the listener of `[forward_proxy]`; `nexudus-proxy run -- COMMAND` brings \
                 one of its own.",
            ),
            Self::MisdirectedHost => self
                .kind()
                .with_hint("Send the request over a connection to the host that it names."),
            Self::User(Some(uid)) => self.kind().with_hint(user_hint(*uid, SystemdUnit::own())),
            Self::Client(error) => error.details(),
            Self::Framing(_)
            | Self::Target(_)
            | Self::Host
            | Self::TargetTooLong(_)
            | Self::ForeignHost
            | Self::User(None)
            | Self::Method
            | Self::Upgrade(_) => self.kind().into(),
        }
    }
}

/// Says how the caller gets access. The machine's daemon has a user that no person can be.
fn user_hint(uid: u32, unit: Option<&SystemdUnit>) -> String {
    let name = local_user_name(uid);
    let line = format!("`users = [\"{name}\"]` below `[listen]`");
    if unit.is_some_and(|unit| unit.is_system) {
        format!(
            "Let root write {line} in /etc/nexudus-proxy/config.toml (several: \"a\", \"b\"), and run \
             `nexudus-proxy reload`."
        )
    } else {
        format!(
            "Call as the user who runs the daemon, or let that user write {line} in the \
             configuration, and run `nexudus-proxy reload`."
        )
    }
}

/// The reason why no WebSocket is forwarded at all.
pub(in crate::gateway) const UPGRADE_DISABLED: &str = "upstream.upgrade is off";

/// The reason why a WebSocket of another version is not forwarded.
pub(in crate::gateway) const UNSUPPORTED_WEBSOCKET_VERSION: &str =
    "Sec-WebSocket-Version is not 13";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_user_is_told_the_line_to_add_and_the_command() {
        let system = SystemdUnit { name: "nexudus-proxy.service".to_owned(), is_system: true };

        let hint = user_hint(4242, Some(&system));
        assert!(hint.contains("`users = [\"4242\"]` below `[listen]`"), "{hint}");
        assert!(hint.contains("`nexudus-proxy reload`"), "{hint}");
        assert!(!hint.contains("as the user who runs"), "no person can be that user: {hint}");
        let hint = user_hint(4242, None);
        assert!(hint.starts_with("Call as the user who runs the daemon, or "), "{hint}");
    }
}

//! What is said to a caller whose client key, or whose lack of one, was refused.

use http::StatusCode;

use super::ProblemSpec;
use crate::clients::KeyError;
use crate::gateway::client_auth::Error as E;

/// Says what is wrong with a key, and what to do about it.
pub(super) fn problem_for(error: E) -> ProblemSpec {
    let (title, hint) = match error {
        E::KeyRequired => (
            "Client key needed",
            "Send `Nexudus-Proxy-Key: KEY`; `nexudus-proxy client add NAME` makes one.",
        ),
        E::ConflictingKeys => ("Two client keys", "Send one key."),
        E::Misplaced(_) => (
            "Client key in a wrong place",
            "Take it out there; send it exactly as printed, nothing around it: `Nexudus-Proxy-Key: \
             KEY`, `Authorization: Bearer KEY`, or as the password of Basic.",
        ),
        E::Malformed(_) => (
            "Malformed client key",
            "Send it exactly as printed, nothing around it: `Nexudus-Proxy-Key: KEY`, \
             `Authorization: Bearer KEY`, or as the password of Basic.",
        ),
        E::Empty(_) => (
            "Empty client key",
            "Send the key exactly as printed, nothing around it; is the variable set that should \
             hold it?",
        ),
        E::InvalidKey(KeyError::Unreadable) => (
            "Client key not checked",
            "Look at `nexudus-proxy client list`; the file is left as it is.",
        ),
        E::InvalidKey(KeyError::Unknown | KeyError::Expired) => (
            "Client key refused",
            "Ask whoever runs the daemon for a new key: `nexudus-proxy client add NAME`.",
        ),
    };
    ProblemSpec::new(StatusCode::FORBIDDEN, "guard.client", title, hint)
}

/// Says how a client is made that may have this login material: by a rule that names it.
pub(super) fn rule_hint(material: &str) -> &'static str {
    match material {
        "/api/sys/users" => {
            "`nexudus-proxy client add NAME --allow 'GET /api/sys/users/**'` lets one client do this; a \
             rule names each other method."
        }
        "/api/sys/refreshtokens" => {
            "`nexudus-proxy client add NAME --allow 'GET /api/sys/refreshtokens/**'` lets one client \
             do this; a rule names each other method."
        }
        _ => {
            "`nexudus-proxy client add NAME --allow '* /api/sys/users/*/token/refresh'` lets one \
             client do this."
        }
    }
}

//! Why there was no connection to the token endpoint, in a sentence that holds no secret.

use std::error::Error as _;
use std::io;

use crate::tcp_options;
use crate::upstream::Unresolved;

/// Returns why there is no connection. The error's own text is not used: it can hold the address of
/// a proxy with the user's password.
pub(super) fn text(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let said = causes.find_map(|cause| {
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            return Some(unresolved_message(unresolved));
        }
        tunnel_message(cause).or_else(|| cause.downcast_ref::<io::Error>().and_then(system_message))
    });
    said.unwrap_or_else(|| {
        let text = if error.is_timeout() { "no connection in time" } else { "no connection" };
        text.to_owned()
    })
}

/// Returns why a name has no address, in the system's words.
fn unresolved_message(unresolved: &Unresolved) -> String {
    let cause = unresolved.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) if tcp_options::is_local_exhaustion(cause) => local_message(cause),
        Some(cause) => format!("{unresolved}: {cause}"),
        None => unresolved.to_string(),
    }
}

/// Returns what the proxy on the way said to CONNECT. The error's type is private to hyper-util; its
/// texts are constant.
fn tunnel_message(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let text = cause.to_string();
    let said = match text.strip_prefix("tunnel error: ")? {
        "proxy authorization required" => "the proxy on the way responded with 407 to CONNECT",
        "unsuccessful" => {
            "the proxy on the way refused to CONNECT (`nexudus-proxy doctor` says how)"
        }
        _ => "the proxy on the way closed the connection without a tunnel",
    };
    Some(said.to_owned())
}

fn local_message(cause: &io::Error) -> String {
    format!("this machine has no socket left: {cause}")
}

/// Returns the message of the system or of rustls. An I/O error that wraps another does not name it
/// as its source, so this function looks for the innermost error.
fn system_message(error: &io::Error) -> Option<String> {
    let Some(inner) = error.get_ref() else {
        error.raw_os_error()?;
        let is_local = tcp_options::is_local_exhaustion(error);
        return Some(if is_local { local_message(error) } else { error.to_string() });
    };
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(format!("no verified TLS connection: {tls}")),
        None => inner.downcast_ref::<io::Error>().and_then(system_message),
    }
}

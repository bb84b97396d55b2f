//! Who may use the control surface.
//!
//! Over the socket: our own user, those of `admin.users`, and root, who could stop the daemon
//! anyway. Over TCP any local user, as the configuration asks for, but no web page: what a browser
//! sends says so itself.

use std::net::SocketAddr;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::{Request, StatusCode};

use super::api::Problem;
use super::problem;
use crate::listen::{BrowserHeaders, Peer, UserAcl};

/// What callers are compared with.
#[derive(Clone, Debug)]
pub struct AccessControl {
    operators: UserAcl,
    /// The port of the TCP address.
    port: Option<u16>,
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessError {
    User,
    Host,
    Browser(BrowserHeaders),
}

impl AccessControl {
    /// Lets in root and `operators`, our own user among them; over TCP what names `address`.
    pub fn new(operators: UserAcl, address: Option<SocketAddr>) -> Self {
        Self { operators, port: address.map(|address| address.port()) }
    }

    /// Says whether the kernel vouches that this caller's user may act, if not in this way.
    pub(super) fn is_operator(&self, peer: &Peer) -> bool {
        peer.uid().is_some_and(|uid| uid == ROOT_UID || self.operators.contains(uid))
    }

    /// Says whether the kernel vouches that this caller may act.
    pub(super) fn can_control(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Unix { uid, .. } => *uid == ROOT_UID || self.operators.contains(*uid),
            Peer::Tcp { .. } => false,
        }
    }

    pub(super) fn check<B>(
        &self,
        request: &Request<B>,
        peer: &Peer,
        is_tcp: bool,
    ) -> Result<(), AccessError> {
        let headers = request.headers();
        if is_tcp {
            let mut hosts = headers.get_all(HOST).iter();
            let is_ours = match (hosts.next(), hosts.next()) {
                (Some(host), None) => self.is_own_host(host.as_bytes()),
                (None | Some(_), _) => false,
            };
            if !is_ours {
                return Err(AccessError::Host);
            }
        } else if !self.can_control(peer) {
            return Err(AccessError::User);
        }
        BrowserHeaders::find(headers).map_or(Ok(()), |found| Err(AccessError::Browser(found)))
    }

    fn is_own_host(&self, host: &[u8]) -> bool {
        let with_port = |name: &str| self.port.map(|port| format!("{name}:{port}"));
        LOOPBACK_NAMES.iter().any(|name| {
            host.eq_ignore_ascii_case(name.as_bytes())
                || with_port(name).is_some_and(|name| host.eq_ignore_ascii_case(name.as_bytes()))
        })
    }
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response<Body> {
        let problem = match self {
            Self::User => Problem::new(
                StatusCode::FORBIDDEN,
                "guard.user",
                "the calling process belongs to another user",
            )
            .with_hint("Call as the user who runs the daemon, or name yours in admin.users."),
            Self::Host => Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "guard.host",
                "the Host header names another host",
            )
            .with_hint("Use http://localhost with the port of admin.listen."),
            Self::Browser(found) => Problem::new(
                StatusCode::FORBIDDEN,
                "guard.origin",
                format!("web browsers are refused, and only they send {found}"),
            )
            .with_hint("Call from a program."),
        };
        problem::render(&problem)
    }
}

const ROOT_UID: u32 = 0;

const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn our_own_user_root_and_those_who_are_named_may_use_the_socket() {
        let named = UserAcl::new(&["1000".to_owned()], &[], false).unwrap();
        let shield = AccessControl::new(named, None);
        let check = |uid| shield.check(&request(&[]), &Peer::Unix { uid, pid: None }, false);

        let own = nix::unistd::geteuid().as_raw();
        assert_eq!((check(own), check(0), check(1000)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(check(54321), Err(AccessError::User));
    }

    #[test]
    fn no_web_page_may_use_either() {
        let shield = at(6390);
        let unix = Peer::Unix { uid: 0, pid: None };
        for (name, value) in [
            ("origin", "http://localhost:6390"),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("sec-purpose", "prefetch"),
            ("service-worker", "script"),
            ("upgrade-insecure-requests", "1"),
            ("access-control-request-method", "POST"),
        ] {
            let request = request(&[("host", "localhost:6390"), (name, value)]);
            for is_tcp in [false, true] {
                let refused = shield.check(&request, &unix, is_tcp);
                assert!(matches!(refused, Err(AccessError::Browser(_))), "{name}: {value}");
            }
        }
        let nodes_fetch = request(&[("host", "localhost:6390"), ("sec-fetch-mode", "cors")]);
        assert_eq!(shield.check(&nodes_fetch, &unix, true), Ok(()));
    }

    #[test]
    fn over_tcp_only_loopback_names_are_answered() {
        let shield = at(6390);
        let peer = Peer::Unix { uid: 0, pid: None };
        let check = |host: &str| shield.check(&request(&[("host", host)]), &peer, true);

        for host in ["localhost:6390", "127.0.0.1", "[::1]:6390"] {
            assert_eq!(check(host), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost:6398", "localhost.evil", ""] {
            assert_eq!(check(host), Err(AccessError::Host), "{host}");
        }
        assert_eq!(shield.check(&request(&[]), &peer, true), Err(AccessError::Host));
    }

    fn at(port: u16) -> AccessControl {
        let own = UserAcl::new(&[], &[], false).unwrap();
        AccessControl::new(own, Some(SocketAddr::from(([127, 0, 0, 1], port))))
    }

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }
}

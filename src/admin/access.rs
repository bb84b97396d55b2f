//! Which processes may use the control surface.
//!
//! Over the socket: our own user, those of `admin.users`, and root, who could stop the daemon
//! anyway. Over TCP: every local user, if the configuration opens it, but no web page. A browser is
//! recognised by the headers that it sends.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::{HeaderMap, Version};
use tokio::sync::watch;

use super::problem::problem_response;
use crate::config::SystemdUnit;
use crate::listen::{BrowserHeaders, OwnHosts};
use crate::peer::{Peer, UserAcl};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// The users and hosts that are allowed.
#[derive(Clone, Debug)]
pub struct AccessControl {
    /// Clones share them: a reload replaces them for all.
    operators: Arc<watch::Sender<UserAcl>>,
    /// The hosts that the TCP address is.
    hosts: OwnHosts,
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessError {
    #[error("the calling process belongs to another user")]
    User,
    #[error("the Host header names another host")]
    Host,
    #[error("web browsers are refused, and only they send {0}")]
    Browser(BrowserHeaders),
}

impl Problem for AccessError {
    fn details(&self) -> ProblemDetails {
        match self {
            // The machine's daemon has a user that no person can be.
            Self::User if SystemdUnit::own().is_some_and(|unit| unit.is_system) => {
                ProblemKind::ForeignUser.with_hint(
                    "Call as root, or let root name your user in admin.users and run \
                     `nexudus-proxy reload`.",
                )
            }
            Self::User => ProblemKind::ForeignUser.with_hint(
                "Call as the user who runs the daemon, or let that user name yours in \
                 admin.users and run `nexudus-proxy reload`.",
            ),
            Self::Host => ProblemKind::ForeignHost
                .with_hint("Use http://localhost with the port of admin.listen."),
            Self::Browser(_) => ProblemKind::Browser.into(),
        }
    }
}

/// Refuses requests of peers without access, before any handler runs.
pub(super) async fn require_access(
    State(access): State<AccessControl>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, AccessError> {
    // HTTP/1.0 has no Host: old programs probe so, and no browser does.
    let needs_host = request.version() != Version::HTTP_10;
    access.check(request.headers(), &peer, needs_host)?;
    Ok(next.run(request).await)
}

impl AccessControl {
    /// Allows root and `operators`, our own user among them; over TCP, requests that name
    /// `address`.
    pub fn new(operators: UserAcl, address: Option<SocketAddr>) -> Self {
        let operators = Arc::new(watch::Sender::new(operators));
        Self { operators, hosts: OwnHosts::new(address.as_slice(), &[]) }
    }

    /// Replaces the operators from the next request on.
    pub fn set_operators(&self, operators: UserAcl) {
        self.operators.send_replace(operators);
    }

    /// Waits until a reload takes the access to the socket away from this peer.
    pub async fn wait_revoked(&self, peer: &Peer) {
        let mut operators = self.operators.subscribe();
        if !self.is_operator(peer) {
            return std::future::pending().await;
        }
        while self.is_operator(peer) {
            if operators.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Returns whether the peer's user is an operator, as the kernel vouches over either socket.
    pub(super) fn is_operator(&self, peer: &Peer) -> bool {
        peer.uid().is_some_and(|uid| uid == ROOT_UID || self.operators.borrow().contains(uid))
    }

    /// Says whether a peer may read the content of requests: the daemon's own user and root; root alone
    /// where the daemon is the machine's, which serves many.
    pub(super) fn may_read_content(&self, peer: &Peer) -> bool {
        let is_machines = SystemdUnit::own().is_some_and(|unit| unit.is_system);
        peer.uid().is_some_and(|uid| uid == ROOT_UID || (!is_machines && is_own_user(uid)))
    }

    fn check(&self, headers: &HeaderMap, peer: &Peer, needs_host: bool) -> Result<(), AccessError> {
        match peer {
            Peer::Tcp { .. } if !self.is_own_host(headers, needs_host) => {
                return Err(AccessError::Host);
            }
            Peer::Unix { .. } if !self.is_operator(peer) => return Err(AccessError::User),
            Peer::Tcp { .. } | Peer::Unix { .. } => {}
        }
        BrowserHeaders::find(headers).map_or(Ok(()), |found| Err(AccessError::Browser(found)))
    }

    /// Returns whether the one `Host` names the loopback interface, without a port or with ours.
    fn is_own_host(&self, headers: &HeaderMap, needs_host: bool) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => self.hosts.contains(host.as_bytes()),
            (None, None) => !needs_host,
            (_, Some(_)) => false,
        }
    }
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response {
        problem_response(&self)
    }
}

#[cfg(unix)]
fn is_own_user(uid: u32) -> bool {
    uid == nix::unistd::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_own_user(_: u32) -> bool {
    false
}

const ROOT_UID: u32 = 0;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::peer::User;

    #[cfg(unix)]
    #[test]
    fn our_own_user_root_and_named_users_may_use_the_socket() {
        let named = UserAcl::new(vec![1000], vec![], false);
        let access = AccessControl::new(named, None);
        let check = |uid| access.check(&HeaderMap::new(), &Peer::Unix { uid, pid: None }, true);

        let own = nix::unistd::geteuid().as_raw();
        assert_eq!((check(own), check(0), check(1000)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(check(54321), Err(AccessError::User));
    }

    #[cfg(unix)]
    #[test]
    fn an_operator_of_another_user_reads_no_queries_or_bodies() {
        let access = AccessControl::new(UserAcl::new(vec![1000, 54321], vec![], false), None);
        let may = |uid| access.may_read_content(&Peer::Unix { uid, pid: None });
        let own = nix::unistd::geteuid().as_raw();

        assert!(may(own) && may(0) && !may(54321));
        assert!(access.is_operator(&Peer::Unix { uid: 54321, pid: None }));
        assert!(!access.may_read_content(&tcp()));
    }

    #[test]
    fn web_pages_may_use_neither_socket() {
        let access = at(6390);
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
            let headers = headers(&[("host", "localhost:6390"), (name, value)]);
            for peer in [&unix, &tcp()] {
                let checked = access.check(&headers, peer, true);
                assert!(matches!(checked, Err(AccessError::Browser(_))), "{name}: {value}");
            }
        }
        let nodes_fetch = headers(&[("host", "localhost:6390"), ("sec-fetch-mode", "cors")]);
        assert_eq!(access.check(&nodes_fetch, &tcp(), true), Ok(()));
    }

    #[test]
    fn over_tcp_only_loopback_names_are_accepted() {
        let access = at(6390);
        let check = |host: &str| access.check(&headers(&[("host", host)]), &tcp(), true);

        for host in
            ["localhost:6390", "127.0.0.1", "[0:0:0:0:0:0:0:1]:6390", "[::ffff:127.0.0.1]:6390"]
        {
            assert_eq!(check(host), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost:6398", "localhost.evil", ""] {
            assert_eq!(check(host), Err(AccessError::Host), "{host}");
        }
        assert_eq!(access.check(&HeaderMap::new(), &tcp(), true), Err(AccessError::Host));
        assert_eq!(access.check(&HeaderMap::new(), &tcp(), false), Ok(()), "HTTP/1.0");
    }

    fn at(port: u16) -> AccessControl {
        let own = UserAcl::new(vec![], vec![], false);
        AccessControl::new(own, Some(SocketAddr::from(([127, 0, 0, 1], port))))
    }

    fn tcp() -> Peer {
        let remote = SocketAddr::from(([127, 0, 0, 1], 50_000));
        Peer::Tcp { remote, user: User::Unknown }
    }

    fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        headers.collect()
    }
}

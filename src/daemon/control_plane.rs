//! The admin surface's places and tasks, and the counting that goes on beside requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Error;
use crate::admin::Admin;
use crate::config::{Config, Paths};
use crate::listen::{self, BoundSocket, Inherited};
use crate::session::{Session, SessionState};
use crate::telemetry::Telemetry;
use crate::upstream::Upstream;

/// Where the admin surface listens.
#[derive(Debug)]
pub(super) struct AdminListeners {
    bound: Vec<BoundSocket>,
}

impl AdminListeners {
    /// Binds them, or takes those that the service manager has opened.
    pub(super) fn bind(
        config: &Config,
        paths: &Paths,
        inherited: Vec<BoundSocket>,
    ) -> Result<Self, Error> {
        let mut bound = inherited;
        #[cfg(unix)]
        if !bound.iter().any(|place| place.path().is_some()) {
            let opening = match config.admin.users.is_empty() {
                true => listen::SocketAccess::Owner,
                false => listen::SocketAccess::AllUsers,
            };
            match listen::bind_unix(&paths.admin_socket(), opening) {
                Ok(place) => bound.push(place),
                // Requests can be served without it, and no key names another place for it.
                Err(error @ listen::Error::SocketPath { .. }) => {
                    tracing::warn!(%error, "there is no admin socket: commands will not find us");
                }
                Err(error) => return Err(error.into()),
            }
        }
        #[cfg(not(unix))]
        let _ = paths;
        if let Some(address) = config.admin.listen {
            let opened = listen::bind_tcp(&[address]);
            let key = "admin.listen";
            bound.extend(opened.map_err(|source| Error::ListenAt { key, source })?);
        }
        Ok(Self { bound })
    }

    pub(super) fn socket(&self) -> Option<std::path::PathBuf> {
        self.bound.iter().find_map(|place| place.path().map(std::path::Path::to_owned))
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.bound.iter().find_map(BoundSocket::address)
    }
}

/// Serves the admin surface, until dropped.
#[derive(Debug)]
pub(super) struct ControlPlane(JoinSet<()>);

impl ControlPlane {
    /// Starts on the runtime that this is called on.
    pub(super) fn start(
        places: AdminListeners,
        admin: &Admin,
        session: &Session,
        upstreams: Vec<Upstream>,
        record: &Arc<Telemetry>,
    ) -> std::io::Result<Self> {
        let mut tasks = JoinSet::new();
        for place in places.bound {
            tasks.spawn(accept(place.into_listener()?, admin.clone()));
        }
        tasks.spawn(count_renewals(session.clone(), record.clone()));
        tasks.spawn(close_on_logout(session.clone(), upstreams));
        Ok(Self(tasks))
    }

    /// Ends every connection (what watches sees the daemon's end) and removes the socket.
    pub(super) async fn stop(&mut self) {
        self.0.shutdown().await;
    }
}

async fn accept(mut listener: listen::Listener, admin: Admin) {
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                connections.spawn(admin.clone().serve(stream, peer));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn count_renewals(session: Session, record: Arc<Telemetry>) {
    let mut changes = session.subscribe();
    let mut known = 0;
    while changes.changed().await.is_ok() {
        let view = session.status();
        // The first one may be the saved one.
        let is_new = known > 0 || view.age.is_some_and(|age| age < MAX_NEW_TOKEN_AGE);
        if view.generation > known && is_new {
            record.metrics.count_renewal();
        }
        known = known.max(view.generation);
    }
}

/// Closes the connections that have carried a token once a person wants it gone.
async fn close_on_logout(session: Session, upstreams: Vec<Upstream>) {
    let mut changes = session.subscribe();
    let mut owner = TokenOwner::default();
    loop {
        let view = session.status();
        if owner.has_changed(view.state, view.account.as_deref()) {
            upstreams.iter().for_each(Upstream::close_all);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Whose token it is that connections carry.
#[derive(Debug, Default)]
struct TokenOwner {
    is_closed: bool,
    account: Option<String>,
}

impl TokenOwner {
    /// Says whether the token has just become nobody's, or another's.
    fn has_changed(&mut self, state: SessionState, account: Option<&str>) -> bool {
        let is_shut = matches!(state, SessionState::Locked | SessionState::NotLoggedIn);
        let was_shut = std::mem::replace(&mut self.is_closed, is_shut);
        let Some(account) = account else { return is_shut && !was_shut };
        let before = self.account.replace(account.to_owned());
        is_shut && !was_shut || before.is_some_and(|before| before != account)
    }
}

/// Splits what was handed over by kind: sockets of one kind replace what is configured of it.
pub(super) fn split_inherited(
    inherited: Inherited,
) -> (Vec<BoundSocket>, Vec<BoundSocket>, Vec<BoundSocket>) {
    let (unix, tcp) = inherited.data.into_iter().partition(|place| place.address().is_none());
    (tcp, unix, inherited.admin)
}

/// The age of a token that was not read from the file.
const MAX_NEW_TOKEN_AGE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_closed_when_their_token_is_nobodys_or_anothers() {
        let mut owner = TokenOwner::default();
        for (state, account, has_left) in [
            (SessionState::Starting, None, false),
            (SessionState::Ready, Some("ada"), false),
            (SessionState::Ready, Some("ada"), false),
            (SessionState::Locked, Some("ada"), true),
            (SessionState::Locked, Some("ada"), false),
            (SessionState::Ready, Some("ada"), false),
            (SessionState::Ready, Some("bob"), true),
            (SessionState::NotLoggedIn, None, true),
            (SessionState::NotLoggedIn, None, false),
            (SessionState::Ready, Some("ada"), true),
        ] {
            assert_eq!(owner.has_changed(state, account), has_left, "{state:?} {account:?}");
        }
    }
}

//! The admin surface's sockets and tasks, and the tasks that watch the session.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::Error;
#[cfg(unix)]
use super::socket_access;
use crate::admin::{Admin, HealthProbes};
#[cfg(unix)]
use crate::config::UnixSocket;
use crate::config::{Config, Paths};
use crate::listen::{self, BoundSocket, Inherited};
use crate::session::{Session, SessionState};
use crate::telemetry::Telemetry;
use crate::upstream::Upstream;

/// The sockets of the admin surface.
#[derive(Debug)]
pub(super) struct AdminListeners {
    bound: Vec<BoundSocket>,
    /// For health probes alone.
    health: Vec<BoundSocket>,
}

impl AdminListeners {
    /// Opens the sockets, or takes those that the service manager has opened.
    pub(super) fn bind(
        config: &Config,
        paths: &Paths,
        inherited: Vec<BoundSocket>,
    ) -> Result<Self, Error> {
        let mut bound = inherited;
        #[cfg(unix)]
        if !bound.iter().any(|socket| socket.path().is_some()) {
            match listen::bind_unix(&paths.admin_socket(), socket_access::admin_access(config)) {
                Ok(socket) => bound.push(socket),
                // Requests can be served without the admin socket, and no key configures its path.
                Err(error) if can_do_without(&error, config) => {
                    tracing::warn!(%error, "there is no admin socket: commands will not find this daemon");
                }
                Err(error) => return Err(error.into()),
            }
        }
        #[cfg(windows)]
        bound.push(BoundSocket::Pipe(listen::PipeFile::new(&paths.admin_socket())?));
        if let Some(address) = config.admin.listen {
            let opened = listen::bind_tcp(&[address]);
            let key = "admin.listen";
            bound.extend(opened.map_err(|source| Error::ListenAt { key, source })?);
        }
        let health = listen::bind_tcp(config.admin.health_listen.as_slice());
        let key = "admin.health_listen";
        let health = health.map_err(|source| Error::ListenAt { key, source })?;
        Ok(Self { bound, health })
    }

    pub(super) fn socket(&self) -> Option<PathBuf> {
        self.bound.iter().find_map(|socket| socket.path().map(Path::to_owned))
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.bound.iter().find_map(BoundSocket::address)
    }

    pub(super) fn health_address(&self) -> Option<SocketAddr> {
        self.health.iter().find_map(BoundSocket::address)
    }
}

/// Says whether the daemon starts without its admin socket: its path is too long, or its directory
/// cannot be written and no other socket is wanted there.
#[cfg(unix)]
fn can_do_without(error: &listen::Error, config: &Config) -> bool {
    use std::io::ErrorKind;
    match error {
        listen::Error::SocketPath { .. } => true,
        listen::Error::SocketPlace { source: Some(source), .. } => {
            let is_unwritable = matches!(
                source.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound
            );
            is_unwritable && config.listen.unix == UnixSocket::Off
        }
        listen::Error::SocketPlace { source: None, .. }
        | listen::Error::InUse { .. }
        | listen::Error::Bind { .. }
        | listen::Error::OtherFamily { .. }
        | listen::Error::NoSuchUser { .. }
        | listen::Error::NoSuchGroup { .. }
        | listen::Error::Inherited { .. }
        | listen::Error::SocketInUse { .. } => false,
    }
}

/// The tasks of the control plane, until dropped.
#[derive(Debug)]
pub(super) struct ControlPlane(JoinSet<()>);

impl ControlPlane {
    /// Starts the tasks on the current runtime.
    pub(super) fn start(
        listeners: AdminListeners,
        admin: &Admin,
        session: &Session,
        upstreams: Vec<Upstream>,
        telemetry: &Arc<Telemetry>,
    ) -> std::io::Result<Self> {
        let mut tasks = JoinSet::new();
        for socket in listeners.bound {
            tasks.spawn(accept(socket.into_listener()?, admin.clone()));
        }
        for socket in listeners.health {
            tasks.spawn(accept_probes(socket.into_listener()?, admin.health_probes()));
        }
        let history = admin.clone();
        tasks.spawn(async move { history.record_history().await });
        tasks.spawn(count_renewals(session.clone(), telemetry.clone()));
        tasks.spawn(close_on_logout(session.clone(), upstreams));
        Ok(Self(tasks))
    }

    /// Closes every connection, so that their clients see the daemon's end, and removes the socket.
    pub(super) async fn stop(&mut self) {
        self.0.shutdown().await;
    }
}

async fn accept(mut listener: listen::Listener, admin: Admin) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                let admin = admin.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = admin.clone().serve(stream, peer.clone()) => {}
                        () = admin.wait_revoked(&peer) => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves health probes. One more than [`MAX_PROBES`] ends the oldest: a stranger who holds
/// connections open keeps no probe out.
async fn accept_probes(mut listener: listen::Listener, probes: HealthProbes) {
    let mut connections = JoinSet::new();
    let mut open = VecDeque::new();
    loop {
        tokio::select! {
            (stream, _) = listener.accept() => {
                let oldest = (open.len() >= MAX_PROBES).then(|| open.pop_front()).flatten();
                oldest.iter().for_each(AbortHandle::abort);
                let serving = timeout(PROBE_TIMEOUT, probes.clone().serve(stream));
                open.push_back(connections.spawn(async move { serving.await.unwrap_or(()) }));
            }
            Some(_) = connections.join_next() => open.retain(|probe| !probe.is_finished()),
        }
    }
}

async fn count_renewals(session: Session, telemetry: Arc<Telemetry>) {
    let mut changes = session.subscribe();
    let mut counted = 0;
    while changes.changed().await.is_ok() {
        let renewals = session.status().renewals;
        (counted..renewals).for_each(|_| telemetry.metrics.count_renewal());
        counted = renewals;
    }
}

/// Closes upstream connections that have carried a token after a logout, a lock or a change of the
/// account.
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

/// The account of the token that connections carry.
#[derive(Debug, Default)]
struct TokenOwner {
    is_closed: bool,
    account: Option<String>,
}

impl TokenOwner {
    /// Says whether the session was just closed, or the account changed.
    fn has_changed(&mut self, state: SessionState, account: Option<&str>) -> bool {
        let is_shut = matches!(state, SessionState::Locked | SessionState::NotLoggedIn);
        let was_shut = std::mem::replace(&mut self.is_closed, is_shut);
        let Some(account) = account else { return is_shut && !was_shut };
        let before = self.account.replace(account.to_owned());
        is_shut && !was_shut || before.is_some_and(|before| before != account)
    }
}

/// Most connections of health probes at once. A kubelet has two.
const MAX_PROBES: usize = 16;

/// Longest time of a health probe: a kubelet waits 1 s by default.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Splits the inherited sockets by kind: the sockets of a kind replace the configured ones.
pub(super) fn split_inherited(
    inherited: Inherited,
) -> (Vec<BoundSocket>, Vec<BoundSocket>, Vec<BoundSocket>) {
    let (unix, tcp) = inherited.data.into_iter().partition(|place| place.address().is_none());
    (tcp, unix, inherited.admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_closed_when_the_session_closes_or_the_account_changes() {
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

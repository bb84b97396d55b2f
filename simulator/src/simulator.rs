//! Starting, steering and stopping a simulator.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::account::Account;
use crate::fault::Fault;
use crate::recorder::{ConnectionCounts, ExecutedWrite, RecordedRequest, Recording, TokenCall};
use crate::settings::Settings;
use crate::state::{Hold, HoldStage, Route, SharedState};
use crate::{clock, totp};

/// A running simulator. Dropping it stops it.
///
/// ```
/// use nexudus_simulator::{Route, Simulator};
///
/// let simulator = Simulator::start()?;
/// simulator.set(|settings| settings.token.access_life = std::time::Duration::from_secs(20));
/// assert!(simulator.origin().starts_with("https://localhost:"));
/// # Ok::<(), nexudus_simulator::StartError>(())
/// ```
pub struct Simulator {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) address: SocketAddr,
    pub(crate) control: Option<SocketAddr>,
    pub(crate) ca_pem: String,
    pub(crate) runtime: Handle,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Simulator {
    /// Returns `https://localhost:PORT`.
    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Returns the IPv4 address it listens on; `[::1]` has the same port where it could be had.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the plain-HTTP control address.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Returns the authority that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Writes [`ca_pem`](Self::ca_pem) to a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_ca(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, &self.ca_pem)
    }

    /// Turns settings; requests judged from now on see the change.
    pub fn set(&self, turn: impl FnOnce(&mut Settings)) {
        self.shared.change(|state| turn(&mut state.settings));
    }

    /// Returns the settings as they are, faults with what is left of them.
    pub fn settings(&self) -> Settings {
        self.shared.read(|state| state.settings.clone())
    }

    /// Adds a fault behind those already there.
    pub fn fault(&self, fault: Fault) {
        self.set(|settings| settings.faults.push(fault));
    }

    /// Throttles the next `count` requests.
    pub fn throttle_next(&self, count: u32) {
        self.set(|settings| settings.throttle.next = count);
    }

    /// Moves the simulator's clock forward: tokens, windows and one-time codes age.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
        self.shared.change(|_| ());
    }

    /// Returns the simulator's wall clock in Unix seconds.
    pub fn unix_time(&self) -> u64 {
        clock::unix_seconds(self.shared.clock.wall())
    }

    /// Kills every access token.
    pub fn revoke_access_tokens(&self) {
        self.shared.change(|state| state.tokens.revoke_all_access());
    }

    /// Kills one access token; returns whether it was known.
    pub fn revoke_access(&self, token: &str) -> bool {
        self.shared.change(|state| state.tokens.revoke_access(token))
    }

    /// Kills every refresh token.
    pub fn revoke_refresh_tokens(&self) {
        self.shared.change(|state| state.tokens.revoke_all_refresh());
    }

    /// Adds an account, or replaces the one with its e-mail.
    pub fn add_account(&self, account: Account) {
        self.shared.change(|state| state.put_account(account));
    }

    /// Changes an account; returns whether there is one.
    pub fn change_account(&self, email: &str, edit: impl FnOnce(&mut Account)) -> bool {
        self.shared.change(|state| {
            let account = state.accounts.iter_mut().find(|account| account.goes_by(email));
            account.map(edit).is_some()
        })
    }

    /// Changes a password, which also kills the account's tokens unless
    /// [`revoke_on_password_change`](crate::TokenSettings::revoke_on_password_change) is off.
    pub fn change_password(&self, email: &str, new: &str) -> bool {
        let found = self.change_account(email, |account| account.password = new.to_owned());
        self.shared.change(|state| {
            if found && state.settings.token.revoke_on_password_change {
                state.tokens.revoke_account(email);
            }
        });
        found
    }

    /// Returns the one-time code an account's authenticator shows now.
    pub fn totp_code(&self, email: &str) -> Option<String> {
        let secret = self.shared.read(|state| state.account(email)?.totp_secret.clone())?;
        totp::code(&secret, self.unix_time())
    }

    /// Returns every request so far, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.read(|state| state.recording.requests.iter().cloned().collect())
    }

    /// Returns every call of `/api/token`.
    pub fn token_calls(&self) -> Vec<TokenCall> {
        self.shared.read(|state| state.recording.token_calls.clone())
    }

    /// Returns the most token calls that were ever in flight together.
    pub fn max_concurrent_token_calls(&self) -> u32 {
        self.shared.read(|state| state.recording.max_concurrent_token_calls)
    }

    /// Returns every write that was carried out, whether or not its answer arrived.
    pub fn executed_writes(&self) -> Vec<ExecutedWrite> {
        self.shared.read(|state| state.recording.writes.clone())
    }

    /// Returns the connections so far.
    pub fn connections(&self) -> ConnectionCounts {
        self.shared.read(|state| state.recording.connections)
    }

    /// Forgets all that was recorded: requests, token calls, writes, the concurrency mark.
    pub fn clear_recording(&self) {
        self.shared.change(|state| state.recording.clear());
    }

    /// Returns how many logins of this account failed in a row, at the token endpoint and by Basic.
    pub fn failed_logins(&self, email: &str) -> u32 {
        self.shared.read(|state| state.logins.count(&email.to_ascii_lowercase()))
    }

    /// Forgets failed logins, so that a lock-out ends.
    pub fn forget_failed_logins(&self) {
        self.shared.change(|state| state.logins.forget_all());
    }

    /// Returns the access tokens that are accepted now.
    pub fn live_access_tokens(&self) -> Vec<String> {
        let now = self.shared.clock.now();
        self.shared.read(|state| state.tokens.live_access(now).map(str::to_owned).collect())
    }

    /// Returns the refresh tokens that are accepted now, each with its client id.
    pub fn live_refresh_tokens(&self) -> Vec<(String, String)> {
        let now = self.shared.clock.now();
        self.shared.read(|state| {
            let live = state.tokens.live_refresh(now);
            live.map(|refresh| (refresh.token.clone(), refresh.holder.client_id.clone())).collect()
        })
    }

    /// Lets matching requests arrive and wait, unjudged, until the guard is released or dropped.
    /// They see what changes meanwhile (a revoked token, a setting).
    #[must_use = "requests wait only while the guard lives"]
    pub fn hold(&self, route: Route) -> HoldGuard {
        self.hold_at(route, HoldStage::Before)
    }

    /// Lets matching requests take effect, and their answers wait until the guard goes.
    #[must_use = "answers wait only while the guard lives"]
    pub fn hold_responses(&self, route: Route) -> HoldGuard {
        self.hold_at(route, HoldStage::After)
    }

    fn hold_at(&self, route: Route, stage: HoldStage) -> HoldGuard {
        let id = self.shared.change(|state| {
            state.last_id += 1;
            state.holds.push(Hold { id: state.last_id, route, stage });
            state.last_id
        });
        HoldGuard { shared: Arc::clone(&self.shared), id }
    }

    /// Closes the connections on which nothing is going on (HTTP/2: once nothing is).
    pub fn close_idle_connections(&self) {
        self.shared.sweep.send_modify(|count| *count += 1);
    }

    /// Closes the port: new connections are refused. Open ones stay. Returns when it is so.
    pub fn stop_listening(&self) {
        self.shared.listening.send_replace(false);
        self.shared.wait(WAIT_TIMEOUT, |state| state.listeners == 0);
    }

    /// Opens the same port again. Returns when it is so.
    pub fn resume_listening(&self) {
        self.shared.listening.send_replace(true);
        self.shared.wait(WAIT_TIMEOUT, |state| state.listeners == state.all_listeners);
    }

    /// Blocks until what was recorded satisfies the condition; returns whether it did in time.
    /// Wakes at every event, never by polling.
    pub fn wait_until(
        &self,
        mut condition: impl FnMut(&Recording) -> bool,
        timeout: Duration,
    ) -> bool {
        self.shared.wait(timeout, |state| condition(&state.recording))
    }

    /// The same without blocking the thread. Its timeout is real time even where the caller's
    /// runtime has paused its clock.
    pub fn wait_until_async<'a>(
        &'a self,
        mut condition: impl FnMut(&Recording) -> bool + Send + 'a,
        timeout: Duration,
    ) -> impl Future<Output = bool> + Send + 'a {
        let mut changes = self.shared.changes();
        let mut timer = self.runtime.spawn(tokio::time::sleep(timeout));
        async move {
            loop {
                if self.shared.read(|state| condition(&state.recording)) {
                    timer.abort();
                    return true;
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = &mut timer => return self.shared.read(|state| condition(&state.recording)),
                }
            }
        }
    }
}

/// Longest time the listeners may take to open or close, in real time.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds requests while it lives.
pub struct HoldGuard {
    shared: Arc<SharedState>,
    id: u64,
}

impl std::fmt::Debug for HoldGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HoldGuard").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HoldGuard {
    /// Lets the held requests go on; the same as dropping the guard.
    pub fn release(self) {}
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        self.shared.change(|state| state.holds.retain(|hold| hold.id != self.id));
    }
}

/// The two loopback addresses at a port.
pub(crate) fn loopback(port: u16) -> (SocketAddr, SocketAddr) {
    ((Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into())
}

//! The named clients of a fleet: the file of this machine follows the fleet, and the fleet the file.
//!
//! Commands change the file, with or without a daemon; requests are judged by the file. This task
//! compares the file with what the member knows whenever one of them has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::authorities::run_blocking;
use crate::admin::is_table_used;
use crate::clients::{
    self, Clients, FleetRecord, FleetRecords, GateRules, Offer, Reconciled, SharingNote,
};
use crate::clock::Clock;
use crate::config::Paths;
use crate::fleet::{Fleet, SharedClient, SharedClients};
use crate::redact::TokenVault;

/// Makes the clients of a profile. Where a fleet shares them, keys wait for the member to start.
pub(super) fn open(paths: &Paths, clock: &Clock, fleet: Option<&Fleet>) -> Clients {
    let clients = Clients::new(&paths.profile_state(), clock.clone());
    if fleet.is_some_and(Fleet::shares_clients) {
        clients.set_gate(GateRules::default());
    }
    clients
}

/// Keeps the clients of this machine and of its fleet the same.
#[derive(Debug)]
pub(super) struct ClientSync {
    fleet: Fleet,
    clients: Clients,
    tokens: TokenVault,
    /// The records of the last comparison.
    records: Arc<BTreeMap<String, SharedClient>>,
    /// The clients that this machine cannot read.
    unreadable: BTreeSet<String>,
    revoked: Arc<BTreeSet<String>>,
    /// The changes that the member was asked for lately, by identifier.
    asked: BTreeMap<String, (Option<String>, Instant)>,
    has_failed: bool,
}

impl ClientSync {
    /// Shares the clients, if the members do.
    pub(super) fn new(
        fleet: Option<Fleet>,
        clients: &Clients,
        tokens: &TokenVault,
    ) -> Option<Self> {
        let fleet = fleet.filter(Fleet::shares_clients)?;
        Some(Self {
            fleet,
            clients: clients.clone(),
            tokens: tokens.clone(),
            records: Arc::default(),
            unreadable: BTreeSet::new(),
            revoked: Arc::default(),
            asked: BTreeMap::new(),
            has_failed: false,
        })
    }

    /// Runs as long as the daemon.
    pub(super) async fn run(mut self) {
        let mut shared = self.fleet.subscribe_clients();
        let mut file = self.clients.revisions();
        let mut was_known = false;
        let mut is_pending = true;
        loop {
            let latest = shared.borrow_and_update().clone();
            let is_news = !Arc::ptr_eq(&latest.records, &self.records)
                || latest.is_known != was_known
                || file.has_changed().unwrap_or(false);
            if latest.has_started && (is_news || is_pending) {
                file.mark_unchanged();
                self.take(&latest);
                is_pending = self.compare(&latest).await;
                was_known = latest.is_known;
            }
            self.open_gate(&latest);
            tokio::select! {
                changed = shared.changed() => if changed.is_err() {
                    return;
                },
                _ = file.changed() => file.mark_changed(),
                () = tokio::time::sleep(FILE_CHECK_INTERVAL) => self.clients.reload_file().await,
            }
        }
    }

    /// Refuses what the fleet has revoked, also where no file can be written.
    fn take(&mut self, shared: &SharedClients) {
        if !Arc::ptr_eq(&shared.records, &self.records) {
            self.records = shared.records.clone();
            let revoked = self.records.iter().filter(|(_, one)| **one == SharedClient::Revoked);
            self.revoked = Arc::new(revoked.map(|(id, _)| id.clone()).collect());
            self.open_gate(shared);
        }
    }

    fn open_gate(&self, shared: &SharedClients) {
        self.clients.set_gate(GateRules {
            has_started: shared.has_started,
            serves_until: shared.serves_until,
            revoked: self.revoked.clone(),
            unopened: self.unreadable.clone(),
        });
    }

    /// Compares both, and says whether the fleet has yet to take something.
    async fn compare(&mut self, shared: &SharedClients) -> bool {
        let (clients, tokens) = (self.clients.clone(), self.tokens.clone());
        let (shared, is_known) = (shared.records.clone(), shared.is_known);
        // The file is synced to the disk, and a command may hold its lock.
        let compared = run_blocking(move || {
            let records = shared.iter().map(|(id, one)| (id.clone(), record(one)));
            let records: FleetRecords = records.collect();
            let now = SystemTime::now();
            let result = clients::reconcile(clients.directory(), &records, is_known, now)?;
            clients.reload_blocking();
            if !result.notes.is_empty() {
                tokens.retain(|name| is_table_used(&clients, name));
            }
            Ok::<_, clients::Error>(result)
        });
        match compared.await {
            Ok(result) => {
                self.has_failed = false;
                self.apply(result)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, "the clients of the fleet are not those of this machine");
                }
                true
            }
        }
    }

    fn apply(&mut self, result: Reconciled) -> bool {
        result.notes.iter().for_each(log);
        let new = result.unreadable.difference(&self.unreadable).count();
        if new > 0 {
            warn!(clients = new, "records of the fleet do not open: their clients are refused");
        }
        self.unreadable = result.unreadable;
        let opened = self
            .unreadable
            .iter()
            .filter(|id| matches!(self.records.get(*id), Some(SharedClient::Live { .. })));
        self.fleet.note_unreadable_clients(opened.count());
        let is_pending = !(result.revocations.is_empty() && result.offers.is_empty());
        if self.fleet.view().is_away {
            return is_pending;
        }
        self.asked.retain(|_, (_, at)| at.elapsed() < ASK_AGAIN);
        // In this order: a client that was revoked and added again is never there twice.
        for id in result.revocations {
            if self.is_new(&id, None) {
                self.fleet.revoke_client(id);
            }
        }
        for Offer { id, payload } in result.offers {
            if self.is_new(&id, Some(&payload)) {
                self.fleet.put_client(id, payload);
            }
        }
        is_pending
    }

    /// Notes what the member is asked, and says whether that was not asked a moment ago.
    fn is_new(&mut self, id: &str, payload: Option<&String>) -> bool {
        let asked = (payload.cloned(), Instant::now());
        let before = self.asked.get(id).map(|(before, _)| before);
        let is_new = before != Some(&asked.0);
        if is_new {
            self.asked.insert(id.to_owned(), asked);
        }
        is_new
    }
}

fn record(shared: &SharedClient) -> FleetRecord {
    match shared {
        SharedClient::Live { fence, payload } => {
            FleetRecord::Live { fence: *fence, payload: payload.clone() }
        }
        SharedClient::Revoked => FleetRecord::Revoked,
        SharedClient::Unopened => FleetRecord::Unopened,
    }
}

fn log(note: &SharingNote) {
    match note {
        SharingNote::Added(client) => info!(client, "the fleet has added a client"),
        SharingNote::Changed(client) => info!(client, "the fleet has changed a client"),
        SharingNote::Revoked(client) => info!(client, "the fleet has revoked a client"),
        SharingNote::Renamed { from, to } => {
            warn!(client = from, to, "two clients had one name; the newer one was renamed");
        }
    }
}

/// How often the file is looked at: a command may have changed it without the daemon.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the member has for what it was asked: it performs that within milliseconds, unless the
/// engine goes away.
const ASK_AGAIN: Duration = Duration::from_secs(10);

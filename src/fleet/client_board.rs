//! Tells the rest of the program what the member knows of the named clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_session::member::Member;
use shared_session::register::{Entry, RecordSet};
use tokio::sync::watch;

use super::{SharedClient, SharedClients};

/// The clients as they were last told.
pub(super) struct ClientBoard {
    sender: watch::Sender<SharedClients>,
    told: RecordSet,
}

impl ClientBoard {
    pub(super) fn new(sender: watch::Sender<SharedClients>) -> Self {
        Self { sender, told: RecordSet::default() }
    }

    /// Tells what is new. Called only while all that the member knows is on disk: once a revocation is
    /// told, the file of the clients may forget it.
    pub(super) fn publish(&mut self, member: &Member) {
        let set = &member.local().set;
        let is_new = *set != self.told;
        if is_new {
            self.told = set.clone();
        }
        let (is_known, serves_until) = (member.knows_set(), member.serves_keys_until());
        self.sender.send_if_modified(|shared| {
            let is_same = shared.has_started
                && !is_new
                && (shared.is_known, shared.serves_until) == (is_known, serves_until);
            if is_new {
                shared.records = Arc::new(records(set));
            }
            shared.has_started = true;
            (shared.is_known, shared.serves_until) = (is_known, serves_until);
            !is_same
        });
    }
}

fn records(set: &RecordSet) -> BTreeMap<String, SharedClient> {
    let record = |entry: &Entry| match entry {
        Entry::Live(fence, client) => {
            SharedClient::Live { fence: fence.number(), payload: client.payload.clone() }
        }
        Entry::Revoked(..) => SharedClient::Revoked,
        Entry::Unopened(_) => SharedClient::Unopened,
    };
    set.clients().map(|(id, entry)| (id.to_owned(), record(entry))).collect()
}

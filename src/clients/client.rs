//! A client that has presented a valid key: what it may use, and what it has used.

mod shared;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::budget::{Budget, Metered};
use super::error::QuotaError;
use super::limits::ClientPolicy;
use super::shared_counts::SharedCounter;
use super::store::StoredClient;
use super::usage::Usage;
use super::usage_counter::{Demand, Demands, Taken};
use super::{BudgetStatus, ClientContext, ClientStatus, blocking, to_unix_millis};

/// A client that has presented a valid key.
#[derive(Debug)]
pub struct Client {
    pub(super) name: Arc<str>,
    pub(super) stored: StoredClient,
    pub(super) usage: Arc<Usage>,
    pub(super) shared: Arc<ClientContext>,
}

/// The use of a request beside its place in the rate and in the number of all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientUse {
    /// Whether it may change something.
    pub is_write: bool,
    /// Whether it deletes.
    pub is_delete: bool,
}

impl Client {
    /// Returns the client's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the unique identifier. A client that was revoked and added again has another one.
    pub fn id(&self) -> &str {
        &self.stored.id
    }

    /// Returns the requests that the client may send.
    pub fn policy(&self) -> &ClientPolicy {
        &self.stored.limits
    }

    /// Consumes one request of the rate, of the total count and of the budgets.
    ///
    /// # Errors
    ///
    /// Which of them is used up. [`QuotaError::Unreserved`]: the request is taken off the rate here,
    /// and off the counts by [`Client::consume_reserved`].
    pub fn consume(&self, of: ClientUse) -> Result<(), QuotaError> {
        let limits = &self.stored.limits;
        if let Some(rate) = limits.rate
            && let Err(after) = self.usage.acquire(rate, self.shared.clock.now().boot)
        {
            return self.record(Err(QuotaError::Rate(after)));
        }
        if let Some(shared) = self.shared.counts.get() {
            return self.consume_shared(&**shared, of);
        }
        let demands = self.demands(of);
        if demands.is_empty() {
            return self.record(Ok(()));
        }
        match self.shared.counter.take(&self.stored.id, &demands, self.now()) {
            Taken::One => self.record(Ok(())),
            Taken::None(what, back) => self.record(Err(self.exhausted(what, back))),
            Taken::Unreserved => Err(QuotaError::Unreserved(0)),
        }
    }

    /// Consumes one request of the counts, once some are reserved in the file: on another thread, for
    /// many requests at a time; or once the call that [`QuotaError::Unreserved`] names has brought some.
    ///
    /// # Errors
    ///
    /// Which of them is used up, or [`QuotaError::Uncounted`] or [`QuotaError::Apart`].
    pub async fn consume_reserved(&self, of: ClientUse, call: u64) -> Result<(), QuotaError> {
        if let Some(shared) = self.shared.counts.get() {
            let counted = self.wait_shared(&**shared, of, call, true).await;
            return self.record(counted);
        }
        let demands = self.demands(of);
        loop {
            match self.shared.counter.take(&self.stored.id, &demands, self.now()) {
                Taken::One => return self.record(Ok(())),
                Taken::None(what, back) => return self.record(Err(self.exhausted(what, back))),
                Taken::Unreserved => {}
            }
            if let Err(error) = self.reserve(&demands).await {
                return self.record(Err(error));
            }
        }
    }

    /// Says whether the counts have room for a request, which is not consumed.
    ///
    /// # Errors
    ///
    /// As [`Client::consume_reserved`].
    pub async fn check_left(&self, of: ClientUse) -> Result<(), QuotaError> {
        if let Some(shared) = self.shared.counts.get() {
            let has_room = self.wait_shared(&**shared, of, 0, false).await;
            return has_room.or_else(|error| self.record(Err(error)));
        }
        let demands = self.demands(of);
        while !demands.is_empty() {
            match self.shared.counter.peek(&self.stored.id, &demands, self.now()) {
                Taken::One => break,
                Taken::None(what, back) => return self.record(Err(self.exhausted(what, back))),
                Taken::Unreserved => self.reserve(&demands).await?,
            }
        }
        Ok(())
    }

    /// Returns the meter of the bytes that this client receives, if they are limited.
    pub fn byte_meter(self: &Arc<Self>) -> Option<ByteMeter> {
        let budget = self.stored.limits.budgets.bytes?;
        let (demand, counter) = (demand(Metered::Bytes, budget), self.shared_bytes());
        Some(ByteMeter { client: self.clone(), demand, counter })
    }

    /// Returns each budget with what is used of it.
    pub fn budgets(&self) -> Vec<BudgetStatus> {
        if let Some(shared) = self.shared.counts.get() {
            return self.shared_budgets(&**shared);
        }
        let used = self.shared.counter.used(&self.stored.id).ok();
        let now = self.now();
        let budgets = self.stored.limits.budgets.iter();
        let budgets = budgets.map(|(metered, budget)| {
            let count = used.map(|counts| counts[metered as usize]);
            let end = count.map(|it| it.since.saturating_add(budget.per.as_secs()));
            let has_begun =
                count.is_some_and(|it| it.since > 0) && end.is_some_and(|end| end > now);
            BudgetStatus {
                metered,
                budget,
                used: count.map(|it| if has_begun { it.used.min(budget.most) } else { 0 }),
                back: end.filter(|_| has_begun).map(from_seconds),
            }
        });
        budgets.collect()
    }

    async fn reserve(&self, demands: &Demands) -> Result<(), QuotaError> {
        let (shared, id, demands) = (self.shared.clone(), self.stored.id.clone(), demands.clone());
        let now = self.now();
        // The writing goes on if this request is given up.
        match blocking::run(move || shared.counter.reserve(&id, &demands, now)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                tracing::error!(%error, "could not write the clients' request counts");
                Err(QuotaError::Uncounted)
            }
            None => Err(QuotaError::Uncounted),
        }
    }

    pub(super) fn demands(&self, of: ClientUse) -> Demands {
        let limits = &self.stored.limits;
        let all = limits.max_requests;
        let all = all.map(|most| Demand { metered: Metered::Requests, most, per: None });
        let budgets = limits.budgets.iter().filter(|(metered, _)| match metered {
            Metered::Writes => of.is_write,
            Metered::Deletes => of.is_delete,
            // The first byte of the response: without one left there is none.
            Metered::Bytes => true,
            Metered::Requests => false,
        });
        all.into_iter().chain(budgets.map(|(metered, budget)| demand(metered, budget))).collect()
    }

    fn exhausted(&self, what: Metered, back: Option<u64>) -> QuotaError {
        let Some(back) = back else { return QuotaError::Exhausted };
        let after = Duration::from_secs(back.saturating_sub(self.now()));
        QuotaError::Budget { what: what.as_str(), back: from_seconds(back), after }
    }

    /// The wall clock, in seconds since 1970: budgets outlive a reboot.
    fn now(&self) -> u64 {
        to_unix_millis(self.shared.clock.now().wall) / 1_000
    }

    pub(super) fn record(&self, outcome: Result<(), QuotaError>) -> Result<(), QuotaError> {
        match outcome {
            Ok(()) => self.usage.record_request(to_unix_millis(self.shared.clock.now().wall)),
            Err(_) => {
                self.usage.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }

    pub(super) fn status(&self) -> ClientStatus {
        let now = self.shared.clock.now().wall;
        let last = self.usage.last_request_ms.load(Ordering::Relaxed);
        let since = |last| Duration::from_millis(to_unix_millis(now).saturating_sub(last));
        let limits = self.stored.limits.clone();
        let counted = match (self.shared.counts.get(), limits.max_requests) {
            (_, None) => None,
            (Some(shared), Some(_)) => self.shared_total(&**shared),
            (None, Some(_)) => {
                let counts = self.shared.counter.used(&self.stored.id).ok();
                counts.map(|counts| counts[Metered::Requests as usize].used)
            }
        };
        ClientStatus {
            name: self.stored.name.clone(),
            is_expired: limits.is_expired(now),
            created: self.stored.created,
            requests: self.usage.requests.load(Ordering::Relaxed),
            refused: self.usage.refused.load(Ordering::Relaxed),
            idle: (last != 0).then(|| since(last)),
            counted,
            budgets: if limits.budgets.is_empty() { vec![] } else { self.budgets() },
            limits,
        }
    }
}

/// Counts the bytes that a client receives.
#[derive(Clone, Debug)]
pub struct ByteMeter {
    pub(super) client: Arc<Client>,
    demand: Demand,
    /// Where several machines count together.
    pub(super) counter: Option<SharedCounter>,
}

impl ByteMeter {
    /// Counts `bytes`, which are about to be sent. Returns whether the budget had room for them.
    pub fn add(&self, bytes: usize) -> bool {
        if let Some(has_room) = self.add_shared(bytes as u64) {
            return has_room;
        }
        let (client, demand) = (&self.client, self.demand);
        let (now, bytes) = (client.now(), bytes as u64);
        let (has_room, taken) = client.shared.counter.add(&client.stored.id, demand, bytes, now);
        if taken == Taken::Unreserved {
            let client = client.clone();
            // No response waits for the disk: what passes meanwhile is counted in memory.
            blocking::start(move || {
                let id = &client.stored.id;
                if let Err(error) = client.shared.counter.reserve(id, &[demand], now) {
                    tracing::error!(%error, "could not write the clients' request counts");
                }
            });
        }
        has_room
    }
}

fn demand(metered: Metered, budget: Budget) -> Demand {
    Demand { metered, most: budget.most, per: Some(budget.per.as_secs()) }
}

fn from_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

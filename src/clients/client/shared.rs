//! A client whose use is counted together with other machines.

use std::time::Duration;

use super::{ByteMeter, Client, ClientUse};
use crate::clients::BudgetStatus;
use crate::clients::budget::Metered;
use crate::clients::error::QuotaError;
use crate::clients::shared_counts::{
    CountRefusal, CounterLimit, RATE, SharedCounter, SharedCounts,
};
use crate::config::Rate;

impl Client {
    /// Consumes one request of what is in hand here.
    pub(in crate::clients) fn consume_shared(
        &self,
        shared: &dyn SharedCounts,
        of: ClientUse,
    ) -> Result<(), QuotaError> {
        let counters = self.counters(of);
        if counters.is_empty() {
            return self.record(Ok(()));
        }
        match shared.take(&counters, true) {
            Ok(()) => self.record(Ok(())),
            Err((_, CountRefusal::Asked(call))) => Err(QuotaError::Unreserved(call)),
            Err((index, refusal)) => self.record(Err(self.refused(&counters[index], refusal))),
        }
    }

    /// Consumes one request once `call` has brought more, or says whether there is room for one.
    pub(in crate::clients) async fn wait_shared(
        &self,
        shared: &dyn SharedCounts,
        of: ClientUse,
        call: u64,
        uses: bool,
    ) -> Result<(), QuotaError> {
        let (counters, mut call) = (self.counters(of), call);
        for _ in 0..MAX_CALLS {
            if !shared.wait(call).await {
                return Err(QuotaError::Apart);
            }
            match shared.take(&counters, uses) {
                Ok(()) => return Ok(()),
                Err((_, CountRefusal::Asked(next))) => call = next,
                Err((index, refusal)) => return Err(self.refused(&counters[index], refusal)),
            }
        }
        // Other requests and machines have drawn what each call brought.
        Err(QuotaError::Rate(NEXT_CALL))
    }

    fn refused(&self, counter: &SharedCounter, refusal: CountRefusal) -> QuotaError {
        let now = self.shared.clock.now();
        match (refusal, counter.what) {
            (CountRefusal::Asked(_) | CountRefusal::Uncounted, _) => QuotaError::Apart,
            (CountRefusal::Spent(None), _) => QuotaError::Exhausted,
            (CountRefusal::Spent(Some(back)), None) => {
                QuotaError::Rate(back.saturating_sub(now.boot))
            }
            (CountRefusal::Spent(Some(back)), Some(what)) => {
                let after = back.saturating_sub(now.boot);
                QuotaError::Budget { what: what.as_str(), back: now.wall + after, after }
            }
        }
    }

    /// Returns the counters of a request.
    pub(in crate::clients) fn counters(&self, of: ClientUse) -> Vec<SharedCounter> {
        let demands = self.demands(of);
        let counters = demands.iter().map(|demand| {
            let limit = match demand.per {
                None => CounterLimit::Total(demand.most),
                Some(per) => CounterLimit::Span(demand.most, Duration::from_secs(per)),
            };
            self.counter(limit, Some(demand.metered))
        });
        let rate = self.policy().rate.and_then(|rate| match rate {
            Rate::Auto => None,
            Rate::Fixed { count, per } => Some(CounterLimit::Rate(count.into(), per)),
        });
        counters.chain(rate.map(|limit| self.counter(limit, None))).collect()
    }

    fn counter(&self, limit: CounterLimit, what: Option<Metered>) -> SharedCounter {
        let part = what.map_or(RATE, Metered::as_str);
        SharedCounter { name: format!("{}/{part}", self.id()), limit, what }
    }

    /// Returns the counter of the bytes, where it is shared.
    pub(in crate::clients) fn shared_bytes(&self) -> Option<SharedCounter> {
        let budget = self.policy().budgets.bytes?;
        let limit = CounterLimit::Span(budget.most, budget.per);
        self.shared.counts.get().map(|_| self.counter(limit, Some(Metered::Bytes)))
    }

    /// Returns how many requests all machines have counted of this client.
    pub(in crate::clients) fn shared_total(&self, shared: &dyn SharedCounts) -> Option<u64> {
        let limit = CounterLimit::Total(self.policy().max_requests?);
        Some(shared.used(&self.counter(limit, Some(Metered::Requests)))?.0)
    }

    /// Returns each budget with what all machines have used of it.
    pub(in crate::clients) fn shared_budgets(
        &self,
        shared: &dyn SharedCounts,
    ) -> Vec<BudgetStatus> {
        let now = self.shared.clock.now().wall;
        let budgets = self.policy().budgets.iter().map(|(metered, budget)| {
            let limit = CounterLimit::Span(budget.most, budget.per);
            let known = shared.used(&self.counter(limit, Some(metered)));
            BudgetStatus {
                metered,
                budget,
                used: known.map(|(used, _)| used.min(budget.most)),
                back: known.and_then(|(_, left)| left).map(|left| now + left),
            }
        });
        budgets.collect()
    }
}

impl ByteMeter {
    /// Counts bytes, where they are counted together.
    pub(in crate::clients) fn add_shared(&self, bytes: u64) -> Option<bool> {
        let counter = self.counter.as_ref()?;
        let shared = self.client.shared.counts.get()?;
        Some(shared.add(counter, bytes))
    }
}

/// Most calls that one request waits for: others may take what each of them brings.
const MAX_CALLS: usize = 4;

/// When to try again after that.
const NEXT_CALL: Duration = Duration::from_secs(1);

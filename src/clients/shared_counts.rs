//! Limits of clients that several machines count together.
//!
//! Units are taken ahead from what all machines share, and then used without asking. How that is done is
//! not known here; the local counts and their file are not used meanwhile. The window of a client's rate
//! stays in force on each machine beside the common one.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use super::budget::Metered;

/// Counts that several machines share.
pub trait SharedCounts: Debug + Send + Sync {
    /// Uses one unit of each counter, or none of any; `uses`: else only looks whether there are some.
    ///
    /// # Errors
    ///
    /// The first counter that stands against it, and why.
    fn take(&self, counters: &[SharedCounter], uses: bool) -> Result<(), (usize, CountRefusal)>;

    /// Waits until this call has ended; says whether it has.
    fn wait(&self, call: u64) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// Counts what was used already; says whether there was room for it.
    fn add(&self, counter: &SharedCounter, amount: u64) -> bool;

    /// Asks how much is used; returns the call that does it.
    fn look(&self, counters: &[SharedCounter]) -> u64;

    /// Returns how much all machines have used, as far as that is known, and in how long it comes back.
    fn used(&self, counter: &SharedCounter) -> Option<(u64, Option<Duration>)>;

    /// Forgets a counter.
    fn remove(&self, name: &str);
}

/// One counter of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCounter {
    /// The client and what is counted.
    pub name: String,
    /// How much may be used.
    pub limit: CounterLimit,
    /// `None`: the rate.
    pub(super) what: Option<Metered>,
}

/// How much may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterLimit {
    /// So much in all.
    Total(u64),
    /// So much in a span that begins with its first use.
    Span(u64, Duration),
    /// So much at once, coming back evenly.
    Rate(u64, Duration),
}

/// Why units are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountRefusal {
    /// More are asked for by this call.
    Asked(u64),
    /// Used up, until then by the boot clock; `None`: for good.
    Spent(Option<Duration>),
    /// The other machines cannot be heard, and nothing is left of what was taken ahead.
    Uncounted,
}

/// Forgets the counters of a client that is no more.
pub(super) fn remove_client(shared: &dyn SharedCounts, id: &str) {
    let counted = [Metered::Requests, Metered::Writes, Metered::Deletes, Metered::Bytes];
    for part in counted.map(Metered::as_str).into_iter().chain([RATE]) {
        shared.remove(&format!("{id}/{part}"));
    }
}

/// The name of the counter of a rate.
pub(super) const RATE: &str = "rate";

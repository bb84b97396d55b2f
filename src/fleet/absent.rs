//! The handle of a program without the feature `fleet`: no value of it exists.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;

use super::pacing::{LaneNews, SlotPermit, UnitLimit, UnitRefusal};
use super::{
    Chains, EngineReport, FleetError, FleetStatus, Identity, MemberStore, Pair, Redeem,
    SharedClients, View,
};
use crate::clock::Clock;
use crate::config::Config;

/// A member of a fleet, which this program cannot be.
#[derive(Clone, Debug)]
pub struct Fleet(Infallible);

/// A lane of a common pace, which this program has not.
#[derive(Clone, Debug)]
pub struct Lane(Infallible);

/// Counters that members share, which this program has not.
#[derive(Clone, Debug)]
pub struct SharedUnits(Infallible);

impl Fleet {
    /// Returns `None`: an engine in the configuration was refused.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn from_config(_: &Config, _: &Clock) -> Result<Option<Self>, FleetError> {
        Ok(None)
    }

    /// Returns the latest view.
    pub fn view(&self) -> View {
        match self.0 {}
    }

    /// Follows the view.
    pub fn subscribe(&self) -> watch::Receiver<View> {
        match self.0 {}
    }

    /// Says whether the members share their named clients.
    pub fn shares_clients(&self) -> bool {
        match self.0 {}
    }

    /// Follows the named clients.
    pub fn subscribe_clients(&self) -> watch::Receiver<SharedClients> {
        match self.0 {}
    }

    /// Adds or changes a named client.
    pub fn put_client(&self, _: String, _: String) {
        match self.0 {}
    }

    /// Revokes a named client.
    pub fn revoke_client(&self, _: String) {
        match self.0 {}
    }

    /// Notes how many records of clients cannot be read.
    pub fn note_unreadable_clients(&self, _: usize) {
        match self.0 {}
    }

    /// Returns the lanes of the common pace.
    pub fn lanes(&self) -> Option<[Lane; 2]> {
        match self.0 {}
    }

    /// Returns the counters of clients.
    pub fn units(&self) -> Option<SharedUnits> {
        match self.0 {}
    }

    /// Says whether the member runs.
    pub fn is_started(&self) -> bool {
        match self.0 {}
    }

    /// Starts the member.
    pub fn start(&self, _: Identity, _: impl Redeem, _: impl MemberStore) {
        match self.0 {}
    }

    /// Reports a token that was rejected.
    pub fn reject(&self, _: u64) {
        match self.0 {}
    }

    /// Renews the pair.
    pub fn renew(&self) {
        match self.0 {}
    }

    /// Proves the stored login.
    pub fn log_in(&self, _: String, _: bool) {
        match self.0 {}
    }

    /// Begins an epoch with a pair.
    pub fn bring(&self, _: Pair) {
        match self.0 {}
    }

    /// Ends the session of all members.
    pub fn log_out(&self) {
        match self.0 {}
    }

    /// Locks or unlocks all members.
    pub fn set_locked(&self, _: bool) {
        match self.0 {}
    }

    /// Returns how many requests were made.
    pub fn asked(&self) -> u64 {
        match self.0 {}
    }

    /// Returns the chains that are known.
    pub async fn chains(&self) -> Chains {
        match self.0 {}
    }

    /// Strikes sessions from the list.
    pub fn end_strays(&self, _: Vec<String>) {
        match self.0 {}
    }

    /// Takes this machine off the list.
    pub async fn leave(&self) {
        match self.0 {}
    }

    /// Ends the member, once the engine knows.
    pub async fn end(&self) {
        match self.0 {}
    }

    /// Ends the member.
    pub fn stop(&self) {
        match self.0 {}
    }

    /// Looks at the engine.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn examine(&self) -> Result<EngineReport, String> {
        match self.0 {}
    }

    /// Returns the state of the fleet.
    pub fn status(&self) -> FleetStatus {
        match self.0 {}
    }
}

impl Lane {
    /// Takes a slot.
    pub fn take(&self, _: Duration, _: usize) -> SlotPermit {
        match self.0 {}
    }

    /// Tells the others what this machine has learned.
    pub fn learn(&self, _: &str, _: &[(u32, Duration)]) -> u64 {
        match self.0 {}
    }

    /// Tells the others of a pause.
    pub fn pause(&self, _: Option<Duration>) {
        match self.0 {}
    }

    /// Returns what is known.
    pub fn news(&self) -> LaneNews {
        match self.0 {}
    }

    /// Follows what is known.
    pub fn changes(&self) -> watch::Receiver<bool> {
        match self.0 {}
    }
}

impl SharedUnits {
    /// Uses one unit of each counter.
    ///
    /// # Errors
    ///
    /// None.
    pub fn take(&self, _: &[(String, UnitLimit)], _: bool) -> Result<(), (usize, UnitRefusal)> {
        match self.0 {}
    }

    /// Waits until a call has ended.
    pub async fn wait(&self, _: u64) -> bool {
        match self.0 {}
    }

    /// Counts what was used already.
    pub fn add(&self, _: &str, _: UnitLimit, _: u64) -> bool {
        match self.0 {}
    }

    /// Asks how much is used.
    pub fn look(&self, _: &[(String, UnitLimit)]) -> u64 {
        match self.0 {}
    }

    /// Returns how much is used.
    pub fn used(&self, _: &str) -> Option<(u64, Option<Duration>)> {
        match self.0 {}
    }

    /// Forgets a counter.
    pub fn remove(&self, _: &str) {
        match self.0 {}
    }
}

//! The errors of a configuration that only this machine shows, with their place in the file: a user who
//! does not exist here, a proxy that cannot be used.

use std::fmt;

use super::Error;
use crate::config::{Config, LoadedConfig, ValueSource};
use crate::listen;
use crate::problem::{Problem, ProblemDetails, Report};

/// An error, and where the value stands that is to blame.
#[derive(Debug)]
pub struct PlacedError {
    place: Option<Box<ValueSource>>,
    error: Box<Error>,
}

/// Checks the users, the trust anchors and the proxy of a configuration, without starting a daemon.
///
/// # Errors
///
/// As [`super::Daemon::start`], with the place in the configuration.
pub fn check_loaded(loaded: &LoadedConfig) -> Result<(), PlacedError> {
    super::check(&loaded.config).map_err(|error| PlacedError::new(error, loaded))
}

impl PlacedError {
    /// Finds the value that is to blame.
    pub fn new(error: Error, loaded: &LoadedConfig) -> Self {
        let key = key_of(&error, &loaded.config);
        let mut keys = loaded.effective_keys();
        let place = key.and_then(|key| keys.find(|found| found.key.path() == key));
        let place = place.map(|found| found.source.clone());
        let place = place.filter(|place| *place != ValueSource::Default).map(Box::new);
        Self { place, error: Box::new(error) }
    }
}

impl fmt::Display for PlacedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for PlacedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl Problem for PlacedError {
    fn details(&self) -> ProblemDetails {
        self.error.details()
    }

    fn parts(&self) -> Vec<Report> {
        self.error.parts()
    }
}

/// Returns the key whose value is to blame, if it is one.
fn key_of(error: &Error, config: &Config) -> Option<&'static str> {
    if let Error::Listen(listen::Error::NoSuchUser { name }) = error {
        let is_of_listen = config.listen.users.contains(name);
        return Some(if is_of_listen { "listen.users" } else { "admin.users" });
    }
    if let Error::Listen(listen::Error::NoSuchGroup { .. }) = error {
        return Some("listen.groups");
    }
    if let Error::Proxy(_) = error {
        return Some("upstream.proxy");
    }
    if let Error::UnusedAddress(_) = error {
        return Some("upstream.address");
    }
    if let Error::OwnAddress { key, .. } = error { Some(key) } else { None }
}

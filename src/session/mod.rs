//! The bearer token: who holds it, when it is renewed.
//!
//! Requests look at the latest state and never wait while a valid token exists. One task
//! (`keeper.rs`) owns the state (`state.rs`), asks the issuer (`issuer.rs`) and keeps the pair at
//! rest (`saved.rs`). [`Session`] is the handle to it: clones are cheap, and dropping a request
//! that waits here cancels nothing.

pub mod issuer;
pub mod state;

mod answer;
mod asked;
mod error;
mod event;
mod keeper;
mod pace;
mod record;
mod saved;
mod seal;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::watch;

pub use self::asked::Asked;
pub use self::error::{Cause, Error};
pub use self::issuer::Issuer;
pub use self::keeper::Keeper;
pub use self::view::{Keeping, Trouble, View, Word};
use crate::clock::Clock;
use crate::config;
use crate::credentials::Credentials;

/// A cheap handle to the token keeper.
#[derive(Clone, Debug)]
pub struct Session(Arc<()>);

/// Whether a request's body can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or it is kept.
    Replayable,
    /// It streams, and is gone once sent.
    Once,
}

/// A ready-made `Authorization` value and the token generation it came from.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The header value, marked sensitive.
    pub header: HeaderValue,
    /// Names the token: what [`Session::judge`] is asked about.
    pub generation: u64,
}

/// What a 401 was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token was dead and there is a newer one: send the request again with it.
    Replay,
    /// The token is good and the account lacks permission: relay the 401 as it is.
    Permission,
    /// The token was dead and no other can be had.
    Unavailable(Error),
}

impl Session {
    /// Makes a session and its keeper. Nothing happens before [`Keeper::run`] is spawned.
    ///
    /// `directory` is the profile's state directory; `None` keeps everything in memory.
    pub fn new<I: Issuer>(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> (Self, Keeper<I>) {
        let _ = (config, directory, credentials, issuer, clock);
        todo!("the keeper is being written")
    }

    /// Returns at once when a token is valid, else waits for the one being asked for.
    ///
    /// Waits at most `session.wait`. A body that cannot be sent twice also waits near the end of
    /// the token's life, until the token was renewed or proved alive.
    ///
    /// # Errors
    ///
    /// One variant per reason why there is no token, at once where waiting cannot help.
    pub async fn ready(&self, body: Body) -> Result<(), Error> {
        let _ = body;
        Err(Error::NotLoggedIn(None))
    }

    /// Returns the latest token, if it is valid now. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Session::ready`].
    pub fn bearer(&self) -> Result<Bearer, Error> {
        Err(Error::NotLoggedIn(None))
    }

    /// Says what a 401 to the token of this generation was about.
    ///
    /// Call it once per 401. A request is replayed at most once.
    pub async fn judge(&self, generation: u64, asked: &Asked) -> Verdict {
        let _ = (generation, asked);
        Verdict::Permission
    }

    /// Notes that an answer other than 401 came to the token of this generation.
    ///
    /// Costs an atomic store. It tells a token that was refused from its birth (no API access)
    /// from one that was revoked later.
    pub fn proven(&self, generation: u64) {
        let _ = generation;
    }

    /// Returns what `status` shows.
    pub fn view(&self) -> Arc<View> {
        todo!("the keeper is being written")
    }

    /// Returns a receiver that wakes after each change; the number only grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        todo!("the keeper is being written")
    }

    /// Tells that the stored login has changed: latches are opened, and a token is asked for if
    /// none is valid or the account is another.
    pub fn credentials_changed(&self) {}

    /// Renews now and waits for the outcome.
    ///
    /// # Errors
    ///
    /// Why there is no newer token.
    pub async fn refresh(&self) -> Result<(), Error> {
        Err(Error::NotLoggedIn(None))
    }

    /// Drops the session, here and at rest, and stays not logged in until
    /// [`Session::credentials_changed`] or a restart. Returns when that is so.
    pub async fn forget(&self) {}

    /// Drops the token from memory and answers [`Error::Locked`] until unlocked, across restarts.
    pub async fn lock(&self) {}

    /// Ends [`Session::lock`] and resumes.
    pub async fn unlock(&self) {}

    /// Waits until the newest pair is durable, for a few seconds at most; starts nothing new.
    pub async fn settle(&self) {}
}

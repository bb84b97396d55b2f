//! Gets a connection for a request that found none idle: one that another request gives back, or one
//! that is opened, whichever comes first.

use tokio::runtime::Handle;

use super::connector::Connected;
use super::h1_conn::Http1Connection;
use super::h2_conn::Http2Connection;
use super::pool::{Opening, Outcome, Wanted};
use super::{Error, Retry, Upstream};

/// A connection for one request.
pub(super) enum Acquired {
    /// The request's own, and the epoch of the pool.
    Http1(Http1Connection, u64),
    /// Shared by all requests.
    Http2(Http2Connection),
}

impl Upstream {
    /// Waits for a connection.
    pub(super) async fn acquire(
        &self,
        (retry, client): (Retry, Option<&str>),
        wanted: Wanted,
    ) -> Result<Acquired, Error> {
        loop {
            let (mut waiting, openings) = self.0.pool.wait((retry, client), wanted);
            self.open(openings);
            let outcome = loop {
                match waiting.outcome_soon().await {
                    Ok(outcome) => break outcome,
                    Err(openings) => self.open(openings),
                }
            };
            match outcome {
                Outcome::Connection(mut conn) => {
                    // Closed between its last response and now.
                    if conn.is_reusable() {
                        if conn.runtime() != Handle::current().id() {
                            conn.move_here();
                        }
                        return Ok(Acquired::Http1(conn, waiting.epoch()));
                    }
                }
                Outcome::Shared => {
                    if let Some(conn) = self.0.h2.as_ref().and_then(|shared| shared.latest()) {
                        return Ok(Acquired::Http2(conn));
                    }
                }
                Outcome::Failed(error) => return Err(error),
            }
        }
    }

    /// Opens connections in tasks of their own: a request that is served by another connection, or
    /// given up, wastes no handshake.
    fn open(&self, openings: Vec<Opening<Http1Connection>>) {
        for opening in openings {
            tokio::spawn(self.clone().open_one(opening));
        }
    }

    async fn open_one(self, mut opening: Opening<Http1Connection>) {
        let connected = {
            let mut connecting = std::pin::pin!(self.0.connector.connect());
            loop {
                tokio::select! {
                    connected = &mut connecting => break connected,
                    openings = opening.late() => self.open(openings),
                }
            }
        };
        match connected {
            Ok(Connected::Http1(conn)) => self.open(opening.succeed(conn)),
            Ok(Connected::Http2(conn)) => {
                self.0.h2.iter().for_each(|shared| shared.set(conn.clone()));
                opening.succeed_shared();
            }
            Err(error) => self.open(opening.fail(error)),
        }
    }
}

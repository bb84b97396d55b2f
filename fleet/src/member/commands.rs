//! What a person asks of the whole fleet. Each command draws a fence, so that the last one wins
//! whichever member it was given to.

use super::{Member, Now};
use crate::call::{Call, Place};
use crate::fence::Fence;
use crate::record::{Client, Epoch, Lock, Record, Session, Tombstone};
use crate::register::{CLIENT, Entry, Stored};

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The login of this member has changed and was given by a person: prove it, and begin an epoch.
    Login {
        /// The account.
        account: String,
        /// Whether it takes a one-time code.
        needs_code: bool,
    },
    /// A person has logged in already, and this is the pair: begin an epoch with it.
    Bring {
        /// The pair, and the client id that it was asked for under. It is dated by this member's wall
        /// clock.
        session: Session,
    },
    /// Renew the pair now, although it is not due.
    Renew,
    /// End the session of every member.
    Logout,
    /// Serve no token anywhere.
    Lock,
    /// Serve again.
    Unlock,
    /// Add or change a client.
    PutClient {
        /// Its id: never used again after a revocation.
        id: String,
        /// The client.
        client: Client,
    },
    /// Revoke a client.
    Revoke {
        /// Its id.
        id: String,
    },
    /// The strays of these client ids have ended at the issuer.
    EndStrays {
        /// Their client ids.
        client_ids: Vec<String>,
    },
    /// Take this member off the list.
    Leave,
}

/// The chains of refresh tokens that a logout leaves at the issuer, by client id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// The chain that members share.
    pub shared: Vec<String>,
    /// Of pairs that lost their commit.
    pub spares: Vec<String>,
    /// Chains of members that were cut off, this one's own too.
    pub strays: Vec<String>,
}

impl Member {
    pub(super) fn asked(&mut self, command: Command) {
        match command {
            Command::Login { account, needs_code } => {
                self.setup.password = Some(super::Password { account, needs_code });
                self.begin_login();
            }
            Command::Bring { session } => {
                self.brought = Some(session);
                self.begin_login();
            }
            Command::Renew => self.renew(),
            Command::Leave => self.queue.push_back(Call::Leave { me: self.setup.me.clone() }),
            Command::Logout
            | Command::Lock
            | Command::Unlock
            | Command::PutClient { .. }
            | Command::Revoke { .. }
            | Command::EndStrays { .. } => self.commands.push_back(command),
        }
    }

    /// Returns the chains that this member knows of.
    pub fn chains(&self) -> Chains {
        let shared = self.local.session.get().map(|(_, session)| session.client_id.clone());
        let lost = self.local.lost.as_ref().map(|(_, session)| session.client_id.clone());
        let spares = self.engine.spares.iter().map(|(_, spare)| spare.session.client_id.clone());
        let own = self.local.apart.as_ref().map(|apart| apart.session.client_id.clone());
        let strays = self.local.set.strays().map(|stray| stray.client_id.clone());
        let unique = |mut ids: Vec<String>| {
            ids.sort();
            ids.dedup();
            ids
        };
        Chains {
            shared: shared.into_iter().collect(),
            spares: spares.chain(lost).collect(),
            strays: unique(strays.chain(own).collect()),
        }
    }

    /// Performs the first command under the fence that was drawn for it.
    pub(super) fn command_drawn(&mut self, fence: Fence, now: Now) {
        self.see(fence);
        let Some(command) = self.commands.pop_front() else { return self.tell_refusal(fence) };
        match command {
            Command::Logout => {
                self.local.epoch.raise(fence, Epoch::Logout);
                self.epoch_changed(now);
                self.put(Place::Registers, "epoch", fence, &Epoch::Logout);
            }
            Command::Lock | Command::Unlock => {
                let lock = Lock { locked: command == Command::Lock };
                self.local.lock.raise(fence, lock);
                self.put(Place::Registers, "lock", fence, &lock);
            }
            Command::PutClient { id, client } => {
                if self.local.set.raise(&id, Entry::Live(fence, client.clone())) {
                    self.put(Place::Set, &format!("{CLIENT}{id}"), fence, &client);
                }
            }
            Command::Revoke { id } => {
                let tombstone = Tombstone {};
                self.local.set.raise(&id, Entry::Revoked(fence, tombstone));
                self.put(Place::Set, &format!("{CLIENT}{id}"), fence, &tombstone);
            }
            Command::EndStrays { client_ids } => self.end_strays(fence, &client_ids),
            Command::Login { .. } | Command::Bring { .. } | Command::Renew | Command::Leave => {}
        }
        self.changed();
    }

    /// Queues a record that is new here: until it is written, the engine is not behind for lacking it.
    pub(super) fn put<R: Record>(&mut self, place: Place, name: &str, fence: Fence, record: &R) {
        if place == Place::Registers {
            self.engine.unwritten.insert(name.to_owned(), fence);
        }
        self.enqueue_put(place, name, fence, record);
    }

    /// Queues a register that the engine should have, unless its first write is queued.
    pub(super) fn put_again<R: Record>(&mut self, name: &str, fence: Fence, record: &R) {
        if !self.engine.unwritten.contains_key(name) {
            self.enqueue_put(Place::Registers, name, fence, record);
        }
    }

    /// Notes that the engine has answered the write of a register.
    pub(super) fn written(&mut self, name: &str, fence: Fence) {
        if self.engine.unwritten.get(name) == Some(&fence) {
            self.engine.unwritten.remove(name);
        }
    }

    fn enqueue_put<R: Record>(&mut self, place: Place, name: &str, fence: Fence, record: &R) {
        let stored = Stored::seal(&self.setup.keys, name, fence, record);
        let unopened = match name {
            "epoch" => self.local.epoch.unopened(),
            "lock" => self.local.lock.unopened(),
            "attempts" => self.local.attempts.unopened(),
            _ => None,
        };
        self.queue.push_back(Call::Put { place, name: name.to_owned(), stored, unopened });
    }

    /// Keeps the highest fence.
    pub(super) fn see(&mut self, fence: Fence) {
        if self.local.seen.raise(fence) {
            self.changed();
        }
    }
}

//! The idle connections of a pool, by the runtime that watches their sockets and by the client that
//! they are reserved for.
//!
//! Each queue is in the order of release, so that taking, adding and expiring cost the same for one
//! idle connection and for four thousand.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::runtime::Id;

use super::Poolable;

/// Connections that no request uses.
pub(super) struct IdleConnections<C> {
    /// One for each runtime that has given a connection back: as many as there are data threads.
    shelves: Vec<Shelf<C>>,
    count: usize,
}

/// The idle connections whose sockets one runtime watches.
struct Shelf<C> {
    runtime: Id,
    shared: VecDeque<IdleConnection<C>>,
    reserved: HashMap<Box<str>, VecDeque<IdleConnection<C>>>,
}

struct IdleConnection<C> {
    conn: C,
    idle_since: Duration,
}

impl<C: Poolable> IdleConnections<C> {
    pub(super) fn new() -> Self {
        Self { shelves: vec![], count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a connection that becomes idle now.
    pub(super) fn push(&mut self, conn: C, now: Duration) {
        let at = match self.shelves.iter().position(|shelf| shelf.runtime == conn.runtime()) {
            Some(at) => at,
            None => {
                self.shelves.push(Shelf::new(conn.runtime()));
                self.shelves.len() - 1
            }
        };
        let idle = IdleConnection { conn, idle_since: now };
        self.shelves[at].push(idle);
        self.count += 1;
    }

    /// Takes the connection that became idle last, but not before `oldest`: one of `runtime` if
    /// there is one, else one of another runtime. A connection that is reserved for `client` comes
    /// before a shared one; a connection that is reserved for another client is not taken.
    pub(super) fn take(
        &mut self,
        runtime: Id,
        client: Option<&str>,
        oldest: Duration,
    ) -> Option<C> {
        let own = self.shelves.iter().position(|shelf| shelf.runtime == runtime);
        let others = (0..self.shelves.len()).filter(|at| Some(*at) != own);
        let taken =
            own.into_iter().chain(others).find_map(|at| self.shelves[at].take(client, oldest))?;
        self.count -= 1;
        Some(taken)
    }

    /// Removes the connection that has been idle longest of all.
    pub(super) fn pop_oldest(&mut self) -> Option<C> {
        let queues = self.shelves.iter_mut().flat_map(Shelf::queues);
        let oldest = queues
            .filter(|queue| !queue.is_empty())
            .min_by_key(|queue| queue.front().map(|idle| idle.idle_since))?;
        self.count -= 1;
        oldest.pop_front().map(|idle| idle.conn)
    }

    /// Removes the connections that became idle before `oldest` or that are no longer usable.
    pub(super) fn remove_expired(&mut self, oldest: Duration) -> Vec<C> {
        let mut removed = vec![];
        for queue in self.shelves.iter_mut().flat_map(Shelf::queues) {
            while queue.front().is_some_and(|idle| idle.idle_since < oldest) {
                removed.extend(queue.pop_front().map(|idle| idle.conn));
            }
            for at in (0..queue.len()).rev() {
                if !queue[at].conn.is_reusable() {
                    removed.extend(queue.remove(at).map(|idle| idle.conn));
                }
            }
        }
        for shelf in &mut self.shelves {
            shelf.reserved.retain(|_, queue| !queue.is_empty());
        }
        self.count -= removed.len();
        removed
    }

    /// Removes all connections.
    pub(super) fn clear(&mut self) -> Vec<C> {
        self.count = 0;
        let queues = self.shelves.iter_mut().flat_map(Shelf::queues);
        queues.flat_map(std::mem::take).map(|idle| idle.conn).collect()
    }

    /// Returns when the last shared connection became idle.
    pub(super) fn youngest_shared(&self) -> Option<Duration> {
        self.shelves.iter().filter_map(|shelf| Some(shelf.shared.back()?.idle_since)).max()
    }
}

impl<C: Poolable> Shelf<C> {
    fn new(runtime: Id) -> Self {
        Self { runtime, shared: VecDeque::new(), reserved: HashMap::new() }
    }

    fn push(&mut self, idle: IdleConnection<C>) {
        match idle.conn.reserved_client() {
            None => self.shared.push_back(idle),
            Some(client) => match self.reserved.get_mut(client) {
                Some(queue) => queue.push_back(idle),
                None => {
                    let client = client.into();
                    self.reserved.insert(client, VecDeque::from([idle]));
                }
            },
        }
    }

    fn take(&mut self, client: Option<&str>, oldest: Duration) -> Option<C> {
        let reserved = client.and_then(|client| {
            let queue = self.reserved.get_mut(client)?;
            let taken = pop_youngest(queue, oldest);
            if queue.is_empty() {
                self.reserved.remove(client);
            }
            taken
        });
        reserved.or_else(|| pop_youngest(&mut self.shared, oldest))
    }

    fn queues(&mut self) -> impl Iterator<Item = &mut VecDeque<IdleConnection<C>>> {
        std::iter::once(&mut self.shared).chain(self.reserved.values_mut())
    }
}

fn pop_youngest<C>(queue: &mut VecDeque<IdleConnection<C>>, oldest: Duration) -> Option<C> {
    if queue.back()?.idle_since < oldest {
        return None;
    }
    queue.pop_back().map(|idle| idle.conn)
}

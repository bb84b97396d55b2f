//! Orders waiting requests: round robin among clients, and first in, first out for the requests of
//! each client.
//!
//! A bulk export with thousands of queued requests and a person with one are two clients: the
//! person waits for one other request at most.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Identifies a client for fairness, as well as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FairnessKey {
    /// The holder of a client key, by its name.
    ClientKey(Arc<str>),
    /// A process that came through the unix socket.
    Process(i32),
    /// A connection, by the address of the peer.
    Connection(SocketAddr),
    /// A connection of which only the user is known.
    User(u32),
    /// The daemon itself.
    Daemon,
}

/// A position in the queue: smaller is earlier.
pub(super) type QueuePosition = u64;

/// The requests that wait, each with a `T`.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    by_key: HashMap<FairnessKey, BTreeMap<QueuePosition, QueuedRequest<T>>>,
    /// The clients with queued requests, in round-robin order.
    rotation: VecDeque<FairnessKey>,
    /// The deadline of each request.
    deadlines: BTreeMap<(Duration, QueuePosition), FairnessKey>,
    last_position: QueuePosition,
}

#[derive(Debug)]
struct QueuedRequest<T> {
    deadline: Duration,
    value: T,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            by_key: HashMap::new(),
            rotation: VecDeque::new(),
            deadlines: BTreeMap::new(),
            last_position: 0,
        }
    }

    /// Returns the number of queued requests.
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// Returns the number of clients with queued requests.
    pub(super) fn clients(&self) -> usize {
        self.by_key.len()
    }

    /// Returns a new position behind all others.
    pub(super) fn next_position(&mut self) -> QueuePosition {
        self.last_position += 1;
        self.last_position
    }

    /// Adds a request at its position. If the queue is full, removes and returns the last request
    /// of the client that has most in it.
    pub(super) fn push(
        &mut self,
        position: QueuePosition,
        key: &FairnessKey,
        deadline: Duration,
        value: T,
    ) -> Option<T> {
        if !self.by_key.contains_key(key) {
            self.rotation.push_back(key.clone());
        }
        let requests = self.by_key.entry(key.clone()).or_default();
        requests.insert(position, QueuedRequest { deadline, value });
        self.deadlines.insert((deadline, position), key.clone());
        if self.len() <= QUEUE_CAPACITY {
            return None;
        }
        let longest = self.by_key.iter().max_by_key(|(_, requests)| requests.len());
        let last = longest.and_then(|(key, requests)| {
            requests.last_key_value().map(|(position, _)| (key.clone(), *position))
        });
        last.and_then(|(key, position)| self.remove(position, &key))
    }

    /// Removes a request.
    pub(super) fn remove(&mut self, position: QueuePosition, key: &FairnessKey) -> Option<T> {
        let requests = self.by_key.get_mut(key)?;
        let request = requests.remove(&position)?;
        if requests.is_empty() {
            self.by_key.remove(key);
            self.rotation.retain(|other| other != key);
        }
        self.deadlines.remove(&(request.deadline, position));
        Some(request.value)
    }

    /// Removes the next request: the first one of the client that is next.
    pub(super) fn pop(&mut self) -> Option<T> {
        let key = self.rotation.front()?.clone();
        let position = *self.by_key.get(&key)?.first_key_value()?.0;
        let value = self.remove(position, &key);
        if self.rotation.front() == Some(&key) {
            self.rotation.rotate_left(1);
        }
        value
    }

    /// Returns the first deadline.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first_key_value().map(|((end, _), _)| *end)
    }

    /// Removes a request whose deadline is before `time`.
    pub(super) fn pop_expired(&mut self, time: Duration) -> Option<T> {
        let ((end, position), key) = self.deadlines.first_key_value()?;
        let (end, position, key) = (*end, *position, key.clone());
        (end < time).then(|| self.remove(position, &key)).flatten()
    }
}

/// Most requests in one queue: more than there are connections by default (4,096), and 2 MiB.
const QUEUE_CAPACITY: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> FairnessKey {
        FairnessKey::Process(pid)
    }

    fn join(
        queue: &mut FairQueue<&'static str>,
        key: &FairnessKey,
        value: &'static str,
    ) -> QueuePosition {
        let position = queue.next_position();
        assert_eq!(queue.push(position, key, Duration::from_secs(position), value), None);
        position
    }

    fn drain(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn clients_take_turns_and_the_requests_of_each_go_in_order() {
        let mut queue = FairQueue::new();
        for value in ["a1", "a2", "a3"] {
            join(&mut queue, &process(1), value);
        }
        join(&mut queue, &process(2), "b1");
        join(&mut queue, &process(3), "c1");
        join(&mut queue, &process(3), "c2");

        assert_eq!(queue.clients(), 3);
        assert_eq!(drain(&mut queue), ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_request_that_comes_back_takes_its_old_position() {
        let mut queue = FairQueue::new();
        let position = join(&mut queue, &process(1), "first");
        assert_eq!(queue.pop(), Some("first"));
        join(&mut queue, &process(1), "second");

        queue.push(position, &process(1), Duration::from_secs(9), "again");

        assert_eq!(drain(&mut queue), ["again", "second"]);
    }

    #[test]
    fn a_removed_request_is_not_popped() {
        let mut queue = FairQueue::new();
        let position = join(&mut queue, &process(1), "a");
        join(&mut queue, &process(2), "b");

        assert_eq!(queue.remove(position, &process(1)), Some("a"));
        assert_eq!(queue.remove(position, &process(1)), None);

        assert_eq!(drain(&mut queue), ["b"]);
    }

    #[test]
    fn requests_with_the_earliest_deadline_expire_first() {
        let mut queue = FairQueue::new();
        join(&mut queue, &process(1), "1 s");
        join(&mut queue, &process(1), "2 s");

        assert_eq!(queue.next_deadline(), Some(Duration::from_secs(1)));
        assert_eq!(queue.pop_expired(Duration::from_secs(2)), Some("1 s"));
        assert_eq!(queue.pop_expired(Duration::from_secs(2)), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_full_queue_removes_a_request_of_the_client_that_filled_it() {
        let mut queue = FairQueue::new();
        for _ in 0..QUEUE_CAPACITY {
            join(&mut queue, &process(1), "bulk");
        }
        let position = queue.next_position();
        let gone = queue.push(position, &process(2), Duration::from_secs(1), "person");
        assert_eq!((gone, queue.len()), (Some("bulk"), QUEUE_CAPACITY));
    }
}

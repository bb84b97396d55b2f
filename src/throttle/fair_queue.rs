//! Who waits, and who is next: callers take turns, each caller's requests go in order.
//!
//! A bulk export with thousands of requests in line and a person with one are two callers: the
//! person is at most one turn away.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who asks, as well as is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FairnessKey {
    /// The holder of a client key, by its name.
    ClientKey(Arc<str>),
    /// A process that came through the unix socket.
    Process(i32),
    /// A connection, by its other end.
    Connection(SocketAddr),
    /// A connection of which nothing is known but the user.
    User(u32),
    /// The daemon itself.
    Daemon,
}

/// A place in line: smaller is earlier.
pub(super) type QueuePosition = u64;

/// The requests that wait; `T` is how each is called.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    by_key: HashMap<FairnessKey, BTreeMap<QueuePosition, QueuedRequest<T>>>,
    /// The callers that have somebody in line, in the order of their turns.
    rotation: VecDeque<FairnessKey>,
    /// Whose patience ends when.
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

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// Returns how many callers wait.
    pub(super) fn by_key(&self) -> usize {
        self.by_key.len()
    }

    /// Returns a new place behind all others.
    pub(super) fn next_position(&mut self) -> QueuePosition {
        self.last_position += 1;
        self.last_position
    }

    /// Lets a request wait at its place. Where the line is full, the last one of the caller that
    /// has most in it has to go, and is returned.
    pub(super) fn push(
        &mut self,
        place: QueuePosition,
        caller: &FairnessKey,
        deadline: Duration,
        call: T,
    ) -> Option<T> {
        if !self.by_key.contains_key(caller) {
            self.rotation.push_back(caller.clone());
        }
        let tickets = self.by_key.entry(caller.clone()).or_default();
        tickets.insert(place, QueuedRequest { deadline, value: call });
        self.deadlines.insert((deadline, place), caller.clone());
        if self.len() <= QUEUE_CAPACITY {
            return None;
        }
        let longest = self.by_key.iter().max_by_key(|(_, tickets)| tickets.len());
        let last = longest.and_then(|(caller, tickets)| {
            tickets.last_key_value().map(|(place, _)| (caller.clone(), *place))
        });
        last.and_then(|(caller, place)| self.remove(place, &caller))
    }

    /// Takes a request out of the line.
    pub(super) fn remove(&mut self, place: QueuePosition, caller: &FairnessKey) -> Option<T> {
        let tickets = self.by_key.get_mut(caller)?;
        let ticket = tickets.remove(&place)?;
        if tickets.is_empty() {
            self.by_key.remove(caller);
            self.rotation.retain(|other| other != caller);
        }
        self.deadlines.remove(&(ticket.deadline, place));
        Some(ticket.value)
    }

    /// Calls the next one: the first request of the caller whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let caller = self.rotation.front()?.clone();
        let place = *self.by_key.get(&caller)?.first_key_value()?.0;
        let call = self.remove(place, &caller);
        if self.rotation.front() == Some(&caller) {
            self.rotation.rotate_left(1);
        }
        call
    }

    /// Returns when the first patience ends.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first_key_value().map(|((end, _), _)| *end)
    }

    /// Takes out one whose patience ends before `time`.
    pub(super) fn pop_expired(&mut self, time: Duration) -> Option<T> {
        let ((end, place), caller) = self.deadlines.first_key_value()?;
        let (end, place, caller) = (*end, *place, caller.clone());
        (end < time).then(|| self.remove(place, &caller)).flatten()
    }
}

/// Most requests in one line: more than there are connections by default (4,096), and 2 MiB.
const QUEUE_CAPACITY: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> FairnessKey {
        FairnessKey::Process(pid)
    }

    fn join(
        line: &mut FairQueue<&'static str>,
        caller: &FairnessKey,
        call: &'static str,
    ) -> QueuePosition {
        let place = line.next_position();
        assert_eq!(line.push(place, caller, Duration::from_secs(place), call), None);
        place
    }

    fn drain(line: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn callers_take_turns_and_each_ones_requests_go_in_order() {
        let mut line = FairQueue::new();
        for call in ["a1", "a2", "a3"] {
            join(&mut line, &process(1), call);
        }
        join(&mut line, &process(2), "b1");
        join(&mut line, &process(3), "c1");
        join(&mut line, &process(3), "c2");

        assert_eq!(line.by_key(), 3);
        assert_eq!(drain(&mut line), ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_comes_back_takes_the_old_place() {
        let mut line = FairQueue::new();
        let place = join(&mut line, &process(1), "first");
        assert_eq!(line.pop(), Some("first"));
        join(&mut line, &process(1), "second");

        line.push(place, &process(1), Duration::from_secs(9), "again");

        assert_eq!(drain(&mut line), ["again", "second"]);
    }

    #[test]
    fn who_leaves_is_not_called() {
        let mut line = FairQueue::new();
        let place = join(&mut line, &process(1), "a");
        join(&mut line, &process(2), "b");

        assert_eq!(line.remove(place, &process(1)), Some("a"));
        assert_eq!(line.remove(place, &process(1)), None);

        assert_eq!(drain(&mut line), ["b"]);
    }

    #[test]
    fn those_who_cannot_wait_that_long_give_up_first() {
        let mut line = FairQueue::new();
        join(&mut line, &process(1), "1 s");
        join(&mut line, &process(1), "2 s");

        assert_eq!(line.next_deadline(), Some(Duration::from_secs(1)));
        assert_eq!(line.pop_expired(Duration::from_secs(2)), Some("1 s"));
        assert_eq!(line.pop_expired(Duration::from_secs(2)), None);
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn a_full_line_costs_the_caller_who_filled_it() {
        let mut line = FairQueue::new();
        for _ in 0..QUEUE_CAPACITY {
            join(&mut line, &process(1), "bulk");
        }
        let place = line.next_position();
        let gone = line.push(place, &process(2), Duration::from_secs(1), "person");
        assert_eq!((gone, line.len()), (Some("bulk"), QUEUE_CAPACITY));
    }
}

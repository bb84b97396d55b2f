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
pub enum Caller {
    /// The holder of a client key, by its name.
    Key(Arc<str>),
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
pub(super) type Place = u64;

/// The requests that wait; `T` is how each is called.
#[derive(Debug)]
pub(super) struct Line<T> {
    callers: HashMap<Caller, BTreeMap<Place, Ticket<T>>>,
    /// The callers that have somebody in line, in the order of their turns.
    turns: VecDeque<Caller>,
    /// Whose patience ends when.
    ends: BTreeMap<(Duration, Place), Caller>,
    last: Place,
}

#[derive(Debug)]
struct Ticket<T> {
    deadline: Duration,
    call: T,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        Self { callers: HashMap::new(), turns: VecDeque::new(), ends: BTreeMap::new(), last: 0 }
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns how many callers wait.
    pub(super) fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Returns a new place behind all others.
    pub(super) fn place(&mut self) -> Place {
        self.last += 1;
        self.last
    }

    /// Lets a request wait at its place. Where the line is full, the last one of the caller that
    /// has most in it has to go, and is returned.
    pub(super) fn join(
        &mut self,
        place: Place,
        caller: &Caller,
        deadline: Duration,
        call: T,
    ) -> Option<T> {
        if !self.callers.contains_key(caller) {
            self.turns.push_back(caller.clone());
        }
        let tickets = self.callers.entry(caller.clone()).or_default();
        tickets.insert(place, Ticket { deadline, call });
        self.ends.insert((deadline, place), caller.clone());
        if self.len() <= MOST {
            return None;
        }
        let longest = self.callers.iter().max_by_key(|(_, tickets)| tickets.len());
        let last = longest.and_then(|(caller, tickets)| {
            tickets.last_key_value().map(|(place, _)| (caller.clone(), *place))
        });
        last.and_then(|(caller, place)| self.leave(place, &caller))
    }

    /// Takes a request out of the line.
    pub(super) fn leave(&mut self, place: Place, caller: &Caller) -> Option<T> {
        let tickets = self.callers.get_mut(caller)?;
        let ticket = tickets.remove(&place)?;
        if tickets.is_empty() {
            self.callers.remove(caller);
            self.turns.retain(|other| other != caller);
        }
        self.ends.remove(&(ticket.deadline, place));
        Some(ticket.call)
    }

    /// Calls the next one: the first request of the caller whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let caller = self.turns.front()?.clone();
        let place = *self.callers.get(&caller)?.first_key_value()?.0;
        let call = self.leave(place, &caller);
        if self.turns.front() == Some(&caller) {
            self.turns.rotate_left(1);
        }
        call
    }

    /// Returns when the first patience ends.
    pub(super) fn first_end(&self) -> Option<Duration> {
        self.ends.first_key_value().map(|((end, _), _)| *end)
    }

    /// Takes out one whose patience ends before `time`.
    pub(super) fn give_up_before(&mut self, time: Duration) -> Option<T> {
        let ((end, place), caller) = self.ends.first_key_value()?;
        let (end, place, caller) = (*end, *place, caller.clone());
        (end < time).then(|| self.leave(place, &caller)).flatten()
    }
}

/// Most requests in one line: more than there are connections by default (4,096), and 2 MiB.
const MOST: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> Caller {
        Caller::Process(pid)
    }

    fn join(line: &mut Line<&'static str>, caller: &Caller, call: &'static str) -> Place {
        let place = line.place();
        assert_eq!(line.join(place, caller, Duration::from_secs(place), call), None);
        place
    }

    fn drain(line: &mut Line<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn callers_take_turns_and_each_ones_requests_go_in_order() {
        let mut line = Line::new();
        for call in ["a1", "a2", "a3"] {
            join(&mut line, &process(1), call);
        }
        join(&mut line, &process(2), "b1");
        join(&mut line, &process(3), "c1");
        join(&mut line, &process(3), "c2");

        assert_eq!(line.callers(), 3);
        assert_eq!(drain(&mut line), ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_comes_back_takes_the_old_place() {
        let mut line = Line::new();
        let place = join(&mut line, &process(1), "first");
        assert_eq!(line.next(), Some("first"));
        join(&mut line, &process(1), "second");

        line.join(place, &process(1), Duration::from_secs(9), "again");

        assert_eq!(drain(&mut line), ["again", "second"]);
    }

    #[test]
    fn who_leaves_is_not_called() {
        let mut line = Line::new();
        let place = join(&mut line, &process(1), "a");
        join(&mut line, &process(2), "b");

        assert_eq!(line.leave(place, &process(1)), Some("a"));
        assert_eq!(line.leave(place, &process(1)), None);

        assert_eq!(drain(&mut line), ["b"]);
    }

    #[test]
    fn those_who_cannot_wait_that_long_give_up_first() {
        let mut line = Line::new();
        join(&mut line, &process(1), "1 s");
        join(&mut line, &process(1), "2 s");

        assert_eq!(line.first_end(), Some(Duration::from_secs(1)));
        assert_eq!(line.give_up_before(Duration::from_secs(2)), Some("1 s"));
        assert_eq!(line.give_up_before(Duration::from_secs(2)), None);
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn a_full_line_costs_the_caller_who_filled_it() {
        let mut line = Line::new();
        for _ in 0..MOST {
            join(&mut line, &process(1), "bulk");
        }
        let place = line.place();
        let gone = line.join(place, &process(2), Duration::from_secs(1), "person");
        assert_eq!((gone, line.len()), (Some("bulk"), MOST));
    }
}

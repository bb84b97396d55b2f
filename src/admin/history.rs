//! `/v1/history`: the last day in a ring of minutes.
//!
//! The counters of the metrics are read once a minute, and the difference is a minute's figures: a
//! request pays nothing for the history. Memory is fixed: [`CAPACITY`] minutes and
//! [`EVENT_CAPACITY`] events of the session, whatever happens.

mod minute;
mod session_log;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub(super) use self::minute::Readings;
use self::minute::{Minute, PERCENTILES};
use self::session_log::SessionLog;
use super::api::{API_VERSION, HistoryReport};
use crate::session::SessionStatus;
use crate::telemetry::{STAGES, STATUS_CLASSES};

/// The last day.
#[derive(Debug)]
pub(super) struct History(Mutex<Record>);

/// The history as it is kept.
#[derive(Debug)]
struct Record {
    started: u64,
    /// The minutes that are over, oldest first.
    minutes: VecDeque<Minute>,
    /// When the minute that runs has begun, and the counters at that time.
    running: (u64, Readings),
    session: SessionLog,
}

impl History {
    /// Begins at `now`.
    pub(super) fn new(now: SystemTime) -> Self {
        let started = seconds(now);
        Self(Mutex::new(Record {
            started,
            minutes: VecDeque::with_capacity(CAPACITY),
            running: (started, Readings::default()),
            session: SessionLog::new(started, EVENT_CAPACITY),
        }))
    }

    /// Ends the minute that runs.
    pub(super) fn end_minute(&self, now: SystemTime, readings: Readings) {
        self.record().end_minute(seconds(now), readings);
    }

    /// Adds what has happened to the session since the last call.
    pub(super) fn observe(&self, now: SystemTime, status: &SessionStatus) {
        self.record().session.observe(seconds(now), status);
    }

    /// Reports the minutes that began after `after`; the running one with these readings.
    pub(super) fn report(
        &self,
        after: Option<u64>,
        now: SystemTime,
        readings: &Readings,
    ) -> HistoryReport {
        self.record().report(after, seconds(now), readings)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Ends the minute that runs.
    fn end_minute(&mut self, now: u64, readings: Readings) {
        let (began, before) = std::mem::replace(&mut self.running, (now, readings));
        if self.minutes.len() >= CAPACITY {
            self.minutes.pop_front();
        }
        self.minutes.push_back(Minute::between(began, &before, &self.running.1));
    }

    /// Reports the minutes that began after `after`, the running one with `readings`.
    fn report(&self, after: Option<u64>, now: u64, readings: &Readings) -> HistoryReport {
        let (began, before) = &self.running;
        let running = Minute::between(*began, before, readings);
        let is_wanted = |minute: &&Minute| after.is_none_or(|after| minute.time > after);
        let minutes: Vec<_> =
            self.minutes.iter().chain([&running]).filter(is_wanted).copied().collect();
        let mut requests = BTreeMap::new();
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            let column = minutes.iter().map(|minute| u64::from(minute.requests[at]));
            requests.insert((*class).to_owned(), column.collect());
        }
        let mut latency_ms = BTreeMap::new();
        let parts = std::iter::once("total").chain(STAGES.iter().map(|(_, name)| *name));
        for (part, name) in parts.enumerate() {
            for (rank, percent) in PERCENTILES.iter().enumerate() {
                let column = minutes.iter().map(|minute| minute.latency_ms[part][rank]).collect();
                latency_ms.insert(format!("{name}_p{percent}"), column);
            }
        }
        HistoryReport {
            api: API_VERSION,
            started: self.started,
            now,
            step_s: STEP.as_secs(),
            capacity: CAPACITY,
            time: minutes.iter().map(|minute| minute.time).collect(),
            requests,
            latency_ms,
            throttled: minutes.iter().map(|minute| minute.throttled.into()).collect(),
            waiting: minutes.iter().map(|minute| minute.waiting.into()).collect(),
            connections: minutes.iter().map(|minute| minute.connections.into()).collect(),
            memory_bytes: minutes.iter().map(|minute| minute.memory).collect(),
            events: self.session.events(),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Length of a minute.
pub(super) const STEP: Duration = Duration::from_secs(60);

/// Minutes of a day.
const CAPACITY: usize = 24 * 60;

/// Most events of the session: a session that renews its token as often as it can, and fails each
/// time, fills an hour.
const EVENT_CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_kept_and_no_minute_more() {
        let history = History::new(SystemTime::UNIX_EPOCH);
        let mut record = history.record();
        let capacity = record.minutes.capacity();
        for minute in 1..=2_000 {
            record.end_minute(minute * 60, counted(minute * 3));
        }

        let report = record.report(None, 120_030, &counted(6_001));

        assert_eq!(report.time.len(), CAPACITY + 1);
        assert_eq!((report.time[0], report.time.last()), ((2_000 - 1_440) * 60, Some(&120_000)));
        assert_eq!(report.requests["2xx"][0], 3);
        assert_eq!(report.requests["2xx"].last(), Some(&1), "the minute that runs");
        assert!(report.requests["5xx"].iter().all(|count| *count == 0));
        assert_eq!(record.minutes.capacity(), capacity, "memory does not grow");
    }

    #[test]
    fn only_the_minutes_after_a_time_are_told() {
        let history = History::new(SystemTime::UNIX_EPOCH);
        let mut record = history.record();
        (1..=10).for_each(|minute| record.end_minute(minute * 60, counted(minute)));

        let report = record.report(Some(480), 601, &counted(11));

        assert_eq!(report.time, [540, 600]);
        assert!(report.latency_ms.values().all(|column| column.len() == 2));
        assert_eq!(report.latency_ms.len(), 5 * PERCENTILES.len());
    }

    /// Readings after this many successful requests.
    fn counted(requests: u64) -> Readings {
        let mut readings = Readings::default();
        readings.requests[2] = requests;
        readings
    }
}

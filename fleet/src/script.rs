//! From a [`Call`] to a script with its arguments, and from the engine's value to a [`Reply`].

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;

use crate::behind::Behind;
use crate::call::{Call, CallError, Place, Reply, Snapshot};
use crate::fence::Fence;
use crate::pace::{LaneAsk, Paced, Windows};
use crate::quota::{Allowance, Ask, Counted, Span};
use crate::record::Incarnation;
use crate::register::Stored;
use crate::timing::Timing;

/// The scripts, in the order of their indices.
pub(crate) const SCRIPTS: [&str; 12] = [
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/poll.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/acquire.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/intend.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/commit.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/spare.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/release.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/put.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/draw.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/set.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/leave.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/pace.lua")),
    concat!(include_str!("scripts/prelude.lua"), include_str!("scripts/count.lua")),
];

/// The names of a profile's keys and channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    base: String,
}

impl Keyspace {
    /// Makes the names for one profile. The braces put all keys into one slot of a cluster.
    pub fn new(prefix: &str, profile: &str) -> Self {
        Self { base: format!("{{{prefix}:{profile}}}") }
    }

    /// Returns the keys and the channel in the order in which the scripts take them.
    pub fn keys(&self) -> Vec<String> {
        KEYS.iter().map(|key| format!("{}:{key}", self.base)).collect()
    }

    /// Returns the channel of hints.
    pub fn hints(&self) -> String {
        format!("{}:hint", self.base)
    }

    /// Returns the pattern of all keys, for an ACL.
    pub fn pattern(&self) -> String {
        format!("{}:*", self.base)
    }
}

const KEYS: [&str; 13] = [
    "fence",
    "lease",
    "registers",
    "set",
    "revision",
    "intents",
    "spares",
    "members",
    "behind",
    "hint",
    "pace",
    "slots",
    "counts",
];

/// Every command that the crate uses, in its scripts too, as an ACL names it: a test keeps it complete.
pub const COMMANDS: [&str; 26] = [
    "evalsha",
    "script|load",
    "time",
    "get",
    "set",
    "exists",
    "del",
    "pttl",
    "pexpire",
    "hget",
    "hset",
    "hsetnx",
    "hdel",
    "hmget",
    "hgetall",
    "hkeys",
    "hlen",
    "hvals",
    "hincrby",
    "publish",
    "subscribe",
    "wait",
    "waitaof",
    "role",
    "info",
    "select",
];

/// The index of the call's script, and its arguments.
pub(crate) fn encode(call: &Call, timing: &Timing) -> (usize, Vec<Vec<u8>>) {
    match call {
        Call::Poll { .. } => (0, poll(call, timing)),
        Call::Acquire { me, seen, is_settled, answered } => {
            let (lease, behind) = (millis(timing.lease), millis(timing.behind));
            let answered = answered.to_string().into_bytes();
            (1, vec![name(me), number(seen), lease, flag(*is_settled), behind, answered])
        }
        Call::Intend { me, lease, known, intent, attempts } => {
            let attempts = attempts.as_ref().map(Stored::to_bytes).unwrap_or_default();
            (2, vec![name(me), number(lease), number(known), intent.to_bytes(), attempts])
        }
        Call::Commit { me, session, drop } => {
            (3, [name(me), session.to_bytes()].into_iter().chain(drop.iter().map(number)).collect())
        }
        Call::Spare { spare } => (4, vec![spare.to_bytes()]),
        Call::Release { me, lease, keeps_lease, ends } => {
            let ends = ends.as_ref().map(number).unwrap_or_default();
            (5, vec![name(me), number(lease), flag(*keeps_lease), ends])
        }
        Call::Put { place, name, stored, unopened } => {
            let place: &[u8] = match place {
                Place::Registers => b"registers",
                Place::Set => b"set",
            };
            let unopened = unopened.as_ref().map(number).unwrap_or_default();
            (6, vec![place.to_vec(), name.clone().into_bytes(), stored.to_bytes(), unopened])
        }
        Call::Draw { seen } => (7, vec![number(seen)]),
        Call::ReadSet => (8, vec![]),
        Call::Leave { me } => (9, vec![name(me)]),
        Call::Pace { me, lanes, horizon } => {
            let head = [name(me), millis(*horizon), millis(timing.cut_off)];
            (10, head.into_iter().chain(lanes.iter().flat_map(lane)).collect())
        }
        Call::Count { me, asks, horizon } => {
            let head = [name(me), millis(timing.cut_off), millis(*horizon)];
            (11, head.into_iter().chain(asks.iter().flat_map(ask)).collect())
        }
    }
}

fn lane(ask: &LaneAsk) -> [Vec<u8>; 4] {
    [
        ask.lane.clone().into_bytes(),
        ask.wants.to_string().into_bytes(),
        ask.pause.as_millis().to_string().into_bytes(),
        ask.windows.to_text().into_bytes(),
    ]
}

fn ask(ask: &Ask) -> [Vec<u8>; 8] {
    let kind: &[u8] = match ask.allowance {
        Allowance::Total(_) => b"total",
        Allowance::Span { .. } => b"span",
        Allowance::Rate { .. } => b"rate",
    };
    // Lua counts exactly only so far.
    let units = |units: u64| units.min(Fence::LAST.number()).to_string().into_bytes();
    [
        ask.name.clone().into_bytes(),
        kind.to_vec(),
        units(ask.allowance.most()),
        ask.allowance.period().as_millis().to_string().into_bytes(),
        units(ask.wants),
        units(ask.owes),
        units(ask.knows.since),
        units(ask.knows.taken),
    ]
}

fn poll(call: &Call, timing: &Timing) -> Vec<Vec<u8>> {
    let Call::Poll { me, seen, has_reported, have, info, number: poll, answered } = call else {
        return vec![];
    };
    let mut arguments = vec![
        name(me),
        number(seen),
        flag(*has_reported),
        info.to_bytes(),
        millis(timing.behind),
        millis(timing.share),
        poll.to_string().into_bytes(),
        answered.to_string().into_bytes(),
    ];
    for (register, fence) in have {
        arguments.extend([register.clone().into_bytes(), number(fence)]);
    }
    arguments
}

fn name(incarnation: &Incarnation) -> Vec<u8> {
    incarnation.as_str().as_bytes().to_vec()
}

fn number(fence: &Fence) -> Vec<u8> {
    fence.to_string().into_bytes()
}

fn millis(duration: Duration) -> Vec<u8> {
    duration.as_millis().max(1).to_string().into_bytes()
}

fn flag(is_set: bool) -> Vec<u8> {
    vec![b'0' + u8::from(is_set)]
}

/// Reads the answer to `call`. A write that was made counts as not durable until the engine has
/// been asked for that.
pub(crate) fn decode(call: &Call, value: Value) -> Result<Reply, CallError> {
    if matches!(call, Call::Poll { .. }) {
        return snapshot(value).map(Reply::Polled).ok_or(CallError::Malformed);
    }
    reply(value).ok_or(CallError::Malformed)
}

fn reply(value: Value) -> Option<Reply> {
    let mut parts = list(value)?.into_iter();
    let label = bytes(parts.next()?)?;
    match label.as_slice() {
        b"done" => Some(Reply::Done { is_durable: false }),
        b"lost" => Some(Reply::Lost),
        b"stale" => Some(Reply::Stale),
        b"held" => Some(Reply::Held(duration(parts.next()?)?)),
        b"behind" => Some(Reply::Behind(behind(parts.next()?)??)),
        b"drawn" => Some(Reply::Drawn(fence(parts.next()?)?)),
        b"acquired" => Some(Reply::Acquired {
            fence: fence(parts.next()?)?,
            snapshot: snapshot(parts.next()?)?,
        }),
        b"paced" => {
            let answers = list(parts.next()?)?.into_iter();
            answers.map(paced).collect::<Option<_>>().map(Reply::Paced)
        }
        b"counted" => {
            let answers = list(parts.next()?)?.into_iter();
            answers.map(counted).collect::<Option<_>>().map(Reply::Counted)
        }
        b"set" => {
            let revision = text(parts.next()?)?;
            Some(Reply::Set { revision, records: registers(parts.next()?)? })
        }
        _ => None,
    }
}

/// `pause, windows, slots, microseconds until the first, microseconds between two`.
fn paced(value: Value) -> Option<Paced> {
    let mut parts = list(value)?.into_iter();
    let pause = duration(parts.next()?)?;
    let windows = Windows::from_text(&text(parts.next()?)?);
    let slots = integer(parts.next()?)?.try_into().ok()?;
    let [first, gap] = [micros(parts.next()?)?, micros(parts.next()?)?];
    Some(Paced { pause, windows, slots, first, gap })
}

/// `lane, milliseconds of pause, windows, …`.
fn paces(value: Value) -> Option<BTreeMap<String, (Duration, Windows)>> {
    let mut flat = list(value)?.into_iter();
    let mut found = BTreeMap::new();
    while let Some(lane) = flat.next() {
        let (lane, pause) = (text(lane)?, duration(flat.next()?)?);
        found.insert(lane, (pause, Windows::from_text(&text(flat.next()?)?)));
    }
    Some(found)
}

/// `granted, since, taken, milliseconds left`.
fn counted(value: Value) -> Option<Counted> {
    let mut parts = list(value)?.into_iter();
    let granted = integer(parts.next()?)?;
    let since = text(parts.next()?)?.parse().ok()?;
    let taken = text(parts.next()?)?.parse().ok()?;
    Some(Counted { granted, span: Span { since, taken }, left: duration(parts.next()?)? })
}

fn snapshot(value: Value) -> Option<Snapshot> {
    let mut parts = list(value)?.into_iter();
    let now = integer(parts.next()?)?;
    let registers: BTreeMap<_, _> = registers(parts.next()?)?.into_iter().collect();
    let same = list(parts.next()?)?.into_iter().map(text).collect::<Option<_>>()?;
    let intents = values(parts.next()?)?;
    let spares = values(parts.next()?)?;
    let members = members(parts.next()?, now)?;
    let revision = text(parts.next()?)?;
    let behind = behind(parts.next()?)?;
    let lease =
        Some(text(parts.next()?)?).filter(|owner| !owner.is_empty()).map(Incarnation::named);
    // Only a poll has them.
    let paces = parts.next().map_or_else(|| Some(BTreeMap::new()), paces)?;
    Some(Snapshot {
        now,
        registers,
        same,
        intents,
        spares,
        members,
        revision,
        behind,
        lease,
        paces,
    })
}

/// `[]` or `[left, [member, …]]`.
fn behind(value: Value) -> Option<Option<Behind>> {
    let mut parts = list(value)?.into_iter();
    let Some(left) = parts.next() else { return Some(None) };
    let left = duration(left)?;
    let names = list(parts.next()?)?.into_iter().map(text).collect::<Option<Vec<_>>>()?;
    // The empty name is the note itself.
    let reported =
        names.into_iter().filter(|name| !name.is_empty()).map(Incarnation::named).collect();
    Some(Some(Behind { left, reported }))
}

fn registers(value: Value) -> Option<Vec<(String, Stored)>> {
    let flat = list(value)?;
    let mut found = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let Some(name) = flat.next() {
        found.push((text(name)?, Stored::from_bytes(&bytes(flat.next()?)?)));
    }
    Some(found)
}

fn values(value: Value) -> Option<Vec<Stored>> {
    list(value)?.into_iter().map(|value| Some(Stored::from_bytes(&bytes(value)?))).collect()
}

/// `name, "MILLISECONDS NUMBER KNOWN INFO", …`. What reads otherwise was planted, and is no member.
fn members(value: Value, now: u64) -> Option<BTreeMap<Incarnation, (Duration, Stored)>> {
    let mut flat = list(value)?.into_iter();
    let mut found = BTreeMap::new();
    while let Some(name) = flat.next() {
        let (name, entry) = (text(name)?, bytes(flat.next()?)?);
        let mut parts = entry.splitn(4, |byte| *byte == b' ');
        let seen = parts.next().and_then(|part| str::from_utf8(part).ok()?.parse::<u64>().ok());
        if let (Some(seen), Some(info)) = (seen, parts.nth(2)) {
            let ago = Duration::from_millis(now.saturating_sub(seen));
            found.insert(Incarnation::named(name), (ago, Stored::from_bytes(info)));
        }
    }
    Some(found)
}

fn list(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(parts) = value { Some(parts) } else { None }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

fn fence(value: Value) -> Option<Fence> {
    text(value)?.parse().ok()
}

fn integer(value: Value) -> Option<u64> {
    if let Value::Int(number) = value { number.try_into().ok() } else { None }
}

fn micros(value: Value) -> Option<Duration> {
    text(value)?.parse().ok().map(Duration::from_micros)
}

fn duration(value: Value) -> Option<Duration> {
    integer(value).map(Duration::from_millis)
}

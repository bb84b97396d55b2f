//! The session as a pure function: an event and the time go in, the next actions come out.

pub(crate) mod event;
pub(crate) mod machine;
pub(crate) mod schedule;

mod access;
mod attempt;
mod durability;
mod token_rejection;

//! The session as a pure function: what happened and the time in, what to do next out.

pub(crate) mod event;
pub(crate) mod machine;
pub(crate) mod schedule;

mod access;
mod attempt;
mod durability;
mod token_rejection;

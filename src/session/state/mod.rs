//! The session as a pure function: what happened and the time in, what to do next out.

pub mod event;
pub mod machine;
pub mod schedule;

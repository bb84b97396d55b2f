//! The token's life as a pure function: no clock, no I/O, no task.

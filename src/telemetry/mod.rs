//! What is told of what happens: log lines and their field names. Counts, decides nothing.

pub mod fields;

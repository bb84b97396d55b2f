//! x
mod budget;
mod history;
mod learn;
mod answer;
#[cfg(test)]
mod simulated;

//! The program on a real desktop's ground: a real Secret Service on a private bus.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod keyring;
mod login;
mod person;
mod prompts;

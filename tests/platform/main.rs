//! The program on real ground: a Secret Service on a private bus, a machine with systemd.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod confined;
mod installed;
mod keyring;
mod login;
mod machine;
mod person;
mod restarts;
mod service;

//! The program on real ground: the clients that people use, a browser, a Secret Service on a private
//! bus, a machine with systemd.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod browser;
mod clients;
mod confined;
mod documents;
mod installed;
mod keyring;
mod login;
mod machine;
mod manager;
mod names;
mod person;
mod prompts;
mod restarts;
mod service;
#[path = "../shared/mod.rs"]
mod shared;
mod stage;

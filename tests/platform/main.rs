//! The program among real neighbours: a Secret Service on a private bus, a browser.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod browser;
mod keyring;
mod login;

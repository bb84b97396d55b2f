//! The program among real ones: the HTTP clients that people use, and a desktop's Secret Service.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod clients;
mod keyring;
mod login;
mod names;
mod stage;

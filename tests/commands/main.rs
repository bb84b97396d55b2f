//! The command line as a person meets it: what is typed, what is printed, how it ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[cfg(unix)]
mod accounts;
mod asked;
mod clients;
mod config;
mod demo;
#[cfg(target_os = "linux")]
mod disk;
mod doctor;
mod flags;
mod frame;
mod life;
mod login;
#[cfg(unix)]
mod origins;
mod refused;
#[cfg(unix)]
mod run;
#[cfg(target_os = "linux")]
mod secrets;
#[cfg(unix)]
mod served;
#[cfg(target_os = "linux")]
mod service;
#[cfg(unix)]
#[path = "../shared/mod.rs"]
mod shared;
mod support;
mod tested;

//! The command line as a person meets it: what is typed, what is printed, how it ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[cfg(unix)]
mod account_changes;
mod api;
mod cli_errors;
mod clients;
mod config;
mod coverage;
#[cfg(unix)]
mod daemon_env;
mod demo;
#[cfg(target_os = "linux")]
mod disk_errors;
mod doctor;
mod doctor_login;
mod effective_config;
mod flags;
mod hints;
mod lifecycle;
mod login;
#[cfg(unix)]
mod login_files;
mod login_terminal;
#[cfg(unix)]
mod origin_binding;
#[cfg(unix)]
mod origin_runs;
#[cfg(unix)]
mod origin_sessions;
mod output;
mod probe;
#[cfg(target_os = "linux")]
mod public_reports;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod run_handover;
#[cfg(target_os = "linux")]
mod secrets;
#[cfg(target_os = "linux")]
mod service;
#[cfg(unix)]
#[path = "../shared/mod.rs"]
mod shared;
mod signals;
mod supervision;
mod support;
mod whoami;

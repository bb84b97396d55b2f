//! The command line as a person meets it: what is typed, what is printed, how it ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[cfg(unix)]
mod account_changes;
mod agents;
mod ages;
mod api;
mod audit_offline;
mod basic_auth;
#[cfg(all(target_os = "linux", feature = "demo"))]
mod ca;
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
mod env;
mod flags;
#[cfg(feature = "fleet")]
mod fleet;
mod har;
mod hints;
mod hints_login;
mod homebrew;
#[cfg(all(target_os = "linux", feature = "demo"))]
mod idle_tunnels;
mod install_script;
mod lifecycle;
mod login;
#[cfg(all(unix, feature = "demo"))]
mod login_files;
#[cfg(all(unix, feature = "demo"))]
mod login_sources;
mod login_terminal;
mod logout_revoke;
mod newcomers;
#[cfg(unix)]
mod origin_binding;
#[cfg(unix)]
mod origin_runs;
#[cfg(unix)]
mod origin_sessions;
mod output;
mod probe;
mod profiles;
#[cfg(target_os = "linux")]
mod public_reports;
mod redaction;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod run_handover;
#[cfg(target_os = "linux")]
mod run_intercepted;
#[cfg(target_os = "linux")]
mod run_isolated;
#[cfg(target_os = "linux")]
mod run_isolated_files;
#[cfg(target_os = "linux")]
mod run_names;
#[cfg(target_os = "linux")]
mod run_parent_proxy;
#[cfg(target_os = "linux")]
mod run_real_programs;
#[cfg(target_os = "linux")]
mod run_terminal;
#[cfg(target_os = "linux")]
mod secrets;
#[cfg(target_os = "linux")]
mod service;
#[cfg(unix)]
#[path = "../shared/mod.rs"]
mod shared;
#[cfg(all(unix, feature = "demo"))]
mod signals;
#[cfg(all(unix, feature = "demo"))]
mod small_faults;
mod small_things;
mod stopped_daemon;
mod supervision;
mod support;
mod ui;
mod whoami;

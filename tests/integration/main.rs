//! The promises of the daemon to its user, a file per promise, against the simulated Nexudus.
//!
//! Most tests run the real daemon in this process, on ports of its own, and a client that knows
//! nothing of it; where a process must die, they run the real program.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

mod access_control;
mod admin_access;
mod answers;
mod approvals;
mod audit;
mod authorities;
mod backpressure;
mod basic_auth;
mod browser_attacks;
mod browsers;
mod budgets;
mod bursts;
mod command_order;
mod commands;
mod config_keys;
mod connect_errors;
mod connections;
mod dead_connections;
mod diagnostics;
mod differential;
mod draining;
mod durable_tokens;
#[cfg(feature = "fleet")]
mod fleet;
#[cfg(feature = "fleet")]
mod fleet_clients;
#[cfg(feature = "fleet")]
mod fleet_operations;
#[cfg(feature = "fleet")]
mod fleet_pace;
mod forward_accounts;
mod forward_attacks;
mod forward_proxy;
mod forwarded_fields;
mod forwarding;
mod framing;
mod fuzz_corpus;
mod guide;
mod headers;
mod health_probes;
mod http_conformance;
mod load;
mod local_tls;
mod login_failures;
mod loops;
mod memory_erasure;
mod metrics;
mod misplaced_keys;
mod non_ascii_targets;
mod notify;
mod observability;
mod open_files;
mod other_users;
mod path_normalization;
mod peer_identity;
mod public_reports;
mod redacted_paths;
mod redaction;
mod redaction_memory;
mod rejections;
mod reported_answers;
mod response_framing;
mod response_heads;
mod restarts;
mod secret_leaks;
mod service_environment;
mod silence;
mod threads;
mod throttle_learning;
mod throttling;
mod token_responses;
mod tokens;
mod unauthorized;
mod unread_uploads;
mod uploads;
mod upstream_pool;
mod web_apps;
mod websocket;
mod websocket_end;
mod websocket_handshake;

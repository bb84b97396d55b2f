//! A local authenticating reverse proxy for Nexudus.

pub mod json;
pub mod problem;

pub mod clock;
pub mod config;
pub mod path_template;
pub mod secret;
pub mod secure_fs;
pub mod tcp_options;
pub mod telemetry;

pub mod children;
pub mod peer;

pub mod ca;
pub mod credentials;
pub mod listen;
pub mod service;
pub mod upstream;

pub mod forward_proxy;

pub mod approvals;
pub mod audit;
pub mod clients;
pub mod fleet;
pub mod redact;
pub mod throttle;

pub mod session;

pub mod admin;
pub mod gateway;

pub mod daemon;

#[cfg(unix)]
pub mod run;

pub mod cli;

//! The program on real ground: the clients that people use, a browser, a Secret Service on a private
//! bus, a machine with systemd.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod browser;
mod browser_apps;
mod browser_stage;
mod ca_trust;
mod container;
mod documents;
mod hints;
mod http_clients;
mod install_script;
mod keyring;
mod keyring_login;
mod keyring_prompter;
mod keyring_prompts;
mod machine;
mod name_resolution;
mod nginx_front;
mod packages;
mod packages_image;
mod packages_static;
mod reach;
mod reloads;
mod restarts;
mod run_isolated;
mod sandbox;
mod service_install;
mod service_page;
#[path = "../shared/mod.rs"]
mod shared;
mod support;
mod system_login;
mod system_units;
mod user_units;

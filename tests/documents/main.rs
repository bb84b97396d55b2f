//! The documents keep their promises: links lead somewhere, shell blocks work as printed, generated
//! pages equal the code.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod configuration;
mod links;
mod markdown;
#[cfg(target_os = "linux")]
mod reader;
mod shell_blocks;

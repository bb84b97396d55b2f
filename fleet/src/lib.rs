//! One rotating OAuth session and one budget for many machines, on Redis or Valkey.
//!
#![doc = include_str!("../README.md")]
//!
//! Deliberately absent: configuration files, clocks, logs, and any issuer in particular.

pub mod behind;
pub mod call;
pub mod decide;
pub mod draws;
pub mod driver;
pub mod engine;
pub mod fence;
pub mod history;
pub mod lease;
pub mod member;
pub mod pace;
pub mod quota;
pub mod record;
pub mod register;
pub mod script;
pub mod seal;
pub mod secret;
pub mod timing;

//! Any bytes as a stored certificate authority.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../ca/tests/fuzzed/mod.rs"]
mod fuzzed;

fuzz_target!(|bytes: &[u8]| fuzzed::check(bytes));

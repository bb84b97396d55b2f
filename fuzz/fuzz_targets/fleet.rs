//! Any bytes as a record of the fleet's engine.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../fleet/tests/fuzzed/mod.rs"]
mod fuzzed;

fuzz_target!(|bytes: &[u8]| fuzzed::check(bytes));

//! Any bytes as a JSON text, for the rewriter by itself.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../redactor/tests/fuzzed/mod.rs"]
mod fuzzed;

fuzz_target!(|bytes: &[u8]| fuzzed::check(bytes));

//! Any bytes as a response, for the HTTP/1.1 client by itself.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../h1/tests/fuzzed/mod.rs"]
mod fuzzed;

fuzz_target!(|bytes: &[u8]| fuzzed::check(bytes));

//! Any bytes from a client.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../stage/mod.rs"]
#[allow(dead_code, reason = "each target plays one side")]
mod stage;

thread_local!(static STAGE: stage::Stage = stage::Stage::new());

fuzz_target!(|bytes: &[u8]| STAGE.with(|stage| stage.request(bytes)));

//! Any target and any headers of any client.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../policy/mod.rs"]
mod policy;

thread_local!(static JUDGE: policy::Judge = policy::Judge::new());

fuzz_target!(|bytes: &[u8]| JUDGE.with(|judge| judge.judge(bytes)));

//! The seeds of the fuzz target, read again, so that no error that was found once comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod fuzzed;

use std::path::Path;

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/answer");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        fuzzed::check(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 30, "{count}");
}

//! The seeds of the fuzz target, and all that is one step away from a sealed record.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod fuzzed;

use std::path::Path;

use shared_session::fence::Fence;
use shared_session::record::{Lock, Tombstone};
use shared_session::register::Stored;
use shared_session::seal::Keyring;

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/fleet");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        fuzzed::check(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn a_sealed_record_that_is_cut_made_longer_or_changed_opens_nowhere() {
    let keys = Keyring::new("default", &[&[7; 32]]).unwrap();
    let fence = Fence::new(1_790_000_000_000_000).unwrap();
    let lock = Stored::seal(&keys, "lock", fence, &Lock { locked: true }).to_bytes();
    let gone = Stored::seal(&keys, "client/a", fence, &Tombstone {}).to_bytes();
    for bytes in [lock, gone] {
        fuzzed::check(&bytes);
        for length in 0..bytes.len() {
            fuzzed::check(&bytes[..length]);
        }
        fuzzed::check(&[&bytes[..], b"\0"].concat());
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            fuzzed::check(&changed);
        }
    }
}

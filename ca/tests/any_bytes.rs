//! The seeds of the fuzz target, read again, and all that is one step away from an authority.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod fuzzed;

use std::path::Path;
use std::time::{Duration, SystemTime};

use constrained_ca::{Authority, Error, Names};

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/ca");
    let mut authorities = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        fuzzed::check(&bytes);
        authorities += usize::from(Authority::from_secret_bytes(&bytes).is_ok());
    }
    assert!(authorities >= 2, "{authorities}");
}

#[test]
fn a_stored_authority_cut_short_or_made_longer_is_damaged() {
    let names = Names { dns: vec!["localhost".to_owned()], ip: vec!["::1".parse().unwrap()] };
    let lifetime = Duration::from_secs(3600);
    let made = Authority::create(names, "Test", SystemTime::now(), lifetime).unwrap();
    let bytes = made.to_secret_bytes();

    for length in 0..bytes.len() {
        let cut = Authority::from_secret_bytes(&bytes[..length]);
        assert!(matches!(cut, Err(Error::Damaged)), "{length}");
    }
    let longer = [&bytes[..], b"\0"].concat();
    assert!(matches!(Authority::from_secret_bytes(&longer), Err(Error::Damaged)));
}

#[test]
fn a_changed_byte_never_panics_and_never_names_another_host() {
    let names = Names { dns: vec!["localhost".to_owned()], ip: vec![] };
    let lifetime = Duration::from_secs(3600);
    let made = Authority::create(names, "Test", SystemTime::now(), lifetime).unwrap();
    let bytes = made.to_secret_bytes();

    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x01;
        fuzzed::check(&changed);
    }
}

#[test]
fn the_key_of_another_authority_is_refused() {
    let make = || {
        let names = Names { dns: vec!["localhost".to_owned()], ip: vec![] };
        let lifetime = Duration::from_secs(3600);
        Authority::create(names, "Test", SystemTime::UNIX_EPOCH, lifetime).unwrap()
    };
    let (first, second) = (make().to_secret_bytes(), make().to_secret_bytes());
    let key_field = |bytes: &[u8]| {
        let pkcs8 = [0x30, 0x81, 0x87, 0x02, 0x01, 0x00];
        bytes.windows(pkcs8.len()).rposition(|window| window == pkcs8).unwrap()
    };

    let mixed = [&first[..key_field(&first)], &second[key_field(&second)..]].concat();

    assert!(Authority::from_secret_bytes(&first).is_ok());
    assert!(matches!(Authority::from_secret_bytes(&mixed), Err(Error::Damaged)));
}

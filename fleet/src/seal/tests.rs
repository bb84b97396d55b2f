//! What opens, and what does not.

use proptest::prelude::*;

use super::*;

fn keyring(profile: &str, keys: &[u8]) -> Keyring {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    Keyring::new(profile, &keys).unwrap()
}

fn binding(kind: Kind, name: &str, fence: u64) -> Binding<'_> {
    Binding { kind, name, fence: Fence::new(fence).unwrap() }
}

proptest! {
    #[test]
    fn a_record_opens_as_what_it_was_sealed(plain: Vec<u8>, name: String, fence in 0_u64..1 << 52) {
        let keys = keyring("default", &[1]);
        let binding = binding(Kind::Client, &name, fence);
        let sealed = keys.seal(binding, &plain);
        prop_assert_eq!(&**keys.open(binding, &sealed).unwrap(), &plain[..]);
    }

    #[test]
    fn a_changed_byte_never_opens(at in 0_usize..60, flip in 1_u8..) {
        let keys = keyring("default", &[1]);
        let binding = binding(Kind::Epoch, "", 7);
        let mut sealed = keys.seal(binding, b"logged in, and the record goes on");
        let at = at % sealed.len();
        sealed[at] ^= flip;
        prop_assert_eq!(keys.open(binding, &sealed), Err(Unopened));
    }

    #[test]
    fn any_bytes_do_not_open(bytes: Vec<u8>) {
        prop_assert!(keyring("default", &[1]).open(binding(Kind::Lock, "", 1), &bytes).is_err());
    }
}

#[test]
fn a_record_opens_under_no_other_type_profile_name_or_fence() {
    let keys = keyring("default", &[1]);
    let sealed = keys.seal(binding(Kind::Client, "a", 5), b"text");

    for other in [
        binding(Kind::Stray, "a", 5),
        binding(Kind::Client, "b", 5),
        binding(Kind::Client, "", 5),
        binding(Kind::Client, "a", 6),
    ] {
        assert_eq!(keys.open(other, &sealed), Err(Unopened), "{other:?}");
    }
    assert!(keyring("work", &[1]).open(binding(Kind::Client, "a", 5), &sealed).is_err());
    assert!(keyring("default", &[2]).open(binding(Kind::Client, "a", 5), &sealed).is_err());
}

#[test]
fn while_keys_change_both_open_and_the_first_seals() {
    let (old, both, new) =
        (keyring("default", &[1]), keyring("default", &[2, 1]), keyring("default", &[2]));
    let at = binding(Kind::Session, "", 9);

    let (before, during) = (old.seal(at, b"x"), both.seal(at, b"x"));

    assert!(both.open(at, &before).is_ok() && both.open(at, &during).is_ok());
    assert!(new.open(at, &during).is_ok() && new.open(at, &before).is_err());
}

#[test]
fn keys_of_another_length_or_number_are_refused() {
    let key = [0_u8; 32];
    assert_eq!(Keyring::new("p", &[]).err(), Some(KeyError::Missing));
    assert_eq!(Keyring::new("p", &[&key[..31]]).err(), Some(KeyError::Length(31)));
    assert_eq!(Keyring::new("p", &[&key, &key, &key]).err(), Some(KeyError::TooMany(3)));
}

#[test]
fn two_seals_of_one_record_differ() {
    let keys = keyring("default", &[1]);
    let at = binding(Kind::Session, "", 9);
    assert_ne!(keys.seal(at, b"x"), keys.seal(at, b"x"));
}

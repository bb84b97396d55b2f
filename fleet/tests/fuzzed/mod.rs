//! What holds for any bytes that an engine gives for a record.

use shared_session::fence::Fence;
use shared_session::pace::Windows;
use shared_session::record::{
    Attempts, Client, Epoch, Intent, Lock, MemberInfo, Record, Session, Spare, Stray, Tombstone,
};
use shared_session::register::{RecordSet, Register, Stored};
use shared_session::seal::Keyring;

/// Bytes are no record of any type, or one that the fleet's key sealed under this name and fence; they
/// change no register that holds a record, and bring back no revoked client.
pub(crate) fn check(bytes: &[u8]) {
    let keys = Keyring::new("default", &[&[7; 32]]).unwrap();
    let stored = Stored::from_bytes(bytes);
    assert_eq!(Stored::from_bytes(&stored.to_bytes()), stored, "a value is read as it is written");
    assert!(stored.fence <= Fence::LAST);
    register::<Session>(&keys, "session", &stored);
    register::<Epoch>(&keys, "epoch", &stored);
    register::<Lock>(&keys, "lock", &stored);
    register::<Attempts>(&keys, "attempts", &stored);
    register::<Client>(&keys, "client/a", &stored);
    register::<Tombstone>(&keys, "client/a", &stored);
    register::<Stray>(&keys, "stray/a", &stored);
    register::<Intent>(&keys, "", &stored);
    register::<Spare>(&keys, "", &stored);
    register::<MemberInfo>(&keys, "m", &stored);
    let windows = Windows::from_text(&String::from_utf8_lossy(bytes));
    assert_eq!(Windows::from_text(&windows.to_text()), windows);
    set(&keys, &stored);
}

fn register<R: Record + Clone + PartialEq + std::fmt::Debug>(
    keys: &Keyring,
    name: &str,
    stored: &Stored,
) {
    let Ok(record) = stored.open::<R>(keys, name) else {
        let mut empty = Register::<R>::default();
        empty.merge(keys, name, Some(stored));
        assert!(empty.get().is_none(), "what does not open is not held");
        return;
    };
    // What opens is bound to its fence: one step beside it opens nothing.
    let next = Fence::new((stored.fence.number() + 1) % Fence::LAST.number()).unwrap();
    let moved = Stored { fence: next, ..stored.clone() };
    assert!(moved.open::<R>(keys, name).is_err());
    let again = Stored::seal(keys, name, stored.fence, &record);
    assert_eq!(again.open::<R>(keys, name).unwrap(), record);
}

/// Whatever stands in the engine, a client that was revoked stays so.
fn set(keys: &Keyring, stored: &Stored) {
    let revoked = Fence::new(5).unwrap();
    let tombstone = Stored::seal(keys, "client/a", revoked, &Tombstone {});
    let mut set = RecordSet::default();
    set.merge(keys, &[("client/a".to_owned(), tombstone)]);
    set.merge(keys, &[("client/a".to_owned(), stored.clone())]);
    assert!(matches!(set.client("a"), Some(shared_session::register::Entry::Revoked(..))));
}

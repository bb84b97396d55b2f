//! What holds for any bytes that are read as a stored authority.

use std::time::SystemTime;

use constrained_ca::Authority;

/// Bytes are refused, or they are an authority that is written again as the same bytes and signs
/// for its own names alone.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(authority) = Authority::from_secret_bytes(bytes) else { return };
    assert_eq!(*authority.to_secret_bytes(), bytes);
    assert!(authority.leaf("other.example", SystemTime::UNIX_EPOCH).is_err());
    for name in authority.names().iter() {
        // The certificates are any bytes here, and a leaf does not depend on them.
        let leaf = authority.leaf(&name, authority.not_before());
        assert!(leaf.is_ok() || authority.not_before() == authority.not_after(), "{name}");
    }
}

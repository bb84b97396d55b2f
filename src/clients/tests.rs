//! Clients as the daemon and the commands see them.

use super::*;
use crate::clock::Clock;

#[test]
fn a_key_is_valid_until_its_client_is_revoked() {
    let (directory, clients) = clients();
    let key = add(directory.path(), "agent", ClientPolicy::default()).unwrap();
    assert_eq!(&**recognised(&clients, &key).unwrap().name(), "agent");

    revoke(directory.path(), "agent").unwrap();

    assert_eq!(recognised(&clients, &key).unwrap_err(), KeyError::Unknown);
    assert!(matches!(revoke(directory.path(), "agent"), Err(Error::Missing { .. })));
}

#[test]
fn the_file_holds_only_the_hash_of_a_key_and_only_its_owner_reads_it() {
    let (directory, _) = clients();
    let key = add(directory.path(), "agent", ClientPolicy::default()).unwrap();

    let file = directory.path().join("clients.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let random = &key.expose()[PREFIX.len()..];
    assert!(!text.contains(&random[..8]) && !text.contains(&random[random.len() - 8..]));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_policy_is_read_as_it_was_written() {
    let (directory, clients) = clients();
    let limits = ClientPolicy {
        read_only: true,
        allow: vec![Rule::parse("GET /api/spaces/**").unwrap()],
        deny: vec![Rule::parse("* /api/sys/**").unwrap()],
        expires: Some(UNIX_EPOCH + Duration::from_secs(4_000_000_000)),
        rate: Some(Rate::Fixed { count: 5, per: Duration::from_secs(1) }),
        max_requests: Some(7),
    };
    let key = add(directory.path(), "agent", limits.clone()).unwrap();

    assert_eq!(*recognised(&clients, &key).unwrap().policy(), limits);
}

#[test]
fn a_key_expires_and_its_name_is_free_again() {
    let (clock, hand) = Clock::manual();
    let directory = tempfile::tempdir().unwrap();
    let clients = Clients::new(directory.path(), clock.clone());
    let expires = Some(clock.now().wall + Duration::from_secs(60));
    let key = add(directory.path(), "agent", ClientPolicy { expires, ..ClientPolicy::default() })
        .unwrap();
    assert!(recognised(&clients, &key).is_ok());

    hand.advance(Duration::from_secs(60));

    assert_eq!(recognised(&clients, &key).unwrap_err(), KeyError::Expired);
}

#[test]
fn a_name_is_used_once_and_has_plain_characters() {
    let (directory, _) = clients();
    add(directory.path(), "agent", ClientPolicy::default()).unwrap();

    let again = add(directory.path(), "agent", ClientPolicy::default());
    assert!(matches!(again, Err(Error::Exists { .. })));
    for name in ["", "a b", "-a", "a/b", "é", &"a".repeat(65)] {
        let refused = add(directory.path(), name, ClientPolicy::default());
        assert!(matches!(refused, Err(Error::Name { .. })), "{name}");
    }
}

#[test]
fn a_damaged_file_is_reported_and_kept_and_admits_no_key() {
    let (directory, clients) = clients();
    let key = add(directory.path(), "agent", ClientPolicy::default()).unwrap();
    let path = directory.path().join("clients.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let newer = good.replace("\"version\": 1", "\"version\": 2");
    let odd = good.replace("\"read_only\"", "\"read_all\"");
    for damage in ["", "{}", &good[..good.len() / 2], &newer, &odd] {
        std::fs::write(&path, damage).unwrap();

        assert_eq!(recognised(&clients, &key).unwrap_err(), KeyError::Unreadable);
        let refused = add(directory.path(), "other", ClientPolicy::default());
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *damage);
    }
    std::fs::write(&path, good).unwrap();
    assert!(recognised(&clients, &key).is_ok());
}

#[test]
fn requests_are_counted_across_restarts_and_a_new_client_of_the_same_name_starts_at_zero() {
    let (directory, clients) = clients();
    let limits = ClientPolicy { max_requests: Some(2), ..ClientPolicy::default() };
    let key = add(directory.path(), "agent", limits.clone()).unwrap();
    assert_eq!(recognised(&clients, &key).unwrap().consume(), Ok(()));
    clients.flush();

    let restarted = Clients::new(directory.path(), Clock::system());
    let client = recognised(&restarted, &key).unwrap();
    assert_eq!(client.consume(), Ok(()));
    assert_eq!(client.consume(), Err(QuotaError::Exhausted));
    let view = restarted.statuses().unwrap().remove(0);
    assert_eq!((view.requests, view.refused, view.counted), (1, 1, Some(2)));

    revoke(directory.path(), "agent").unwrap();
    let key = add(directory.path(), "agent", limits).unwrap();
    assert_eq!(recognised(&restarted, &key).unwrap().consume(), Ok(()));
}

#[test]
fn a_rate_holds_also_when_the_file_changes() {
    let (clock, hand) = Clock::manual();
    let directory = tempfile::tempdir().unwrap();
    let clients = Clients::new(directory.path(), clock);
    let rate = Some(Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let key =
        add(directory.path(), "agent", ClientPolicy { rate, ..ClientPolicy::default() }).unwrap();
    assert_eq!(recognised(&clients, &key).unwrap().consume(), Ok(()));

    add(directory.path(), "other", ClientPolicy::default()).unwrap();

    let again = recognised(&clients, &key).unwrap().consume();
    assert_eq!(again, Err(QuotaError::Rate(Duration::from_secs(1))));
    hand.advance(Duration::from_secs(1));
    assert_eq!(recognised(&clients, &key).unwrap().consume(), Ok(()));
}

fn clients() -> (tempfile::TempDir, Clients) {
    let directory = tempfile::tempdir().unwrap();
    let clients = Clients::new(directory.path(), Clock::system());
    (directory, clients)
}

fn recognised(clients: &Clients, key: &crate::secret::Secret) -> Result<Arc<Client>, KeyError> {
    clients.authenticate(key.expose().as_bytes())
}

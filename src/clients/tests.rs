//! Clients as the daemon and the commands see them.

use super::*;
use crate::clock::Clock;
use crate::config::{Rate, RedactMode, Rule};

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
fn a_changed_file_is_noticed_at_once_and_read_when_asked() {
    let (directory, clients) = clients();
    let key = add(directory.path(), "agent", ClientPolicy::default()).unwrap();
    let look = || clients.authenticate(key.expose().as_bytes()).map(|it| it.name().to_string());
    assert_eq!(look(), Err(KeyError::Changed));
    clients.reload_blocking();
    assert_eq!(look().as_deref(), Ok("agent"));
    let path = directory.path().join("clients.json");
    let changes: [&dyn Fn(); 4] = [
        &|| drop(add(directory.path(), "other", ClientPolicy::default()).unwrap()),
        // Written in place, as an editor may do.
        &|| std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "\n").unwrap(),
        &|| std::fs::rename(&path, path.with_extension("old")).unwrap(),
        &|| std::fs::rename(path.with_extension("old"), &path).unwrap(),
    ];
    for (at, change) in changes.iter().enumerate() {
        change();
        assert_eq!(look(), Err(KeyError::Changed), "change {at}");
        clients.reload_blocking();
        assert_ne!(look(), Err(KeyError::Changed), "change {at}");
    }
    assert_eq!(look().as_deref(), Ok("agent"));
}

#[tokio::test]
async fn a_new_key_replaces_the_old_one_and_keeps_limits_and_counts() {
    let (directory, clients) = clients();
    let limits = ClientPolicy { max_requests: Some(2), ..ClientPolicy::default() };
    let old = add(directory.path(), "agent", limits.clone()).unwrap();
    let held = recognised(&clients, &old).unwrap();
    assert_eq!(consume(&held).await, Ok(()));

    let (new, before) = rotate(directory.path(), "agent").unwrap();

    assert_eq!(recognised(&clients, &old).unwrap_err(), KeyError::Unknown);
    // What the old key has opened ends.
    clients.wait_invalid(&held).await;
    let client = recognised(&clients, &new).unwrap();
    assert_eq!(*client.policy(), limits);
    assert_eq!(consume(&client).await, Ok(()));
    assert_eq!(consume(&client).await, Err(QuotaError::Exhausted));

    undo_rotation(directory.path(), "agent", &before).unwrap();

    assert!(recognised(&clients, &old).is_ok());
    assert_eq!(recognised(&clients, &new).unwrap_err(), KeyError::Unknown);
    revoke(directory.path(), "agent").unwrap();
    add(directory.path(), "agent", limits).unwrap();
    assert!(matches!(
        undo_rotation(directory.path(), "agent", &before),
        Err(Error::Changed { .. })
    ));
    assert!(matches!(rotate(directory.path(), "none"), Err(Error::Missing { .. })));
}

#[test]
fn limits_change_and_the_key_stays() {
    let (directory, clients) = clients();
    let key = add(directory.path(), "agent", ClientPolicy::default()).unwrap();

    let given = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    let change = LimitChange { given, ..LimitChange::default() };
    assert!(set(directory.path(), "agent", &change).unwrap().read_only);

    assert!(recognised(&clients, &key).unwrap().policy().read_only);
    assert!(matches!(set(directory.path(), "none", &change), Err(Error::Missing { .. })));
}

#[test]
fn ten_thousand_clients_are_found_as_one_is() {
    let (directory, clients) = clients();
    let mut keys = vec![];
    store::update(directory.path(), |contents| {
        for at in 0..10_000 {
            let (key, hash) = store::new_key();
            let (id, name) = (format!("id{at}"), format!("client{at}"));
            let limits = ClientPolicy::default();
            contents.clients.push(StoredClient {
                id,
                name,
                hash,
                created: UNIX_EPOCH,
                limits,
                key_changed: 0,
                limits_changed: 0,
                sharing: store::Sharing::default(),
            });
            keys.push(key);
        }
        Ok(())
    })
    .unwrap();
    clients.reload_blocking();

    for at in [0, 1, 4_999, 9_999] {
        let name = recognised(&clients, &keys[at]).unwrap().name().to_string();
        assert_eq!(name, format!("client{at}"));
    }
    let unknown = store::new_key().0;
    assert_eq!(recognised(&clients, &unknown).unwrap_err(), KeyError::Unknown);
}

#[test]
fn more_than_would_be_read_again_is_not_written() {
    let (directory, clients) = clients();
    let key = add(directory.path(), "agent", ClientPolicy::default()).unwrap();
    let rule = Rule::parse(&format!("GET /{}", "a".repeat(17 << 20))).unwrap();
    let limits = ClientPolicy { deny: [rule].into_iter().collect(), ..ClientPolicy::default() };

    assert!(matches!(add(directory.path(), "other", limits), Err(Error::Full { .. })));

    assert!(recognised(&clients, &key).is_ok());
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
        allow: [Rule::parse("GET /api/spaces/**").unwrap()].into_iter().collect(),
        deny: [Rule::parse("RUN *DELETE* /api/sys/**").unwrap()].into_iter().collect(),
        ask: [Rule::parse("DELETE /**").unwrap()].into_iter().collect(),
        budgets: Budgets {
            writes: Budget::parse_count("50/day"),
            deletes: Budget::parse_count("5/hour"),
            bytes: Budget::parse_bytes("200MiB/week"),
        },
        expires: Some(UNIX_EPOCH + Duration::from_secs(4_000_000_000)),
        rate: Some(Rate::Fixed { count: 5, per: Duration::from_secs(1) }),
        max_requests: Some(7),
        origin: Some(WebOrigin::parse("http://localhost:5173").unwrap()),
        redaction: RedactionPolicy {
            mode: RedactMode::All,
            resolve: true,
            share_tokens: Some("bots".to_owned()),
        },
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

#[tokio::test]
async fn requests_are_counted_across_restarts_and_a_new_client_of_the_same_name_starts_at_zero() {
    let (directory, clients) = clients();
    let limits = ClientPolicy { max_requests: Some(2), ..ClientPolicy::default() };
    let key = add(directory.path(), "agent", limits.clone()).unwrap();
    assert_eq!(consume(&recognised(&clients, &key).unwrap()).await, Ok(()));
    clients.flush();

    let restarted = Clients::new(directory.path(), Clock::system());
    let client = recognised(&restarted, &key).unwrap();
    assert_eq!(consume(&client).await, Ok(()));
    assert_eq!(consume(&client).await, Err(QuotaError::Exhausted));
    let view = restarted.statuses().unwrap().remove(0);
    assert_eq!((view.requests, view.refused, view.counted), (1, 1, Some(2)));

    revoke(directory.path(), "agent").unwrap();
    let key = add(directory.path(), "agent", limits).unwrap();
    assert_eq!(consume(&recognised(&restarted, &key).unwrap()).await, Ok(()));
}

#[tokio::test]
async fn a_rate_holds_also_when_the_file_changes() {
    let (clock, hand) = Clock::manual();
    let directory = tempfile::tempdir().unwrap();
    let clients = Clients::new(directory.path(), clock);
    let rate = Some(Rate::Fixed { count: 1, per: Duration::from_secs(1) });
    let key =
        add(directory.path(), "agent", ClientPolicy { rate, ..ClientPolicy::default() }).unwrap();
    assert_eq!(consume(&recognised(&clients, &key).unwrap()).await, Ok(()));

    add(directory.path(), "other", ClientPolicy::default()).unwrap();

    let again = consume(&recognised(&clients, &key).unwrap()).await;
    assert_eq!(again, Err(QuotaError::Rate(Duration::from_secs(1))));
    hand.advance(Duration::from_secs(1));
    assert_eq!(consume(&recognised(&clients, &key).unwrap()).await, Ok(()));
}

fn clients() -> (tempfile::TempDir, Clients) {
    let directory = tempfile::tempdir().unwrap();
    let clients = Clients::new(directory.path(), Clock::system());
    (directory, clients)
}

fn recognised(clients: &Clients, key: &crate::secret::Secret) -> Result<Arc<Client>, KeyError> {
    clients.reload_blocking();
    clients.authenticate(key.expose().as_bytes())
}

async fn consume(client: &Client) -> Result<(), QuotaError> {
    match client.consume(ClientUse::default()) {
        Err(QuotaError::Unreserved(call)) => {
            client.consume_reserved(ClientUse::default(), call).await
        }
        outcome => outcome,
    }
}

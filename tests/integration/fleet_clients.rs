//! Several machines share their named clients: keys, limits, revocations. The engine is a real one.

use std::time::Duration;

use nexudus_proxy::admin::api::{ClientChanged, ClientRecord, FleetStatus, Status};
use nexudus_proxy::clients::{self, ClientChange, ClientPolicy, LimitChange};
use nexudus_proxy::config::{AnonymousAccess, FleetShare};
use nexudus_simulator::Simulator;
use tokio::time::Instant;

use crate::fleet::{is_ready, machine, member};
use crate::support::{Daemon, DaemonSetup, FleetEngine, error_code, problem_json, secs, upstream};

const PATH: &str = "/api/spaces/coworkers";

#[tokio::test]
async fn a_key_of_one_machine_opens_the_other_until_it_is_revoked_there() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;

    let key = add(&first, "etl", read_only()).await;
    until("the key opens the other machine", async || get(&second, &key).await == 200).await;
    assert_eq!(post(&second, &key).await, "policy.read-only", "its limits came with it");

    let given = ClientPolicy { max_requests: Some(1_000), ..ClientPolicy::default() };
    let unlimited = LimitChange { clear: vec![clients::Limit::ReadOnly], given, no_delete: true };
    change(&second, ClientChange::set("etl", unlimited)).await;
    until("the change is heard of", async || {
        listed(&first).await.iter().any(|it| it.limits.max_requests == Some(1_000))
    })
    .await;

    let rotated = change(&second, ClientChange::Rotate { name: "etl".to_owned() }).await;
    let new = rotated.key.unwrap();
    until("the new key opens the first machine", async || get(&first, &new).await == 200).await;
    assert_eq!(get(&first, &key).await, 403, "the old key is dead on both");

    change(&second, ClientChange::Revoke { name: "etl".to_owned() }).await;
    until("the revocation is heard of", async || get(&first, &new).await == 403).await;
    assert!(listed(&first).await.is_empty());
    let status = fleet_status(&first).await;
    assert_eq!((status.clients, status.clients_revoked, status.clients_unopened), (0, 1, 0));
}

/// With the times of a real member.
#[tokio::test]
async fn commands_on_one_machine_reach_another_within_five_seconds() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let share = r#"["session", "clients"]"#;
    let start = async || {
        let setup = machine(&upstream, &engine).set("NEXUDUS_PROXY_FLEET_SHARE", share);
        let process = setup.start().await;
        (setup, process)
    };
    let ((one, _first), (other, second)) = (start().await, start().await);
    for setup in [&one, &other] {
        until("it has heard of the fleet", async || {
            let (_, status) = setup.run_to_end("fleet status --json").await;
            status.replace(' ', "").contains(r#""clients_stale":false"#)
        })
        .await;
    }

    let (_, said) = one.run_to_end("client add etl --json").await;
    let added = Instant::now();
    assert!(said.contains("the other members of the fleet have this within 5 s"), "{said}");
    let key = said.split('"').find(|word| word.starts_with("nxp_")).unwrap().to_owned();
    let status = async || {
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nNexudus-Proxy-Key: {key}\r\n\
                               Connection: close\r\n\r\n"
        );
        let answer = String::from_utf8_lossy(&second.raw(&request).await).into_owned();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    until("the key opens the other machine", async || status().await == "200").await;
    assert!(added.elapsed() < secs(5), "{:?}", added.elapsed());

    one.run("client revoke etl").await;
    let revoked = Instant::now();
    until("the key is dead", async || status().await == "403").await;
    assert!(revoked.elapsed() < secs(5), "{:?}", revoked.elapsed());
    let (_, said) = other.run_to_end("fleet status").await;
    assert!(said.contains("\nclients    0, 1 revoked\n"), "{said}");
}

#[tokio::test]
async fn a_machine_that_joins_brings_its_clients_and_keeps_their_keys() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let first = sharing(&upstream, &engine, "first").run().await;
    let theirs = add(&first, "etl", ClientPolicy::default()).await;
    until_known(&first, 1).await;
    let alone = sharing(&upstream, &engine, "second").set(|config| {
        config.fleet.share = vec![FleetShare::Session];
    });
    let alone = alone.run().await;
    let ours = add(&alone, "etl", read_only()).await;
    let other = add(&alone, "report", read_only()).await;

    let second = alone.restart().await.set(|config| {
        config.fleet.share = vec![FleetShare::Session, FleetShare::Clients];
    });
    let second = second.run().await;
    assert_eq!(get(&second, &ours).await, 200, "its own clients are served from the start");

    for daemon in [&first, &second] {
        until_known(daemon, 3).await;
        for key in [&theirs, &ours, &other] {
            until("each key works on each machine", async || get(daemon, key).await == 200).await;
        }
        let mut names: Vec<_> = listed(daemon).await.into_iter().map(|it| it.name).collect();
        names.sort();
        assert_eq!((names.len(), names[0].as_str(), names[2].as_str()), (3, "etl", "report"));
        assert!(names[1].starts_with("etl-"), "the second of one name has another: {names:?}");
        assert_eq!(post(daemon, &ours).await, "policy.read-only");
    }
}

#[tokio::test]
async fn no_engine_brings_a_revoked_client_back() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let revoked = add(&first, "revoked", ClientPolicy::default()).await;
    let kept = add(&first, "kept", ClientPolicy::default()).await;
    for key in [&revoked, &kept] {
        until("both machines know the key", async || get(&second, key).await == 200).await;
    }
    until_known(&first, 2).await;
    let backup = engine.backup().await;
    change(&second, ClientChange::Revoke { name: "revoked".to_owned() }).await;
    until("the revocation is heard of", async || get(&first, &revoked).await == 403).await;

    let port = engine.stop();
    for (content, what) in [(Some(backup), "an old snapshot"), (None, "nothing")] {
        let engine = match content {
            Some(backup) => FleetEngine::start_from(port, &backup).await,
            None => FleetEngine::start_again(port).await,
        };
        until("the members write again what they know", async || {
            let values = engine.list(&format!("HVALS {}", set_of(&upstream))).await;
            let mark = |value: &Vec<u8>| value.iter().find(|byte| !byte.is_ascii_digit()).copied();
            let mut marks: Vec<_> = values.iter().filter_map(mark).collect();
            marks.sort_unstable();
            marks == b"!:"
        })
        .await;
        for daemon in [&first, &second] {
            assert_eq!(get(daemon, &revoked).await, 403, "{what}");
            assert_eq!(get(daemon, &kept).await, 200, "{what}");
        }
        engine.stop();
    }
}

#[tokio::test]
async fn a_machine_that_is_cut_off_for_long_refuses_keys_and_serves_others() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let member = |name| {
        sharing(&upstream, &engine, name).set(|config| config.fleet.clients_stale = secs(60))
    };
    let open = member("open").run().await;
    let closed =
        member("closed").set(|config| config.policy.anonymous = AnonymousAccess::None).run().await;
    let key = add(&open, "etl", ClientPolicy::default()).await;
    let here =
        ClientChange::Add { name: "run-1".to_owned(), limits: ClientPolicy::default(), here: true };
    let here = change(&open, here).await.key.unwrap();
    for daemon in [&open, &closed] {
        until("both machines know the key", async || get(daemon, &key).await == 200).await;
    }
    assert_eq!(get(&closed, &here).await, 403, "a key of a command stays where it was made");

    let port = engine.stop();
    for daemon in [&open, &closed] {
        assert_eq!(get(daemon, &key).await, 200, "not at once");
    }
    for daemon in [&open, &closed] {
        until("the key is refused", async || get(daemon, &key).await == 403).await;
    }

    let refusal = problem_json(with_key(&open, &key).await).await;
    assert_eq!(refusal["code"], "guard.client");
    assert!(refusal["detail"].as_str().unwrap().contains("fleet.clients_stale"), "{refusal}");
    assert!(refusal["hint"].as_str().unwrap().contains("fleet status"), "{refusal}");
    assert_eq!(open.get(PATH).await.status(), 200, "callers without a key are served");
    assert_eq!(get(&open, &here).await, 200, "no other machine could have revoked that key");
    assert!(fleet_status(&open).await.clients_stale);
    for (daemon, is_ready) in [(&open, true), (&closed, false)] {
        let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
        let readiness = status.readiness;
        assert_eq!(readiness.ready, is_ready, "{readiness:?}");
        let said =
            readiness.reasons.iter().any(|reason| reason.sentence.contains("keys are refused"));
        assert!(said, "{readiness:?}");
    }

    let _engine = FleetEngine::start_again(port).await;
    for daemon in [&open, &closed] {
        until("the key is served again", async || get(daemon, &key).await == 200).await;
    }
}

#[tokio::test]
async fn a_restart_without_the_engine_knows_the_clients_and_how_long_it_is_cut_off() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let first = sharing(&upstream, &engine, "first").stored().run().await;
    let key = add(&first, "etl", ClientPolicy::default()).await;
    let second = stale_after(sharing(&upstream, &engine, "second").stored(), 300).run().await;
    until("it knows the key", async || get(&second, &key).await == 200).await;

    let second = second.restart().await;
    let _port = engine.stop();
    let second = second.run().await;
    assert_eq!(get(&second, &key).await, 200, "from its disk");
    let revoked_here = change(&second, ClientChange::Revoke { name: "etl".to_owned() }).await;
    assert!(revoked_here.key.is_none());
    assert_eq!(get(&second, &key).await, 403);
    let own = add(&second, "own", ClientPolicy::default()).await;
    assert_eq!(get(&second, &own).await, 200, "a key that no other machine knows");

    let first = stale_after(first.restart().await, 30).run().await;
    until("its time is over", async || get(&first, &key).await == 403).await;
    let first = first.restart().await.run().await;
    assert_eq!(get(&first, &key).await, 403, "another restart gives no new time");
    assert_eq!(first.get(PATH).await.status(), 200);
}

#[tokio::test]
async fn what_was_planted_in_the_engine_is_refused_and_said() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let key = add(&first, "etl", ClientPolicy::default()).await;
    until("both machines know the key", async || get(&second, &key).await == 200).await;
    let set = set_of(&upstream);
    let records = engine.list(&format!("HKEYS {set}")).await;
    assert_eq!(records.len(), 1);
    let record = String::from_utf8(records[0].clone()).unwrap();

    for name in ["client/planted", &record] {
        // Of the year 2100, so that it is newer than what the members have.
        engine.give(&format!("HSET {set} {name} 4102444800000000:planted")).await;
    }
    engine.give(&format!("INCR {}", set.replace(":set", ":revision"))).await;

    for daemon in [&first, &second] {
        until("both are said", async || fleet_status(daemon).await.clients_unopened == 2).await;
        until("the key is refused", async || get(daemon, &key).await == 403).await;
        let refusal = problem_json(with_key(daemon, &key).await).await;
        assert!(refusal["detail"].as_str().unwrap().contains("does not open"), "{refusal}");
        assert_eq!(daemon.get(PATH).await.status(), 200);
        assert!(daemon.metrics().await.contains("fleet_clients_unopened 2"));
    }
    // As its hint says.
    change(&first, ClientChange::Revoke { name: "etl".to_owned() }).await;
    let key = add(&first, "etl", ClientPolicy::default()).await;
    until("a new one works", async || get(&second, &key).await == 200).await;
    until("one is left", async || fleet_status(&second).await.clients_unopened == 1).await;
    engine.give(&format!("HDEL {set} client/planted")).await;
    engine.give(&format!("INCR {}", set.replace(":set", ":revision"))).await;
    until("none is left", async || fleet_status(&second).await.clients_unopened == 0).await;
}

#[tokio::test]
async fn no_key_no_hash_and_no_name_of_a_client_is_in_the_engine() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let key = add(&first, "marker-client", read_only()).await;
    until("both machines know the key", async || get(&second, &key).await == 200).await;
    let file = std::fs::read_to_string(second.home().join("state/clients.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let hash = file["clients"][0]["key_sha256"].as_str().unwrap();

    let backup = engine.backup().await;

    let holds = |text: &[u8]| backup.windows(text.len()).any(|part| part == text);
    assert!(holds(b"client/"), "the backup has the record");
    let raw: Vec<u8> = (0..hash.len() / 2)
        .map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    for secret in [key.as_bytes(), &key.as_bytes()[4..20], hash.as_bytes(), &raw, b"marker-client"]
    {
        assert!(!holds(secret), "the backup holds {}", String::from_utf8_lossy(secret));
    }
}

/// Starts two members that share their clients, and have heard of the fleet.
async fn two_members(upstream: &Simulator, engine: &FleetEngine) -> (Daemon, Daemon) {
    let first = sharing(upstream, engine, "first").run().await;
    first.session_until(is_ready).await;
    let second = sharing(upstream, engine, "second").run().await;
    second.session_until(is_ready).await;
    for daemon in [&first, &second] {
        until_known(daemon, 0).await;
    }
    (first, second)
}

fn sharing(upstream: &Simulator, engine: &FleetEngine, name: &str) -> DaemonSetup {
    member(upstream, engine, name)
        .set(|config| config.fleet.share = vec![FleetShare::Session, FleetShare::Clients])
}

/// A tenth of the time passes, as for every time of these members.
fn stale_after(setup: DaemonSetup, seconds: u64) -> DaemonSetup {
    setup.set(move |config| config.fleet.clients_stale = secs(seconds))
}

/// The key of the set, for the origin of the simulator.
fn set_of(upstream: &Simulator) -> String {
    format!("{{nexudus-proxy:default@localhost:{}}}:set", upstream.address().port())
}

fn read_only() -> ClientPolicy {
    ClientPolicy { read_only: true, ..ClientPolicy::default() }
}

async fn add(daemon: &Daemon, name: &str, limits: ClientPolicy) -> String {
    change(daemon, ClientChange::add(name, limits)).await.key.unwrap()
}

async fn change(daemon: &Daemon, change: ClientChange) -> ClientChanged {
    daemon.admin().await.post_json("/v1/clients", &change).await.unwrap()
}

async fn listed(daemon: &Daemon) -> Vec<clients::ClientStatus> {
    let listed: Vec<ClientRecord> = daemon.admin().await.get("/v1/clients").await.unwrap();
    listed.into_iter().map(clients::ClientStatus::from).collect()
}

async fn fleet_status(daemon: &Daemon) -> FleetStatus {
    daemon.admin().await.get("/v1/fleet").await.unwrap()
}

/// Waits until the member has heard of the fleet and knows so many clients.
async fn until_known(daemon: &Daemon, clients: u64) {
    until("the member knows the fleet", async || {
        let status = fleet_status(daemon).await;
        !status.clients_stale && status.clients >= clients
    })
    .await;
}

async fn with_key(daemon: &Daemon, key: &str) -> reqwest::Response {
    daemon.request("GET", PATH).header("Nexudus-Proxy-Key", key).send().await.unwrap()
}

async fn get(daemon: &Daemon, key: &str) -> u16 {
    with_key(daemon, key).await.status().as_u16()
}

/// Sends a write, and returns why it is refused.
async fn post(daemon: &Daemon, key: &str) -> String {
    let request = daemon.request("POST", PATH).header("Nexudus-Proxy-Key", key).body("{}");
    error_code(request.send().await.unwrap()).await
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(secs(60), wait).await.unwrap_or_else(|_| panic!("not yet: {what}"));
}

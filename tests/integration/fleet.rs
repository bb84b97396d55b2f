//! Several machines share one session: one login, one refresh token, one lock, one logout. The engine
//! between them is a real one.

use nexudus_proxy::admin::api::FleetStatus;
use nexudus_proxy::config::{Config, EngineUrl, FleetDurability};
use nexudus_proxy::credentials::SecondFactor;
use nexudus_proxy::secret::Secret;
use nexudus_proxy::session::{SessionState, SessionStatus};
use nexudus_simulator::Simulator;

use crate::support::{
    Daemon, DaemonSetup, FleetEngine, ProcessSetup, daemon, grant_types, secs, upstream,
};

#[tokio::test]
async fn one_login_serves_two_machines_and_either_renews_it() {
    let upstream = upstream().set(|turn| turn.token.access_life = secs(12)).start().unwrap();
    let engine = FleetEngine::start().await;
    let first = machine(&upstream, &engine).start().await;
    assert_eq!(first.status("/api/spaces/coworkers").await, 200);

    let mut second = machine(&upstream, &engine).start().await;
    assert_eq!(second.status("/api/spaces/coworkers").await, 200);
    assert_eq!(grant_types(&upstream), ["password"], "the second has the session of the first");
    let old = second.wait_for_log(is_resumed).await["generation"].clone();
    first.kill();
    second.wait_for_log(|line| is_resumed(line) && line["generation"] != old).await;

    assert_eq!(second.status("/api/spaces/coworkers").await, 200);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
    assert!(second.stop().await.success());
}

#[tokio::test]
async fn machines_serve_on_without_their_engine_and_agree_when_it_is_back() {
    let upstream = upstream().set(|turn| turn.token.access_life = secs(15)).start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let old = first.running.session().status().generation;

    let port = engine.stop();
    for member in [&first, &second] {
        assert_eq!(member.get("/api/spaces/coworkers").await.status(), 200);
    }
    // The new engine knows nothing: the members tell it.
    let _engine = FleetEngine::start_again(port).await;
    let newer = |status: &SessionStatus| is_ready(status) && status.generation > old;
    let (one, other) =
        (first.session_until(newer).await.generation, second.session_until(newer).await.generation);

    assert_eq!(one, other);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
    for member in [&first, &second] {
        assert_eq!(member.get("/api/spaces/coworkers").await.status(), 200);
    }
}

#[tokio::test]
async fn a_lock_a_logout_and_a_login_reach_the_other_machine() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;

    first.running.session().lock().await;
    second.session_until(|status| status.state == SessionState::Locked).await;
    assert_eq!(second.get("/api/spaces/coworkers").await.status(), 423);
    second.running.session().unlock().await;
    first.session_until(is_ready).await;

    first.running.session().set_locked(true, false).await;
    assert_eq!(first.running.session().status().state, SessionState::Locked);
    assert_eq!(second.get("/api/spaces/coworkers").await.status(), 200, "the lock was for one");
    first.running.session().unlock().await;
    first.session_until(is_ready).await;

    second.running.session().log_out().await;
    first.session_until(|status| status.state == SessionState::NotLoggedIn).await;
    assert_eq!(grant_types(&upstream), ["password"]);
    first.running.session().credentials_changed().await;
    first.session_until(is_ready).await;
    second.session_until(is_ready).await;
    assert_eq!(grant_types(&upstream), ["password", "password"]);
    assert_eq!(second.get("/api/spaces/coworkers").await.status(), 200);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_renewed_once_for_all_machines() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    for member in [&first, &second] {
        assert_eq!(member.get("/api/spaces/coworkers").await.status(), 200);
    }
    let old = first.running.session().status().generation;

    upstream.revoke_access_tokens();
    let (one, other) =
        tokio::join!(first.get("/api/spaces/coworkers"), second.get("/api/spaces/coworkers"));

    assert_eq!((one.status().as_u16(), other.status().as_u16()), (200, 200));
    let newer = |status: &SessionStatus| is_ready(status) && status.generation > old;
    let one = first.session_until(newer).await.generation;
    assert_eq!(second.session_until(newer).await.generation, one);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

#[tokio::test]
async fn a_restart_needs_neither_the_engine_nor_a_login() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let first = member(&upstream, &engine, "first").stored().run().await;
    first.session_until(is_ready).await;

    let first = first.restart().await;
    let _port = engine.stop();
    let first = first.run().await;

    first.session_until(is_ready).await;
    assert_eq!(first.get("/api/spaces/coworkers").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn a_machine_that_leaves_ends_no_session_but_its_own() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let status: FleetStatus = second.admin().await.get("/v1/fleet").await.unwrap();
    assert!(status.configured && status.connected && status.committed, "{status:?}");
    assert_eq!(status.name, "second");
    assert!(second.metrics().await.contains("fleet_engine_up 1"), "the metrics tell of the fleet");

    let left: FleetStatus = first.admin().await.post("/v1/fleet/leave").await.unwrap();

    assert!(left.left, "{left:?}");
    first.session_until(|status| status.state == SessionState::NotLoggedIn).await;
    assert_eq!(first.get("/api/spaces/coworkers").await.status(), 503);
    assert_eq!(second.get("/api/spaces/coworkers").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn the_engine_and_its_backups_hold_no_secret_in_the_clear() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, _second) = two_members(&upstream, &engine).await;
    assert_eq!(first.get("/api/spaces/coworkers").await.status(), 200);

    let backup = engine.backup().await;

    let holds = |text: &str| backup.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("nexudus-proxy:"), "the backup has the records");
    let refresh = upstream.live_refresh_tokens().into_iter().flat_map(|(one, two)| [one, two]);
    let secrets = upstream.live_access_tokens().into_iter().chain(refresh);
    let known = [crate::support::EMAIL, crate::support::PASSWORD].map(str::to_owned);
    for secret in secrets.chain(known).filter(|secret| !secret.is_empty()) {
        assert!(!holds(&secret), "the backup holds {secret}");
    }
}

#[tokio::test]
async fn a_fleet_without_a_key_is_no_fleet_and_no_machine_alone() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let keyless = member(&upstream, &engine, "first").set(|config| {
        config.fleet.key_command = vec![];
    });

    let error = keyless.start().await.unwrap_err();

    assert_eq!(error.to_string(), "fleet.engine is set, and there is no key of the fleet");
    assert_eq!(grant_types(&upstream), [""; 0]);
}

#[tokio::test]
async fn the_engines_user_and_the_name_of_a_machine_are_configured() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    engine.command("ACL SETUSER proxy on >marker-engine ~* &* +@all").await;
    let with_password = |password: &'static str| {
        member(&upstream, &engine, "").set(move |config| {
            config.fleet.username = Some("proxy".to_owned());
            config.fleet.password_command = ["printf", password].map(str::to_owned).to_vec();
            config.fleet.name = Some("etl-1".to_owned());
        })
    };

    let refused = with_password("another").run().await;
    let let_in = with_password("marker-engine").run().await;

    let_in.session_until(is_ready).await;
    let status: FleetStatus = let_in.admin().await.get("/v1/fleet").await.unwrap();
    assert_eq!((status.name.as_str(), status.connected), ("etl-1", true));
    let status: FleetStatus = refused.admin().await.get("/v1/fleet").await.unwrap();
    assert_eq!(status.trouble.as_deref(), Some("the engine refuses this user"));
    assert_eq!(grant_types(&upstream), ["password"], "without the engine nothing is spent");
}

#[tokio::test]
async fn a_write_waits_for_the_replicas_unless_nothing_is_to_be_waited_for() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let _replica = engine.start_replica().await;
    let durability = async |daemon: &Daemon| {
        daemon.session_until(is_ready).await;
        let status: FleetStatus = daemon.admin().await.get("/v1/fleet").await.unwrap();
        status.durability
    };

    let waits = member(&upstream, &engine, "one").run().await;
    assert_eq!(durability(&waits).await.as_deref(), Some("replicas"));
    waits.stop().await;
    engine.command("FLUSHALL").await;
    let hastens = member(&upstream, &engine, "two")
        .set(|config| config.fleet.durability = FleetDurability::None)
        .run()
        .await;

    assert_eq!(durability(&hastens).await.as_deref(), Some("none"));
}

#[tokio::test]
async fn a_machine_that_is_cut_off_refuses_everybody_where_that_is_configured() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let closed = member(&upstream, &engine, "first")
        .set(|config| config.fleet.fail_closed_after = secs(1))
        .set(|config| config.session.wait = std::time::Duration::ZERO)
        .run()
        .await;
    closed.session_until(is_ready).await;

    let port = engine.stop();
    closed.session_until(|status| !is_ready(status)).await;
    let answer = closed.get("/api/spaces/coworkers").await;
    assert_eq!(answer.status(), 503);
    let _engine = FleetEngine::start_again(port).await;

    closed.session_until(is_ready).await;
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn the_engines_trust_anchors_are_read_at_the_start() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let setup = member(&upstream, &engine, "first").set(|config| {
        config.fleet.ca_file = Some("/nowhere/ca.pem".into());
    });

    let error = setup.start().await.unwrap_err();

    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_ports_that_sentinel_announces_are_not_forbidden() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = move |ports: Vec<u16>| {
        let mut config = Config::default();
        config.fleet.engine = Some(EngineUrl::parse("rediss-sentinel://h/main").unwrap());
        config.fleet.ports = ports;
        // In a thread of its own: the limit cannot be removed again.
        let confined = std::thread::spawn(move || {
            let confinement = nexudus_proxy::daemon::landlock::confine(&config);
            let is_confined = format!("{confinement:?}").starts_with("Ports");
            (is_confined, std::net::TcpStream::connect(address).is_ok())
        });
        confined.join().unwrap()
    };

    assert!(connect(vec![address.port()]).1);
    let (is_confined, is_connected) = connect(vec![]);
    assert!(!is_confined || !is_connected, "another port is forbidden");
}

#[tokio::test]
async fn a_person_is_asked_before_the_session_of_others_ends() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (one, other) = (machine(&upstream, &engine), machine(&upstream, &engine));
    let (first, second) = (one.start().await, other.start().await);
    assert_eq!(first.status("/api/spaces/coworkers").await, 200);
    assert_eq!(second.status("/api/spaces/coworkers").await, 200);

    // A member hears of another by its next poll.
    let members = async || one.run_to_end("fleet status").await.1.matches("\nmember ").count();
    while members().await < 2 {}
    for line in ["lock", "logout"] {
        let refused = one.run_to_end(line).await;
        assert!(!refused.0 && refused.1.contains("--yes"), "no terminal to ask at: {refused:?}");
    }
    one.run("lock --here").await;
    assert_eq!(first.status("/api/spaces/coworkers").await, 423);
    assert_eq!(second.status("/api/spaces/coworkers").await, 200);
    assert_eq!(members().await, 2);
    one.run("lock --yes").await;
    while second.status("/api/spaces/coworkers").await != 423 {}
    one.run("logout --yes").await;
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn an_account_with_codes_logs_in_while_cut_off_only_where_that_is_configured() {
    const SECRET: &str = "JBSWY3DPEHPK3PXP";
    let account = crate::support::ada().with_totp_secret(SECRET);
    let upstream = Simulator::builder().account(account);
    let upstream = upstream.set(|turn| turn.token.access_life = secs(8)).start().unwrap();
    let engine = FleetEngine::start().await;
    let with_code = |name, allowed| {
        member(&upstream, &engine, name)
            .with_second_factor(SecondFactor::Shared(Secret::new(SECRET)))
            .set(move |config| config.fleet.partition_login = allowed)
    };
    let one = with_code("one", true).run().await;
    one.session_until(is_ready).await;
    let other = with_code("other", false).run().await;
    other.session_until(is_ready).await;

    let _port = engine.stop();
    let status = async |daemon: &Daemon| -> FleetStatus {
        daemon.admin().await.get("/v1/fleet").await.unwrap()
    };
    // A code is good for one login, so that the next one may be half a minute away.
    let apart = async {
        while !status(&one).await.apart {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(secs(60), apart).await.expect("no session of its own");

    // The token of the first login ends, and this account may not log in on its own.
    // Time alone ends it: nothing wakes a watcher of the session.
    let ended = async {
        while is_ready(&other.running.session().status()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(secs(60), ended).await.expect("its token does not end");
    assert!(!status(&other).await.apart);
}

/// Starts two members, which have the session of one login.
pub(crate) async fn two_members(upstream: &Simulator, engine: &FleetEngine) -> (Daemon, Daemon) {
    let first = member(upstream, engine, "first").run().await;
    first.session_until(is_ready).await;
    let second = member(upstream, engine, "second").run().await;
    second.session_until(is_ready).await;
    assert_eq!(grant_types(upstream), ["password"]);
    (first, second)
}

/// A member whose times are a tenth of the real ones.
pub(crate) fn member(upstream: &Simulator, engine: &FleetEngine, name: &str) -> DaemonSetup {
    let (engine, name) = (EngineUrl::parse(&engine.url()).unwrap(), name.to_owned());
    daemon(upstream).set(|config: &mut Config| {
        config.fleet.engine = Some(engine);
        config.fleet.key_command = ["printf", &"5e".repeat(32)].map(str::to_owned).to_vec();
        config.fleet.name = Some(name);
        config.fleet.timing_divisor = 10;
    })
}

/// The real program on a machine of its own.
pub(crate) fn machine(upstream: &Simulator, engine: &FleetEngine) -> ProcessSetup {
    let setup = ProcessSetup::new(upstream).set("NEXUDUS_PROXY_FLEET_ENGINE", &engine.url());
    std::fs::write(setup.home().join("handed/nexudus-fleet-key"), "5e".repeat(32)).unwrap();
    setup
}

pub(crate) fn is_ready(status: &SessionStatus) -> bool {
    status.state == SessionState::Ready
}

fn is_resumed(line: &serde_json::Value) -> bool {
    line["message"] == "session resumed"
}

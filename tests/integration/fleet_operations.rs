//! An operator's view of a fleet, and commands on it: its status, its readiness, the end of all its chains;
//! and what a refresh leaves behind whose answer tells nothing.

use nexudus_proxy::admin::api::{FleetRole, FleetStatus, LogoutResult};
use nexudus_proxy::session::SessionStatus;
use nexudus_simulator::{Fault, FaultAction, Route};
use serde_json::Value;

use crate::fleet::{is_ready, machine, member, two_members};
use crate::support::{
    Daemon, EVENT_TIMEOUT, FleetEngine, ProcessSetup, grant_types, secs, upstream,
};

#[tokio::test]
async fn a_fleet_tells_its_members_versions_fences_lag_and_durability() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let _replica = engine.start_replica().await;
    let setup = machine(&upstream, &engine).set("NEXUDUS_PROXY_FLEET_NAME", "etl-1");
    let process = setup.start().await;
    assert_eq!(process.status("/api/spaces/coworkers").await, 200);

    let json = idle_status(&setup).await;
    let (succeeded, text) = setup.run_to_end("fleet status").await;

    let version = env!("CARGO_PKG_VERSION");
    let own = &json["members"][0];
    assert_eq!((&own["name"], &own["version"]), (&"etl-1".into(), &version.into()), "{json}");
    assert!(own["seen_s"].is_u64() && own["here"] == true, "{json}");
    assert_eq!((&json["role"], &json["lease"]), (&"member".into(), &Value::Null), "{json}");
    assert_eq!(json["durability"], "replicas", "{json}");
    let number = |name: &str| json[name].as_u64().unwrap();
    assert!(number("generation") > 0 && number("epoch") == number("generation"), "{json}");
    assert!(number("fence") >= number("generation"), "{json}");
    let session = format!("generation {}, epoch {}, fence", number("generation"), number("epoch"));
    for line in [
        format!("engine     {}, round trip ", engine.url().trim_start_matches("redis://")),
        format!("session    {session} "),
        "role       member; the lease is free".to_owned(),
        "durability replicas".to_owned(),
        format!("member     etl-1 {version}, here"),
    ] {
        assert!(text.lines().any(|one| one.starts_with(&line)), "{line}\n{text}");
    }
    assert!(succeeded);
}

#[tokio::test]
async fn the_holder_of_the_lease_is_known_to_all_members() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let held = upstream.hold(Route::Token);
    let session = first.running.session().clone();
    let renewing = tokio::spawn(async move { session.refresh().await });

    let holder = until(&first, |status| status.role == FleetRole::Holder).await;
    let other = until(&second, |status| status.lease.as_deref() == Some("first")).await;

    assert!(holder.holds_lease);
    assert_eq!(other.role, FleetRole::Member);
    assert!(other.members.iter().any(|one| one.holds_lease && !one.here), "{other:?}");
    held.release();
    renewing.await.unwrap().unwrap();
    until(&first, |status| status.role == FleetRole::Member && status.committed).await;
    until(&second, |status| status.lease.is_none()).await;
}

#[tokio::test]
async fn a_member_is_ready_only_while_it_can_serve_and_says_why_not() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    assert_eq!(readiness(&second).await, (200, vec![]));

    first.running.session().lock().await;
    second.session_until(|status| !is_ready(status)).await;
    assert_eq!(readiness(&second).await, (503, vec!["session.locked".to_owned()]));
    first.running.session().unlock().await;
    second.session_until(is_ready).await;
    assert_eq!(readiness(&second).await, (200, vec![]));

    let _left: FleetStatus = first.admin().await.post("/v1/fleet/leave").await.unwrap();
    assert_eq!(readiness(&first).await, (503, vec!["session.not-logged-in".to_owned()]));
    second.running.session().log_out().await;
    assert_eq!(readiness(&second).await, (503, vec!["session.not-logged-in".to_owned()]));
}

#[tokio::test]
async fn a_member_that_fails_closed_is_not_ready_while_the_engine_is_away() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let closed = member(&upstream, &engine, "first")
        .set(|config| config.fleet.fail_closed_after = secs(1))
        .set(|config| config.session.wait = std::time::Duration::ZERO)
        .run()
        .await;
    closed.session_until(is_ready).await;

    let _port = engine.stop();
    closed.session_until(|status| !is_ready(status)).await;

    let (status, reasons) = readiness(&closed).await;
    assert_eq!((status, reasons), (503, vec!["session.unavailable".to_owned()]));
}

#[tokio::test]
async fn a_logout_can_end_every_chain_of_the_fleet_at_nexudus() {
    let upstream = upstream().set(|turn| turn.token.access_life = secs(10)).start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    // Cut off, each member opens a session of its own when the shared token ends.
    let port = engine.stop();
    until(&first, |status| status.apart).await;
    until(&second, |status| status.apart).await;
    let _engine = FleetEngine::start_again(port).await;
    until(&first, |status| status.strays == 2).await;
    assert_eq!(upstream.live_refresh_tokens().len(), 3, "one is shared, and two are strays");

    let done: LogoutResult = first.admin().await.post("/v1/logout?revoke=true").await.unwrap();

    let chains = done.chains.unwrap();
    assert_eq!((done.revoked, done.not_revoked), (Some(3), None), "{chains:?}");
    assert_eq!((chains.spares, chains.strays), (0, 2), "{chains:?}");
    assert_eq!(upstream.live_refresh_tokens(), []);
    until(&second, |status| status.logged_out && status.strays == 0).await;
}

#[tokio::test]
async fn a_person_is_told_which_refresh_tokens_of_the_fleet_were_deleted() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let setup = machine(&upstream, &engine);
    let process = setup.start().await;
    assert_eq!(process.status("/api/spaces/coworkers").await, 200);

    let (succeeded, said) = setup.run_to_end("logout --revoke --yes").await;

    assert!(succeeded && said.contains("deleted 1 refresh token of the fleet ("), "{said}");
    assert_eq!(upstream.live_refresh_tokens(), []);
    assert_eq!(process.status("/api/spaces/coworkers").await, 503);
}

#[tokio::test]
async fn a_refresh_that_a_gateway_answered_may_have_been_spent_and_is_its_owners_to_settle() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let first = member(&upstream, &engine, "first").stored().run().await;
    first.session_until(is_ready).await;
    let second = member(&upstream, &engine, "second").run().await;
    second.session_until(is_ready).await;
    // The refresh is carried out, and its answer is a gateway's.
    let lost = Fault::on("/api/token", FaultAction::HtmlError(502)).grant("refresh_token");
    upstream.fault(lost.executed());

    let failed = first.running.session().refresh().await;

    assert!(failed.is_err());
    let first = first.restart().await;
    let calls = grant_types(&upstream).len();
    assert_eq!(second.get("/api/spaces/coworkers").await.status(), 200, "the token serves on");
    let before = fleet_status(&second).await.fence;
    let session = second.running.session().clone();
    let renewing = tokio::spawn(async move { session.refresh().await });
    until(&second, |status| status.fence > before).await;
    until(&second, |status| status.role == FleetRole::Member).await;
    assert_eq!(grant_types(&upstream).len(), calls, "the other leaves it to the owner");
    renewing.abort();

    // The owner is back: it finds that the token was spent, and logs in.
    upstream.set(|settings| settings.faults.clear());
    let old = second.running.session().status().generation;
    let first = first.run().await;
    first.session_until(is_ready).await;
    let session = first.running.session().clone();
    let renewing = tokio::spawn(async move { session.refresh().await });
    until(&first, |status| status.generation > old && status.committed).await;
    let newer = |status: &SessionStatus| is_ready(status) && status.generation > old;
    let (one, other) = (first.session_until(newer).await, second.session_until(newer).await);
    renewing.abort();
    assert_eq!(one.generation, other.generation);
    assert_eq!(grant_types(&upstream)[calls..], ["refresh_token", "password"]);
}

/// Waits until the first pair is written and the lease given back, which its first response waits for only
/// as long as a replica may take. Returns what the command prints then.
async fn idle_status(setup: &ProcessSetup) -> Value {
    let waiting = async {
        loop {
            let (_, json) = setup.run_to_end("fleet status --json").await;
            let json: Value = serde_json::from_str(&json).unwrap();
            if json["role"] == "member" {
                return json;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, waiting).await.expect("the member keeps the lease")
}

/// Waits until the status of the fleet satisfies `wanted`.
async fn until(daemon: &Daemon, wanted: impl Fn(&FleetStatus) -> bool) -> FleetStatus {
    let waiting = async {
        loop {
            let status = fleet_status(daemon).await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let status = tokio::time::timeout(EVENT_TIMEOUT, waiting).await;
    match status {
        Ok(status) => status,
        Err(_) => panic!("the fleet stays {:?}", fleet_status(daemon).await),
    }
}

async fn fleet_status(daemon: &Daemon) -> FleetStatus {
    daemon.admin().await.get("/v1/fleet").await.unwrap()
}

/// Asks whether the daemon is ready; returns the status and the codes of the reasons why not.
async fn readiness(daemon: &Daemon) -> (u16, Vec<String>) {
    let answer = daemon.admin_text("/readyz").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let reasons = body["reasons"].as_array().unwrap();
    let codes = reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), codes)
}

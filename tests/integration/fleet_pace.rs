//! Several machines keep one pace, and count the use of one key together. The engine between them is a
//! real one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexudus_proxy::admin::api::{ClientChanged, FleetStatus};
use nexudus_proxy::clients::{self, Budget, Budgets, ClientChange, ClientPolicy};
use nexudus_proxy::config::{Config, EngineUrl, FleetShare, Rate};
use nexudus_proxy::session::SessionState;
use nexudus_simulator::{Scope, Simulator};
use reqwest::Response;

use crate::support::throttle::{Kind, READ, window};
use crate::support::{
    Daemon, DaemonProcess, EVENT_TIMEOUT, FleetEngine, ProcessSetup, daemon, problem_json, upstream,
};

#[tokio::test]
#[ignore = "takes half a minute of real time; make test runs it"]
async fn two_machines_stay_within_one_limit_and_ask_the_engine_twice_a_second_at_most() {
    let upstream = throttled(LIMIT, 5_000);
    let engine = FleetEngine::start().await;
    let (one, other) = (machine(&upstream, &engine), machine(&upstream, &engine));
    let (first, second) = (one.start().await, other.start().await);
    assert_eq!(second.status("/api/auth/me").await, 200);

    // One of them is throttled, and learns what the other then knows.
    let told = "/5s, paced by the fleet";
    let learned = async {
        while !other.run_to_end("fleet status").await.1.contains(told) {
            load(&first, LIMIT + 2, Duration::ZERO).await;
        }
    };
    tokio::time::timeout(3 * EVENT_TIMEOUT, learned).await.expect("not learned, or not told");
    let (before, began, calls) = (seen(&upstream).len(), Instant::now(), engine.scripts().await);
    let lasts = Duration::from_secs(14);
    let served = tokio::join!(load(&first, 4, lasts), load(&second, 4, lasts));
    let (elapsed, calls) = (began.elapsed().as_secs_f64(), engine.scripts().await - calls);

    // The window that begins before still counts: the machine that learned has used it.
    let all = seen(&upstream);
    let passed: Vec<_> =
        all.iter().filter(|(_, status)| *status == 200).map(|(at, _)| *at).collect();
    assert!(densest(&passed, 5_000) * 100 <= LIMIT * 105, "{passed:?}");
    let since = &all[before..];
    assert!(since.iter().all(|(_, status)| *status == 200), "{since:?}");
    assert!(served.0.min(served.1) * 6 >= since.len(), "one gets nearly nothing: {served:?}");
    assert!(since.len() as f64 >= elapsed * 2.0 * 0.6, "{} in {elapsed} s", since.len());
    assert!(calls as f64 / elapsed / 2.0 <= 2.0, "{calls} calls in {elapsed} s");
    assert!(calls > 10, "the engine is not asked: {calls}");
    let status = one.run_to_end("status").await.1;
    assert!(status.contains("/5s (learned), paced by the fleet"), "{status}");
}

#[tokio::test]
async fn until_a_machine_is_throttled_the_engine_is_not_asked_for_requests() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let first = member(&upstream, &engine, "first").run().await;
    first.session_until(|status| status.state == SessionState::Ready).await;

    for _ in 0..200 {
        assert_eq!(first.get(READ).await.status(), 200);
    }

    assert!(!engine.keys().await.contains("pace"), "a slot was drawn");
}

#[tokio::test]
async fn a_pause_that_one_machine_was_told_holds_on_the_other() {
    let upstream = throttled(3, 5_000);
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let asking = async {
        join_all((0..4).map(|_| first.get(READ))).await;
    };
    let other = async {
        let is_told = async {
            while Kind::Read.view(&second).paced == "nothing" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, is_told).await.expect("the pause is not told");
        assert_eq!(second.get("/api/spaces/coworkers?size=2").await.status(), 200);
    };

    tokio::join!(asking, other);

    let seen = upstream.requests();
    let throttled = seen.iter().find(|one| one.status != Some(200)).expect("nothing was throttled");
    let second = seen.iter().find(|one| one.target.ends_with("size=2")).unwrap();
    let waited = second.arrived_ms - throttled.arrived_ms;
    assert!((4_000..=15_000).contains(&waited), "after {waited} ms");
    let told: Vec<_> = seen.iter().filter(|one| one.target.ends_with("size=2")).collect();
    assert!(told.iter().all(|one| one.status == Some(200)), "it found out by itself");
}

#[tokio::test]
async fn a_machine_that_is_cut_off_sends_its_share_and_says_so() {
    let upstream = throttled(LIMIT, 5_000);
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    join_all((0..LIMIT + 2).map(|_| first.get(READ))).await;
    status_until(&second, |status| status.paces[0].paced_by == "fleet").await;
    let _port = engine.stop();
    let began = Instant::now();
    let both = [&first, &second].map(|member| async move {
        for _ in 0..3 {
            assert_eq!(member.get(READ).await.status(), 200);
        }
    });
    join_all(both).await;

    // Half of the limit each: one in a second.
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    let pace = Kind::Read.view(&second);
    let is_said = pace.state.contains("by a share while cut off from the fleet");
    assert!(is_said && pace.paced_by == "share", "{pace:?}");
    let status: FleetStatus = second.admin().await.get("/v1/fleet").await.unwrap();
    assert_eq!(status.paces[0].paced_by, "share");
    assert!(second.metrics().await.contains("throttle_paced_by_share{"), "the metrics say so");
}

#[tokio::test]
async fn the_requests_of_one_key_are_counted_on_both_machines_together() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let limits = ClientPolicy { max_requests: Some(20), ..ClientPolicy::default() };
    let key = shared_client(&first, &second, "bot", limits).await;

    let mut codes = BTreeMap::<String, usize>::new();
    for round in 0..30 {
        let member = [&first, &second][round % 2];
        *codes.entry(outcome(keyed(member, &key, READ).await).await).or_default() += 1;
    }

    assert_eq!(
        codes,
        BTreeMap::from([("200".to_owned(), 20), ("policy.exhausted".to_owned(), 10)])
    );
    for member in [&first, &second] {
        let listed: Vec<serde_json::Value> = member.admin().await.get("/v1/clients").await.unwrap();
        assert_eq!(listed[0]["used"], 20, "{listed:?}");
    }
}

#[tokio::test]
async fn budgets_and_rates_of_one_key_are_counted_together() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    // A unit of a rate is lost after two calls, which a busy machine must not be late for.
    let (first, second) = two_members_in(&upstream, &engine, 2).await;
    let budgets = Budgets {
        deletes: Budget::parse_count("3/day"),
        bytes: Budget::parse_bytes("1MiB/day"),
        ..Budgets::default()
    };
    let key = {
        let limits = ClientPolicy { budgets, ..ClientPolicy::default() };
        shared_client(&first, &second, "bot", limits).await
    };
    let mut codes = vec![];
    for round in 0..5 {
        let member = [&first, &second][round % 2];
        let request = member.request("DELETE", "/api/spaces/coworkers/1").bearer_auth(&key);
        codes.push(outcome(request.send().await.unwrap()).await);
    }
    assert_eq!(codes.iter().filter(|code| *code == "policy.exhausted").count(), 2, "{codes:?}");
    let first_listed: Vec<serde_json::Value> =
        first.admin().await.get("/v1/clients").await.unwrap();
    let budgets = &first_listed[0]["budgets"];
    assert!(budgets.to_string().contains("\"used\":3"), "{budgets}");

    let rate = Some(Rate::Fixed { count: 4, per: Duration::from_secs(60) });
    let key =
        shared_client(&first, &second, "rated", ClientPolicy { rate, ..ClientPolicy::default() })
            .await;
    let mut codes = vec![];
    for round in 0..8 {
        codes.push(outcome(keyed([&first, &second][round % 2], &key, READ).await).await);
    }
    assert_eq!(codes.iter().filter(|code| *code == "200").count(), 4, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "policy.rate").count(), 4, "{codes:?}");
}

#[tokio::test]
async fn without_the_engine_a_budget_ends_with_what_is_in_hand_and_nothing_else_fails() {
    let upstream = upstream().start().unwrap();
    let engine = FleetEngine::start().await;
    let (first, second) = two_members(&upstream, &engine).await;
    let limits = ClientPolicy { max_requests: Some(3_200), ..ClientPolicy::default() };
    let key = shared_client(&first, &second, "bot", limits).await;
    for _ in 0..40 {
        assert_eq!(keyed(&first, &key, READ).await.status(), 200);
    }

    let port = engine.stop();
    let mut served = 0;
    let refused = loop {
        let answer = keyed(&first, &key, READ).await;
        if answer.status() != 200 {
            break problem_json(answer).await;
        }
        served += 1;
    };
    assert!(served <= 200, "{served} were not counted");
    assert_eq!(refused["code"], "policy.exhausted");
    assert!(refused["detail"].as_str().unwrap().contains("cut off from its fleet"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("fleet status"), "{refused}");
    for member in [&first, &second] {
        assert_eq!(member.get(READ).await.status(), 200, "a token is valid");
    }

    let _engine = FleetEngine::start_again(port).await;
    let back = async { while keyed(&first, &key, READ).await.status() != 200 {} };
    tokio::time::timeout(EVENT_TIMEOUT, back).await.expect("it stays refused");
}

/// A limit of reads.
fn throttled(limit: usize, millis: u64) -> Simulator {
    let windows = vec![window(u32::try_from(limit).unwrap(), millis, Scope::Reads)];
    upstream().set(|turn| turn.throttle.windows = windows).start().unwrap()
}

/// Sends `together` requests at a time for so long, at least one of each; returns how many.
async fn load(machine: &DaemonProcess, together: usize, lasts: Duration) -> usize {
    let began = Instant::now();
    let sent = (0..together).map(|_| async {
        let mut count = 0;
        while count == 0 || began.elapsed() < lasts {
            assert_eq!(machine.status(READ).await, 200);
            count += 1;
        }
        count
    });
    join_all(sent).await.into_iter().sum()
}

fn seen(upstream: &Simulator) -> Vec<(u64, u16)> {
    Kind::Read.seen(upstream)
}

/// Returns the most of these times in any span of so many milliseconds.
fn densest(times: &[u64], span: u64) -> usize {
    let within = |start: u64| times.iter().filter(|at| (start..start + span).contains(*at)).count();
    times.iter().map(|start| within(*start)).max().unwrap_or_default()
}

async fn status_until(member: &Daemon, wanted: impl Fn(&FleetStatus) -> bool) {
    let told = async {
        loop {
            let status: FleetStatus = member.admin().await.get("/v1/fleet").await.unwrap();
            if wanted(&status) {
                return;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, told).await.expect("it is not told");
}

async fn keyed(member: &Daemon, key: &str, path: &str) -> Response {
    member.request("GET", path).bearer_auth(key).send().await.unwrap()
}

/// Returns the status of a response, or the code of one of our own.
async fn outcome(answer: Response) -> String {
    match answer.status().as_u16() {
        403 | 429 => problem_json(answer).await["code"].as_str().unwrap().to_owned(),
        status => status.to_string(),
    }
}

/// Makes a client on one machine, and waits until the other one knows it.
async fn shared_client(
    first: &Daemon,
    second: &Daemon,
    name: &str,
    limits: ClientPolicy,
) -> String {
    let add = ClientChange::add(name, limits);
    let added: ClientChanged = first.admin().await.post_json("/v1/clients", &add).await.unwrap();
    let state = second.home().join("state");
    let known = async {
        while !clients::list(&state).unwrap().iter().any(|client| &*client.name == name) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, known).await.expect("the client is not told");
    added.key.unwrap()
}

async fn two_members(upstream: &Simulator, engine: &FleetEngine) -> (Daemon, Daemon) {
    two_members_in(upstream, engine, 10).await
}

/// Starts two members whose times are the real ones divided by `divisor`.
async fn two_members_in(
    upstream: &Simulator,
    engine: &FleetEngine,
    divisor: u32,
) -> (Daemon, Daemon) {
    let ready =
        |status: &nexudus_proxy::session::SessionStatus| status.state == SessionState::Ready;
    let start = async |name| {
        let member = member(upstream, engine, name);
        member.set(move |config| config.fleet.timing_divisor = divisor).run().await
    };
    let first = start("first").await;
    first.session_until(ready).await;
    let second = start("second").await;
    second.session_until(ready).await;
    for one in [&first, &second] {
        status_until(one, |status| status.members.len() == 2).await;
    }
    (first, second)
}

/// A member whose polls and time-outs are a tenth of the real ones.
fn member(upstream: &Simulator, engine: &FleetEngine, name: &str) -> crate::support::DaemonSetup {
    let (engine, name) = (EngineUrl::parse(&engine.url()).unwrap(), name.to_owned());
    daemon(upstream).set(|config: &mut Config| {
        config.fleet.engine = Some(engine);
        config.fleet.key_command = ["printf", &"5e".repeat(32)].map(str::to_owned).to_vec();
        config.fleet.name = Some(name);
        config.fleet.share = vec![FleetShare::Session, FleetShare::Throttle, FleetShare::Clients];
        config.fleet.timing_divisor = 10;
    })
}

/// The real program on a machine of its own, in real time.
fn machine(upstream: &Simulator, engine: &FleetEngine) -> ProcessSetup {
    let setup = ProcessSetup::new(upstream)
        .set("NEXUDUS_PROXY_FLEET_ENGINE", &engine.url())
        .set("NEXUDUS_PROXY_FLEET_SHARE", r#"["session", "throttle"]"#);
    std::fs::write(setup.home().join("handed/nexudus-fleet-key"), "5e".repeat(32)).unwrap();
    setup
}

/// Reads in a period, all machines together.
const LIMIT: usize = 10;

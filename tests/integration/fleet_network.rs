//! Real daemons whose links are cut, which are stopped and killed, and whose primary dies: no client gets
//! an error, and afterwards all agree on the token that is live.
//!
//! Times are a tenth of the real ones: a lease lasts 9 s, a member polls every 500 ms.

#![cfg(target_os = "linux")]

mod stage;

use std::future::Future;
use std::time::Duration;

use nexudus_proxy::admin::api::{FleetRole, FleetStatus, SessionReport};
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{Config, EngineUrl, Origin, Paths, SessionStore, UpstreamAddress};
use nexudus_proxy::credentials::{Credentials, Login};
use nexudus_proxy::daemon::{Daemon, Deps};
use nexudus_proxy::secret::Secret;
use nexudus_simulator::{Route, Simulator};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::stage::{Cut, Engines, HUB, Member, sh};
use crate::support::{EMAIL, PASSWORD, SESSION_KEY, grant_types, needs_root, secs, upstream};

#[test]
#[ignore = "takes three minutes: make check-fleet"]
fn daemons_in_networks_of_their_own_agree_after_every_fault_and_no_client_notices() {
    in_a_hub(async {
        let mut stage = Stage::start().await;
        for cut in [Cut::Calls, Cut::Answers, Cut::Both] {
            stage.cut(cut).await;
        }
        stage.stop_the_holder().await;
        stage.kill_the_holder().await;
        stage.kill_the_primary().await;
    });
}

struct Stage {
    engines: Engines,
    members: Vec<Member>,
    nexudus: Simulator,
}

impl Stage {
    async fn start() -> Self {
        let engines = Engines::start();
        let listen = format!("{HUB}:0").parse().unwrap();
        let nexudus = upstream().set(|turn| turn.token.access_life = ACCESS_LIFE).listen(listen);
        let nexudus = nexudus.start().unwrap();
        let ca_file = engines.folder.path().join("nexudus.pem");
        nexudus.write_ca(&ca_file).unwrap();
        let environment = [
            ("FLEET_UPSTREAM", nexudus.address().port().to_string()),
            ("FLEET_UPSTREAM_CA", ca_file.display().to_string()),
            ("FLEET_ENGINE", Engines::url()),
            ("FLEET_ENGINE_CA", engines.folder.path().join("ca.pem").display().to_string()),
        ];
        let members = (1..=3).map(|number| Member::start(number, &environment)).collect();
        let stage = Self { engines, members, nexudus };
        stage.agree("the start").await;
        stage
    }

    /// Cuts one member's link for longer than a lease and a token last.
    async fn cut(&mut self, cut: Cut) {
        let before = self.members[0].status().await.generation;
        self.members[2].cut(cut);

        tokio::time::sleep(ACCESS_LIFE).await;

        let renewed = |status: &FleetStatus| status.generation > before;
        until(&self.members[0], renewed, "the others renew").await;
        self.members[2].mend(cut);
        self.agree(&format!("a cut of {cut:?}")).await;
    }

    /// Stops the member that is renewing for longer than its lease lasts.
    async fn stop_the_holder(&mut self) {
        let held = self.nexudus.hold(Route::Token);
        let holder = self.renewing_member().await;
        self.members[holder].signal(Signal::SIGSTOP);
        held.release();

        tokio::time::sleep(LEASE + secs(3)).await;

        self.members[holder].signal(Signal::SIGCONT);
        self.agree("a stop of the holder").await;
    }

    /// Kills the member that is renewing: its answer comes, and reaches no process.
    async fn kill_the_holder(&mut self) {
        let held = self.nexudus.hold_responses(Route::Token);
        let holder = self.renewing_member().await;
        let before = self.members[(holder + 1) % 3].status().await.generation;
        self.members[holder].kill();
        held.release();

        let renewed = |status: &FleetStatus| status.generation > before;
        until(&self.members[(holder + 1) % 3], renewed, "the others go on").await;
        self.members[holder].run();
        self.agree("a kill of the holder").await;
    }

    async fn kill_the_primary(&mut self) {
        self.engines.kill_primary();

        // Sentinel needs some seconds, and members see that nothing is lost.
        for member in &self.members {
            until(member, |status| status.connected && !status.behind, "a new primary").await;
        }
        self.agree("a kill of the primary").await;
    }

    /// Waits for the member that asks for a token.
    async fn renewing_member(&self) -> usize {
        let held = self.nexudus.wait_until_async(|view| view.held() == 1, 2 * ACCESS_LIFE);
        assert!(held.await, "no member renews");
        let found = async {
            loop {
                for (at, member) in self.members.iter().enumerate() {
                    if member.status().await.role == FleetRole::Holder {
                        return at;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(2 * ACCESS_LIFE, found).await.expect("no member holds the lease")
    }

    /// Within ten seconds all members have one pair, its refresh token works, and no client was refused.
    async fn agree(&self, after: &str) {
        let agreed = async {
            loop {
                let mut all = vec![];
                for member in &self.members {
                    all.push(member.status().await);
                }
                let first = all[0].generation;
                if first > 0 && all.iter().all(|one| one.generation == first && is_whole(one)) {
                    return first;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let limit = if after == "the start" { secs(60) } else { AGREE };
        let Ok(_) = tokio::time::timeout(limit, agreed).await else {
            let mut told = String::new();
            for member in &self.members {
                told.push_str(&format!("{:?}\n", member.status().await));
            }
            panic!("after {after} the members do not agree:\n{told}");
        };
        let _: SessionReport =
            self.members[0].admin().await.post("/v1/refresh").await.expect("the pair is dead");
        let last = grant_types(&self.nexudus).pop().unwrap();
        assert_eq!(last, "refresh_token", "after {after}: the refresh token was dead");
        self.no_client_was_refused(after);
    }

    fn no_client_was_refused(&self, after: &str) {
        for member in &self.members {
            let answers = member.take_answers();
            let is_wrong = |answer: &&String| *answer != "200";
            let wrong: Vec<_> = answers.iter().filter(is_wrong).collect();
            assert!(wrong.is_empty(), "{} after {after}: {wrong:?}", member.name());
            assert!(!answers.is_empty(), "{} after {after}: no client asked", member.name());
        }
    }
}

fn is_whole(status: &FleetStatus) -> bool {
    status.connected && status.committed && !status.apart && !status.behind
}

async fn until(member: &Member, wanted: impl Fn(&FleetStatus) -> bool, what: &str) {
    let waiting = async {
        while !wanted(&member.status().await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(2 * ACCESS_LIFE, waiting).await.is_err() {
        panic!("{}: {what}: {:?}", member.name(), member.status().await);
    }
}

/// Runs a test on this thread in a network of its own.
fn in_a_hub(test: impl Future<Output = ()>) {
    needs_root();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    sh(&format!("ip link set lo up && ip addr add {HUB}/32 dev lo"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = runtime.block_on(async { tokio::time::timeout(secs(400), test).await });
    limited.expect("the whole takes too long");
}

/// A member of the test above: a daemon, and a client that sends a request every 100 ms.
#[test]
#[ignore = "a process of the test above"]
#[allow(clippy::print_stdout, reason = "its parent reads the answers there")]
fn a_member() {
    let Some(home) = std::env::var_os("FLEET_HOME") else {
        panic!("run by the test above");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let login =
            Login { email: EMAIL.to_owned(), password: Secret::new(PASSWORD), second_factor: None };
        let credentials = Credentials::in_memory(Some(login));
        let deps = Deps { clock: Clock::system(), credentials };
        let paths = Paths::rooted_at(home.as_ref());
        let daemon = Daemon::start(&member_config(), &paths, deps).await.unwrap();
        while daemon.session().bearer().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let address = daemon.addresses()[0];
        loop {
            println!("answer {}", ask(address).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

fn member_config() -> Config {
    let of = |name: &str| std::env::var(name).unwrap();
    let port = of("FLEET_UPSTREAM").parse().unwrap();
    let mut config = Config::default();
    config.upstream.origin = Origin::new("localhost", port);
    config.upstream.address = Some(UpstreamAddress::new(HUB.parse().unwrap(), Some(port)));
    config.upstream.ca_file = Some(of("FLEET_UPSTREAM_CA").into());
    config.listen.tcp = vec!["127.0.0.1:0".parse().unwrap()];
    config.session.store = SessionStore::File;
    config.session.key_command = ["printf", SESSION_KEY].map(str::to_owned).to_vec();
    config.fleet.engine = Some(EngineUrl::parse(&of("FLEET_ENGINE")).unwrap());
    config.fleet.ca_file = Some(of("FLEET_ENGINE_CA").into());
    config.fleet.key_command = ["printf", &"5e".repeat(32)].map(str::to_owned).to_vec();
    config.fleet.name = Some(of("FLEET_MEMBER"));
    config.fleet.timing_divisor = 10;
    config
}

/// Sends a request; returns its status and, if that is an error of the daemon, the beginning of the body.
async fn ask(address: std::net::SocketAddr) -> String {
    let head = format!(
        "GET /api/spaces/coworkers HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
        address.port()
    );
    let mut answer = String::new();
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    if let Err(error) = asked.await {
        return error.to_string();
    }
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    if status == "200" { status } else { format!("{status} {body:.300}").replace('\n', " ") }
}

/// How long an access token works: it is renewed after about 15 s.
const ACCESS_LIFE: Duration = Duration::from_secs(20);

/// A tenth of a real lease.
const LEASE: Duration = Duration::from_secs(9);

/// How long members may take to agree: a tenth of ten seconds, and what processes need on a busy machine.
const AGREE: Duration = Duration::from_secs(10);

//! The certificate authorities of a daemon: made when they are needed, kept over restarts, and told of
//! before they end.

use std::time::Duration;

use nexudus_proxy::admin::api::{AuthorityReport, AuthorityState, Status};
use nexudus_proxy::ca::AuthorityKind;
use nexudus_proxy::config::{Host, Origin};

use crate::support::forward::{Forward, with_forward_proxy};
use crate::support::{Daemon, EVENT_TIMEOUT, daemon, upstream};

#[tokio::test]
async fn an_authority_is_made_when_it_is_needed_and_is_the_same_after_a_restart() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).stored().run().await;
    daemon.session_until(|view| view.saved).await;
    assert_eq!(report(&daemon, AuthorityKind::Intercept).await.state, AuthorityState::None);

    let root = root(&daemon, AuthorityKind::Intercept).await;

    let made = report(&daemon, AuthorityKind::Intercept).await;
    assert_eq!((made.state, made.durable), (AuthorityState::Stored, true));
    assert_eq!(made.names, ["localhost"], "the host of the simulator");
    let file = std::fs::read_to_string(made.file.unwrap()).unwrap();
    let daemon = daemon.restart().await.run().await;
    // Nothing has asked for it in this process.
    let live = daemon.running.authorities().clone();
    let mut changes = live.changes();
    while live.intercept().is_none() {
        tokio::time::timeout(EVENT_TIMEOUT, changes.changed()).await.unwrap().unwrap();
    }
    let again = live.intercept().unwrap();
    assert_eq!((again.authority().root_pem(), file.as_str()), (root, file.as_str()));
    assert_eq!(report(&daemon, AuthorityKind::Localhost).await.state, AuthorityState::None);
}

#[tokio::test]
async fn without_a_key_an_authority_ends_with_the_daemon_and_no_file_is_written() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    let first = root(&daemon, AuthorityKind::Localhost).await;

    let report = report(&daemon, AuthorityKind::Localhost).await;
    assert_eq!((report.state, report.durable, report.file), (AuthorityState::Memory, false, None));
    let daemon = daemon.restart().await.run().await;
    assert_ne!(root(&daemon, AuthorityKind::Localhost).await, first);
    let files = std::fs::read_dir(daemon.home().join("state")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("ca-")).count(), 0);
}

#[tokio::test]
async fn a_host_that_was_added_later_is_named_until_the_authority_is_made_anew() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).stored().run().await;
    let old = root(&daemon, AuthorityKind::Intercept).await;
    let host = Host {
        origin: Origin::parse("https://reports.example").unwrap(),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
    };
    let setup = daemon.restart().await.set(|config| config.hosts.push(host));
    let daemon = with_forward_proxy(setup).run().await;
    assert_eq!(root(&daemon, AuthorityKind::Intercept).await, old);
    let forward = Forward::of(&daemon).await;
    let (_, head) = forward.connect("reports.example:443", "").await;
    let reason = "HTTP/1.1 403 not covered by the CA: run nexudus-proxy ca rotate\r\n";
    assert!(head.starts_with(reason), "{head}");

    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let report = &status.authorities[0];
    assert_eq!(report.uncovered, ["reports.example"]);
    assert_eq!(report.trouble().unwrap().finding, "intercept does not cover reports.example");

    let body = serde_json::json!({ "kind": "intercept" });
    let made: AuthorityReport =
        daemon.admin().await.post_json("/v1/ca/rotate", &body).await.unwrap();
    assert_eq!((made.uncovered.len(), made.names.len()), (0, 2), "{made:?}");
    let live = daemon.running.authorities().intercept().unwrap();
    assert!(live.server_config("reports.example").is_some());
    let (_, head) = forward.connect("reports.example:443", "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_person_is_called_a_month_before_an_authority_ends() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    let issuer = daemon.running.authorities().wait(AuthorityKind::Localhost).await;
    let end = issuer.authority().not_after();
    let called = daemon.home().join("called");
    let call = ["sh", "-c", "echo \"$NEXUDUS_NOTIFY_CAUSE $NEXUDUS_NOTIFY_MESSAGE\" >> \"$0\""];
    let call: Vec<_> = call.map(str::to_owned).into_iter().collect();
    let call = [call, vec![called.to_str().unwrap().to_owned()]].concat();

    hand.set_wall(end - Duration::from_secs(31 * 24 * 60 * 60));
    assert!(!report(&daemon, AuthorityKind::Localhost).await.ends_soon(), "31 days are enough");
    hand.set_wall(end - Duration::from_secs(29 * 24 * 60 * 60));
    let daemon = daemon.restart().await.set(|config| config.notify.command = call).run().await;

    let told = async {
        loop {
            let told = std::fs::read_to_string(&called).unwrap_or_default();
            if told.contains("ca.expiring") && told.ends_with('\n') {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(EVENT_TIMEOUT, told).await.unwrap();
    assert!(told.contains("the localhost certificate authority ends on 20"), "{told}");
    assert!(told.contains("`nexudus-proxy ca rotate localhost`"), "{told}");
    let report = report(&daemon, AuthorityKind::Localhost).await;
    assert!(report.ends_soon() && !report.has_ended(), "{report:?}");
    assert!(!report.trouble().unwrap().is_failure);
}

async fn root(daemon: &Daemon, kind: AuthorityKind) -> String {
    let issuer = daemon.running.authorities().wait(kind);
    let issuer = tokio::time::timeout(EVENT_TIMEOUT, issuer).await.unwrap();
    issuer.authority().root_pem()
}

async fn report(daemon: &Daemon, kind: AuthorityKind) -> AuthorityReport {
    let reports: Vec<AuthorityReport> = daemon.admin().await.get("/v1/ca").await.unwrap();
    reports.into_iter().find(|report| report.kind == kind).unwrap()
}

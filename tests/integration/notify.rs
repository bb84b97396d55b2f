//! A person is called in time, and once: before a session dies for which no password is stored.

use std::path::Path;

use nexudus_proxy::config::Config;
use nexudus_simulator::{Fault, FaultAction};

use crate::support::{EMAIL, EVENT_TIMEOUT, advance, daemon, get_error_code, secs, upstream};

#[tokio::test]
async fn a_session_that_nobody_can_start_anew_is_told_of_once_before_it_lapses() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;
    let called = daemon.home().join("called");
    let setup = daemon.restart().await.without_login();
    let daemon = setup.set(|config| call(config, &called)).run().await;
    daemon.session_until(|view| view.generation == 1).await;

    upstream.fault(Fault::on("/api/token", FaultAction::HtmlError(503)));
    // It lapses after 15 days; three of them are left to do something about it.
    let mut told = None;
    for day in 1..=15 {
        for _ in 0..4 {
            advance(&hand, &upstream, secs(6 * 60 * 60));
            daemon.idle().await;
        }
        if day == 12 {
            assert_eq!(calls(&called), "");
        }
        if day == 13 {
            told = Some(until(&called, "session.lapsing").await);
        }
    }

    assert_eq!(
        told.unwrap(),
        "session.lapsing: the saved session lapses in 66 h and no password is stored\n"
    );
    assert_eq!(calls(&called).lines().count(), 1);
}

#[tokio::test]
async fn a_session_that_a_password_starts_anew_lapses_without_a_word() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let setup = setup.set(|config| config.session.wait = secs(0));
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;
    let called = daemon.home().join("called");
    let daemon = daemon.restart().await.set(|config| call(config, &called)).run().await;
    daemon.session_until(|view| view.generation == 1).await;

    upstream.fault(Fault::on("/api/token", FaultAction::HtmlError(503)));
    for _ in 0..14 * 4 {
        advance(&hand, &upstream, secs(6 * 60 * 60));
        daemon.idle().await;
    }
    // What is told next shows that nothing was told before.
    upstream.change_password(EMAIL, "another");
    upstream.revoke_refresh_tokens();
    upstream.set(|knobs| knobs.faults.clear());
    for _ in 0..3 {
        advance(&hand, &upstream, secs(15 * 60));
        daemon.idle().await;
    }
    assert_eq!(get_error_code(&daemon).await, "session.refused");

    until(&called, "session.refused").await;
    assert_eq!(calls(&called).lines().count(), 1, "{}", calls(&called));
}

fn call(config: &mut Config, called: &Path) {
    let script = r#"echo "$NEXUDUS_NOTIFY_CAUSE: $NEXUDUS_NOTIFY_MESSAGE" >> "$0""#;
    config.notify.command =
        ["sh", "-c", script, called.to_str().unwrap()].map(str::to_owned).into();
}

fn calls(called: &Path) -> String {
    std::fs::read_to_string(called).unwrap_or_default()
}

/// Waits until the command has been run for this cause, which ends in a file.
async fn until(called: &Path, cause: &str) -> String {
    let told = async {
        loop {
            let calls = calls(called);
            if calls.contains(cause) && calls.ends_with('\n') {
                return calls;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, told).await.expect("the notify command did not run")
}

//! Links that are cut: both ways and one way, by the kernel, so that nothing says that they are.
//!
//! Each member reaches the engine over a loopback address of its own, in a network namespace of the
//! test's own; `iptables` drops what goes to that address or comes from it.

use std::process::Command;
use std::time::Duration;

use super::fleet::Fleet;
use super::server::{Program, Server, options};

/// Packets of one member that the kernel drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// No call reaches the engine.
    Calls,
    /// No answer reaches the member.
    Answers,
    Both,
}

/// The test below, in a network namespace that ends with it.
#[test]
#[ignore = "takes a minute: make check-fleet"]
fn a_member_whose_link_is_cut_serves_on_and_comes_back() {
    let flags = if user() == 0 { "-n" } else { "-rn" };
    let output = Command::new("unshare")
        .args([flags, "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "engines::links::in_a_namespace_of_its_own", "--ignored", "--nocapture"])
        .env("IN_A_NAMESPACE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

fn user() -> u32 {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test]
#[ignore = "cuts links of its network namespace: run by the test above"]
async fn in_a_namespace_of_its_own() {
    assert!(std::env::var_os("IN_A_NAMESPACE").is_some(), "not in the machine's own namespace");
    for cut in [Cut::Calls, Cut::Answers, Cut::Both] {
        let server = Server::start_with(Program::Redis, |_, _| {
            ["--bind", "127.0.0.1", "127.0.0.2", "127.0.0.3"].map(str::to_owned).to_vec()
        })
        .await;
        let port = server.port;
        let engines = (1..=3).map(|member| options(&format!("redis://127.0.0.{member}:{port}")));
        let mut fleet = Fleet::start(Duration::from_secs(6), engines).await;
        fleet.refreshes(1, "before").await;

        let rules = drop_packets(cut, "127.0.0.3", port);
        // Longer than a lease: the two others refresh, the third one serves the token in hand.
        let (before, _) = fleet.members[2].served.borrow().clone();
        let others = |served: &[super::fleet::Served]| {
            let (first, _) = &served[0];
            first.is_some() && *first == served[1].0 && *first != before
        };
        fleet.until(&format!("{cut:?}"), others).await;
        assert_eq!(fleet.lost(), 0, "{cut:?}: a member had no token, or a dead one");
        undo(&rules);

        fleet.refreshes(2, &format!("{cut:?}, healed")).await;
        assert_eq!(fleet.lost(), 0, "{cut:?}: a member had no token, or a dead one");
        // One way: a member whose answers get lost can have written an intent, and no more.
        assert_eq!(fleet.issuer.issued().refused, 0, "{cut:?}");
    }
}

fn drop_packets(cut: Cut, address: &str, port: u16) -> Vec<Vec<String>> {
    let port = port.to_string();
    let calls = ["-d", address, "--dport", &port];
    let answers = ["-s", address, "--sport", &port];
    let chosen = match cut {
        Cut::Calls => vec![calls],
        Cut::Answers => vec![answers],
        Cut::Both => vec![calls, answers],
    };
    let rule = |words: [&str; 4]| {
        let all = [&["INPUT", "-p", "tcp"], &words[..], &["-j", "DROP"]].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let rules: Vec<Vec<String>> = chosen.into_iter().map(rule).collect();
    rules.iter().for_each(|rule| iptables("-I", rule));
    rules
}

fn undo(rules: &[Vec<String>]) {
    rules.iter().for_each(|rule| iptables("-D", rule));
}

fn iptables(action: &str, rule: &[String]) {
    let status = Command::new("iptables").arg("-w").arg(action).args(rule).status().unwrap();
    assert!(status.success(), "iptables {action} {rule:?}");
}

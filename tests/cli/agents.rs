//! What a person does for an agent: a key that asks, a decision, a look at the record.

#![cfg(all(unix, feature = "demo"))]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::support::daemon::{Nexudus, exchange};
use crate::support::{Home, home};

const AUDIT: &str = ".local/state/nexudus-proxy/audit.jsonl";

#[test]
fn a_person_reads_a_call_and_decides() {
    let (nexudus, home) = (Nexudus::start(), home());
    let mut daemon = nexudus.serve(&home, |command| {
        command.env("NEXUDUS_PROXY_APPROVAL_HOLD", "0s");
    });
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);
    let added = home.transcript(home.command("client add bot -q --ask").arg("DELETE /**"));
    let key = added.lines().next().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_, visitors) = exchange(&mut stream, "/api/spaces/visitors?size=3");
    let visitors: Json = serde_json::from_slice(&visitors).unwrap();
    let visitor = |at: usize| {
        let record = &visitors["Records"][at];
        (record["Id"].to_string(), record["FullName"].as_str().unwrap().to_owned())
    };
    let delete = |id: &str, query: &str| {
        let target = format!("/api/spaces/visitors/{id}{query}");
        status(port, "DELETE", &target, key)
    };
    assert_eq!(home.run("approvals"), "! note: no call waits for a person\n=> 0\n");

    let (id, name) = visitor(0);
    assert_eq!(delete(&id, ""), 503);
    let call = only(&home);
    let shown = format!("DELETE visitor {id}: {name}");
    let list = home.run("approvals list");
    assert!(list.contains(&shown) && list.contains("DELETE /**") && list.contains("bot"), "{list}");
    let show = home.run(&format!("approvals show {call}"));
    assert!(show.starts_with(&shown), "{show}");
    assert!(show.contains(&format!("request: DELETE /api/spaces/visitors/{id}\n")), "{show}");
    let said = home.run(&format!("approvals approve {call}"));
    let note = "! note: a call that is still held is sent now; another when its client sends it again\n=> 0\n";
    assert_eq!(said, format!("approved {call} {shown}\n{note}"));
    assert_eq!(delete(&id, ""), 200);

    decide_more(&home, &|at, query| delete(&visitor(at).0, query));
    for (line, said, code) in [
        ("approvals show nothing", "! error: no call waits as `nothing`", 1),
        ("approvals approve nothing", "! error: no call waits as `nothing`", 1),
        ("approvals approve nothing --rule", "--for <DURATION>", 2),
        ("approvals approve nothing --for 2d", "! error: a permission stands for 1d at most", 2),
    ] {
        let answer = home.run(line);
        assert!(answer.contains(said) && answer.ends_with(&format!("=> {code}\n")), "{answer}");
    }
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[test]
fn the_record_is_shown_and_checked() {
    let (nexudus, home) = (Nexudus::start(), home());
    assert!(home.run("audit verify").contains("! error: the audit is off"));
    home.configure("[audit]\nfile = \"auto\"\n");
    assert!(home.run("audit show").contains("! error: there is no audit at ~/"));
    let mut daemon = nexudus.serve(&home, |_| {});
    assert_eq!(home.run("wait"), "=> 0\n");
    let port = daemon.port(&home);
    let added = home.run("client add bot -q");
    let key = added.lines().next().unwrap();
    assert_eq!(status(port, "GET", "/api/spaces/visitors?size=1", key), 200);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    let shown = home.run("audit show --client bot");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[0].contains("  keys  ") && lines[0].contains("action=add"), "{shown}");
    assert!(lines[1].contains("  call  GET  /api/spaces/visitors  "), "{shown}");
    assert!(lines[1].contains("query=size") && lines[1].contains("status=200"), "{shown}");
    let all = home.run("audit show --json");
    let json: Json = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert_eq!((&json["event"], &json["seq"]), (&"start".into(), &1.into()));
    let verified = home.run("audit verify");
    assert!(verified.starts_with("4 lines in 1 file, 1 to 4, unbroken\nhead: "), "{verified}");

    let copy = home.path("copy.jsonl");
    let text = fs::read_to_string(home.path(AUDIT)).unwrap();
    fs::write(&copy, text.replacen("visitors", "coworkers", 1)).unwrap();
    let broken = home.run("audit verify --file copy.jsonl");
    assert!(broken.contains("does not follow the line before: it has another hash"), "{broken}");
    assert!(broken.ends_with("=> 1\n"), "{broken}");
    assert!(home.run("audit show --file copy.jsonl").contains("/api/spaces/coworkers"));
}

#[test]
fn what_is_done_while_no_daemon_runs_is_recorded_as_well() {
    let home = home();
    home.configure("[audit]\nfile = \"auto\"\n");
    for line in [
        "client add bot -q",
        "client set bot --read-only -q",
        "client rotate bot -q",
        "client revoke bot -q",
        "lock",
        "unlock",
        "logout",
    ] {
        let said = home.run(line);
        assert!(said.ends_with("=> 0\n") && !said.contains("recorded"), "{line}: {said}");
    }
    let text = fs::read_to_string(home.path(AUDIT)).unwrap();
    assert!(!text.contains("nxp_"), "{text}");
    let lines = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let told: Vec<_> = lines.map(|line| format!("{} {}", line["event"], line["action"])).collect();
    let keys = ["add", "set", "rotate", "revoke"].map(|action| format!("\"keys\" \"{action}\""));
    let others = ["\"lock\" \"lock\"", "\"lock\" \"unlock\"", "\"login\" \"logout\""];
    assert_eq!(told, [keys.as_slice(), &others.map(str::to_owned)].concat());
    assert!(home.run("audit verify").starts_with("7 lines in 1 file, 1 to 7, unbroken\n"));
    assert!(home.run("audit show").contains("detail=no daemon ran"));

    // The change is made, and its record is missed aloud.
    fs::remove_file(home.path(AUDIT)).unwrap();
    fs::create_dir(home.path(AUDIT)).unwrap();
    let said = home.run("client add other -q");
    assert!(said.contains("! warning: this is done, and could not be recorded"), "{said}");
    assert!(said.starts_with("nxp_") && said.ends_with("=> 0\n"), "{said}");
}

#[test]
fn questions_and_budgets_are_limits_of_a_client() {
    let home = home();
    let mut add = home.command("client add bot -q --max-writes 50/day --max-bytes 200MiB/day");
    add.args(["--max-deletes", "5/day", "--guide", "--ask", "RUN *DELETE* /**"]);

    let added = home.transcript(&mut add);

    let (key, guide) = added.split_once("\n\n").unwrap();
    assert!(key.starts_with("nxp_") && !guide.contains("nxp_"), "{added}");
    for told in ["as the client `bot`", "`RUN *DELETE* /**`", "policy.approval-pending", "50/day"] {
        assert!(guide.contains(told), "{told}: {guide}");
    }
    let list = home.run("client list -q");
    let used = "0 of 50 writes, 0 of 5 deletes, 0B of 200MiB bytes";
    assert!(list.contains("?RUN *DELETE* /**") && list.contains(used), "{list}");
    let mut explain = home.command("policy explain --client bot --command X_DELETE");
    let said = home.transcript(explain.args(["POST", "/api/spaces/x/runcommand"]));
    let asked = "would be asked (policy.approval-pending): rule `RUN *DELETE* /**` wants a person";
    assert!(said.starts_with(asked) && said.ends_with("=> 1\n"), "{said}");

    let mut set = home.command("client set bot --max-writes 9/hour --max-deletes 1/week --ask");
    let said = home.transcript(set.args(["PUT /**", "--max-bytes", "1GiB/day"]));
    assert!(said.contains("?PUT /**; 9/hour writes, 1/week deletes, 1GiB/day\n"), "{said}");
    let clear =
        "client set bot --clear ask --clear max-writes --clear max-deletes --clear max-bytes";
    assert!(home.run(clear).starts_with("bot may: everything\n"));
    for (flag, said) in [
        ("--max-writes 5", "a budget is written 50/day"),
        ("--max-deletes 5/s", "a budget is written 50/day"),
        ("--max-bytes 5/fortnight", "a budget of bytes is written 200MiB/day"),
    ] {
        let answer = home.run(&format!("client set bot {flag}"));
        assert!(answer.contains(said) && answer.ends_with("=> 2\n"), "{answer}");
    }
    let mut add = home.command("client add other -q --read-only --ask");
    let said = home.transcript(add.arg("DELETE /**"));
    assert!(
        said.contains("! warning: the rule `DELETE /**` asks nobody: with --read-only"),
        "{said}"
    );
}

/// Says no, and permits a rule for a while: `approvals approve --for` and `--rule`.
fn decide_more(home: &Home, delete: &dyn Fn(usize, &str) -> u16) {
    assert_eq!(delete(1, ""), 503);
    let call = only(home);
    assert!(home.run(&format!("approvals deny {call}")).starts_with(&format!("denied {call} ")));
    assert_eq!(delete(1, ""), 403);

    assert_eq!(delete(1, "?again"), 503);
    let call = waiting(home).pop().unwrap();
    let said = home.run(&format!("approvals approve {call} --for 10m --rule --json"));
    let said: Json = serde_json::from_str(said.strip_suffix("=> 0\n").unwrap()).unwrap();
    assert_eq!(said[0]["phase"], "approved");
    assert_eq!(delete(2, ""), 200, "the rule is permitted");
    assert!(home.run("approvals list").contains("every call of this rule"));
    assert!(home.run(&format!("approvals deny {call}")).ends_with("=> 0\n"));
    assert_eq!(delete(2, "?once"), 503);
}

/// Returns the status of a request with a key.
fn status(port: u16, method: &str, target: &str, key: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Nexudus-Proxy-Key: {key}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn waiting(home: &Home) -> Vec<String> {
    let said = home.run("approvals list --json");
    let json: Json = serde_json::from_str(said.strip_suffix("=> 0\n").unwrap()).unwrap();
    let calls = json["calls"].as_array().unwrap().iter();
    let waiting = calls.filter(|call| call["phase"] == "waiting");
    waiting.map(|call| call["id"].as_str().unwrap().to_owned()).collect()
}

fn only(home: &Home) -> String {
    let mut waiting = waiting(home);
    assert_eq!(waiting.len(), 1);
    waiting.pop().unwrap()
}

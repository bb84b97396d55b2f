//! The flags of a redacted client, and what a person is told of them.

use std::fs;

use serde_json::Value as Json;

use crate::support::{Home, home};

const FILE: &str = ".local/state/nexudus-proxy/clients.json";

const WIDER: &str = "! note: Redaction binds only the key: without it, a program of this machine still reads \
                     personal values in the clear; policy.anonymous = \"none\" or \
                     policy.anonymous_redact changes that.\n";

#[test]
fn what_goes_round_a_redacted_key_is_said_when_it_is_made() {
    let home = home();
    for (policy, line, is_wider) in [
        ("anonymous = \"full\"", "client add a --redact --read-only", true),
        ("anonymous = \"read-only\"", "client add b --redact=all --read-only", true),
        ("anonymous = \"none\"", "client add c --redact --read-only", false),
        ("anonymous_redact = \"table\"", "client add d --redact --read-only", false),
        ("anonymous = \"full\"", "client add e --read-only", false),
    ] {
        home.configure(format!("[policy]\n{policy}\n"));
        let told = home.run(line);
        assert_eq!(told.contains(WIDER), is_wider, "{policy}, {line}: {told}");
        assert!(!told.contains("can guess"), "{told}");
    }
    let told = home.run("client add f --redact");
    assert!(
        told.contains("! warning: a redacted client that may write can guess values"),
        "{told}"
    );
    let told = home.run("client add g --resolve --read-only");
    assert!(told.contains("! warning: without --redact there are no tokens"), "{told}");
}

#[test]
fn what_is_hidden_from_a_client_is_listed_and_changed() {
    let home = home();
    assert!(
        home.run("client add bot --redact --resolve --share-tokens bots -q").ends_with("=> 0\n")
    );
    assert!(
        home.run("client list").contains("bot   redacted, sends tokens  never"),
        "{}",
        home.run("client list")
    );
    assert!(fs::read_to_string(home.path(FILE)).unwrap().contains("\"share_tokens\": \"bots\""));

    let said = home.run("client set bot --redact=all --clear resolve -q");
    assert!(said.contains("bot may: all texts redacted"), "{said}");
    let json = home.run("client set bot --read-only --json -q");
    assert!(
        json.contains("\"redact\": \"all\"") && json.contains("\"share_tokens\": \"bots\""),
        "{json}"
    );
    let said = home.run("client set bot --clear redact --clear share-tokens -q");
    assert!(said.contains("bot may: read only\n"), "{said}");
    assert!(!fs::read_to_string(home.path(FILE)).unwrap().contains("redaction"));

    for (line, wrong) in [
        ("client add x --redact=some", "write --redact or --redact=all"),
        ("client add x --share-tokens a/b", "a group is named with letters"),
        ("client set bot --redact --clear redact", "contradict each other"),
    ] {
        let said = home.run(line);
        assert!(said.contains(wrong) && said.ends_with("=> 2\n"), "{line}: {said}");
    }
}

#[test]
fn a_verdict_on_a_query_knows_what_is_hidden() {
    let home = home();
    assert!(home.run("client add bot --redact --read-only -q").ends_with("=> 0\n"));
    let explain = |query: &str| {
        let mut command = home.command("policy explain GET");
        command.arg(format!("/api/spaces/coworkers?{query}")).args(["--client", "bot"]);
        home.transcript(&mut command)
    };
    assert!(explain("page=1&Coworker_Id=5").starts_with("allowed: "), "{}", explain("page=1"));
    let refused = explain("Coworker_FullName=Ada");
    assert!(refused.starts_with("refused (policy.redacted): the query"), "{refused}");
    let mut command = home.command("policy explain GET");
    command.args(["/api/spaces/%63oworkers", "--client", "bot"]);
    let refused = home.transcript(&mut command);
    assert!(refused.starts_with("refused (policy.redacted): the path"), "{refused}");
}

#[test]
fn doctor_warns_while_callers_without_a_key_see_more() {
    let home = home();
    let line = || {
        let told = home.run("doctor");
        told.lines().find(|line| line.contains("redaction")).map(str::to_owned)
    };
    assert_eq!(line(), None);
    assert!(home.run("client add bot --redact --read-only -q").ends_with("=> 0\n"));
    let warned = line().unwrap();
    assert!(warned.contains("warn") && warned.contains("without a key"), "{warned}");
    home.configure("[policy]\nanonymous_redact = \"table\"\n");
    assert!(line().unwrap().contains("ok"));

    // A table hides less than everything, and the cure says how much is needed.
    assert!(home.run("client set bot --redact=all -q").ends_with("=> 0\n"));
    assert!(line().unwrap().contains("warn"));
    assert!(home.run("doctor").contains("anonymous_redact = \"all\", or policy.anonymous"));
    home.configure("[policy]\nanonymous_redact = \"all\"\n");
    assert!(line().unwrap().contains("ok"));
}

#[test]
fn doctor_warns_while_leaving_a_key_out_goes_round_its_limits() {
    let limits = |home: &Home| {
        let told = home.run("doctor --json");
        let json: Json = serde_json::from_str(&told[..told.rfind('}').unwrap() + 1]).unwrap();
        let found = json["checks"].as_array().unwrap().iter().find(|it| it["check"] == "limits");
        found.map(|it| format!("{} {}", it["verdict"], it["finding"]))
    };
    for (flags, evades_full, evades_reading) in [
        (&["--ask", "DELETE /**"][..], true, false),
        (&["--ask", "GET /api/billing/**"], true, true),
        (&["--ask", "PUT /**", "--allow", "GET /api/spaces/**"], true, false),
        (&["--max-writes", "5/day"], true, false),
        (&["--max-deletes", "5/day"], true, false),
        (&["--max-bytes", "1MiB/day"], true, true),
        (&["--max-requests", "9"], true, true),
    ] {
        let home = home();
        assert_eq!(limits(&home), None);
        let mut add = home.command("client add bot -q");
        assert!(home.transcript(add.args(flags)).ends_with("=> 0\n"), "{flags:?}");
        for (policy, evades) in [
            ("anonymous = \"full\"", evades_full),
            ("anonymous = \"read-only\"", evades_reading),
            ("anonymous = \"none\"", false),
        ] {
            home.configure(format!("[policy]\n{policy}\n"));
            let said = limits(&home).unwrap();
            assert_eq!(said.contains("\"warn\""), evades, "{flags:?} {policy}: {said}");
            assert_eq!(said.contains(" of bot"), evades, "{flags:?} {policy}: {said}");
        }
    }
    // What the owner's rule asks about, it asks of every caller.
    let home = home();
    let mut add = home.command("client add bot -q --ask");
    assert!(home.transcript(add.arg("DELETE /api/spaces/**")).ends_with("=> 0\n"));
    home.configure("[policy]\nask = [\"DELETE /**\"]\n");
    assert!(limits(&home).unwrap().contains("\"ok\""));
}

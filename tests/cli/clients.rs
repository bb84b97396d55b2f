//! `client` and `policy explain`, while no daemon runs.

use std::fs;

use crate::support::home;

const FILE: &str = ".local/state/nexudus-proxy/clients.json";

#[test]
fn a_key_is_printed_once_and_the_client_is_listed_until_it_is_revoked() {
    let home = home();

    let added = home.run("client add agent --read-only --rate 5/s --max-requests 100");

    let key = added.lines().next().unwrap();
    assert!(key.starts_with("nxp_") && key.len() == 42, "{added}");
    assert_eq!(
        added.lines().skip(1).collect::<Vec<_>>(),
        [
            "! note: Clients without a key may still do everything; policy.anonymous = \
             \"read-only\" or \"none\" changes that.",
            "! note: On this machine a process of this user can go round these limits: it can leave \
             the key out, or make a key of its own. They hold for another Unix user, or for a \
             container that gets nothing but the proxy's socket, where policy.anonymous = \"none\".",
            "! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy",
            "=> 0",
        ]
    );
    assert_eq!(
        home.run("client list"),
        "NAME   MAY        EXPIRES  RATE  USED\n\
         agent  read only  never    5/s   0 of 100\n\
         ! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy\n\
         => 0\n"
    );
    assert!(!fs::read_to_string(home.path(FILE)).unwrap().contains(key));
    assert_eq!(home.run("client revoke agent -q"), "revoked agent\n=> 0\n");
    assert_eq!(
        home.run("client list"),
        "! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy\n\
         ! note: There are no clients yet: `nexudus-proxy client add NAME` makes one.\n=> 0\n"
    );
    assert_eq!(
        home.run("client revoke agent"),
        "! error: there is no client `agent`\n\
         ! hint: `nexudus-proxy client list` shows the clients.\n\
         => 1\n"
    );
}

#[test]
fn programs_get_the_key_as_json() {
    let home = home();

    let json = |line: &str| -> serde_json::Value {
        let said = home.command(line).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        serde_json::from_slice(&said.stdout).unwrap()
    };
    let added = json("client add agent --expires 8h --json");
    let forever = json("client add other --json -q");
    // Without a limit there is nothing to go round.
    assert!(!home.run("client add third").contains("go round"));
    assert!(!home.run("client add fourth --read-only -q").contains("note"));

    assert_eq!(added.as_object().unwrap().len(), 3);
    assert_eq!(added["name"], "agent");
    assert!(added["key"].as_str().unwrap().starts_with("nxp_"));
    assert!(added["expires"].as_str().unwrap().ends_with('Z'));
    assert!(forever["expires"].is_null());
    assert_eq!(json("client list --json").as_array().unwrap().len(), 4);
}

/// Where callers without a key may do no more than this one, it gains nothing by leaving its key out.
#[test]
fn nobody_is_told_to_leave_a_key_out_where_that_is_no_way_round() {
    let home = home();
    let own = "! note: On this machine a process of this user can go round these limits: it can make a \
               key of its own. They hold for another Unix user, or for a container that gets nothing \
               but the proxy's socket.\n";
    let out = "it can leave the key out, or make a key of its own. They hold for another Unix user, or \
               for a container that gets nothing but the proxy's socket, where policy.anonymous = \
               \"none\".\n";
    for (anonymous, line, said) in [
        ("none", "client add a --read-only", own),
        ("none", "client add b --max-requests 5", own),
        ("read-only", "client add c --read-only", own),
        ("read-only", "client add d --read-only --max-requests 5", out),
        ("full", "client add e --read-only", out),
    ] {
        home.configure(format!("[policy]\nanonymous = \"{anonymous}\"\n"));
        let told = home.run(line);
        assert!(told.contains(said), "{anonymous}, {line}: {told}");
    }
}

#[test]
fn a_limit_that_makes_no_sense_is_refused() {
    let home = home();
    for (line, said) in [
        ("client add a --allow GET", "a rule is a method and a path"),
        ("client add a --rate often", "a rate is written 5/s"),
        ("client add a --expires 0s", "a duration is written"),
        ("client add a --max-requests 0", "0 is not in 1.."),
        ("client add a/b", "`a/b` is not a name for a client"),
    ] {
        let answer = home.run(line);
        assert!(answer.contains(said) && answer.ends_with("=> 2\n"), "{line}: {answer}");
    }
    assert!(!home.path(FILE).exists());
}

#[test]
fn a_rule_without_effect_is_warned_of() {
    let home = home();
    home.configure("[policy]\ndeny = ['DELETE /**']\n");
    let mut command = home.command("client add agent --read-only --deny");
    command.args(["BREW /api", "--allow", "GET /api/x"]);
    command.args(["--allow", "DELETE /api/x", "--allow", "POST /api/y", "--allow", "GET /a?b"]);
    command.args(["--allow", "GET /api/caf\u{e9}"]);

    let said = home.transcript(&mut command);

    assert!(said.starts_with("nxp_") && said.ends_with("=> 0\n"), "{said}");

    for warning in [
        "! warning: the rule `BREW /api` can never match: its method is never forwarded",
        "! warning: the rule `GET /a?b` can never match: rules are matched against the path alone",
        "! warning: the rule `DELETE /api/x` allows nothing: `DELETE /**` is checked first",
        "! warning: the rule `GET /api/caf\u{e9}` allows nothing: write `*` for its letters beyond",
        "! warning: the rule `POST /api/y` allows nothing: with --read-only there is only reading",
    ] {
        assert!(said.contains(warning), "{warning}\n{said}");
    }
}

#[test]
fn a_key_that_would_be_good_for_nothing_is_not_made() {
    let home = home();
    let mut command = home.command("client add agent --allow");
    command.arg("FOO /x");

    assert_eq!(
        home.transcript(&mut command),
        "! warning: the rule `FOO /x` can never match: its method is never forwarded\n\
         ! error: with these rules nothing is allowed: the key would be good for nothing\n\
         ! hint: Correct what the warnings are about; no key was made.\n\
         => 2\n"
    );
    assert!(!home.path(FILE).exists());
}

#[test]
fn a_damaged_file_is_told_and_kept() {
    let home = home();
    home.write(FILE, "{ \"version\": 1, \"clients\": [");
    fs::set_permissions(home.path(FILE), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();

    for line in ["client add agent", "client list", "client revoke agent"] {
        let said = home.run(line);
        assert!(said.starts_with("! error: the clients in ~/"), "{said}");
        assert!(said.ends_with("=> 1\n"), "{said}");
    }
    assert!(fs::read_to_string(home.path(FILE)).unwrap().ends_with("["));
}

#[test]
fn the_verdict_names_the_rule() {
    let home = home();
    home.configure("[policy]\nanonymous = 'read-only'\ndeny = ['* /api/sys/**']\n");
    let mut add = home.command("client add agent");
    assert!(add.args(["--allow", "GET /api/spaces/**"]).output().unwrap().status.success());

    for (line, said) in [
        ("GET /api/spaces/1", "allowed: clients without a key may read it"),
        (
            "POST /api/spaces/1",
            "refused (policy.read-only): this client may only GET, HEAD and OPTIONS paths under /api/ \
             and /ContentDownload/",
        ),
        ("GET /API/Sys/x", "refused (policy.denied): denied by rule `* /api/sys/**`"),
        ("HEAD /api/spaces/1?a=b --client agent", "allowed: rule `GET /api/spaces/**` allows it"),
        (
            "GET /api/billing --client agent",
            "refused (policy.denied): none of the client's rules allows the request",
        ),
        (
            "GET localhost:6398",
            "refused (request.target): the request target is not a path on this host: it is an \
             authority",
        ),
        ("GET /a<b", "refused (request.target): the request line holds no well-formed target"),
        ("G(T /", "refused (request.framing): the request is not well-formed HTTP/1.1"),
        ("TRACE /", "refused (request.method): the method is not forwarded"),
        // A method is another one in another case (RFC 9110 §9.1), here as in the daemon.
        ("get /api/spaces/1", "refused (request.method): the method is not forwarded"),
        (
            "POST /api/token",
            "allowed: the daemon itself responds; the request never reaches Nexudus",
        ),
    ] {
        let answer = home.run(&format!("policy explain {line}"));
        let by = "! note: Judged by the configuration: no daemon of this profile runs.";
        let code = i32::from(!said.starts_with("allowed"));
        assert_eq!(answer, format!("{said}\n{by}\n=> {code}\n"), "{line}");
    }
}

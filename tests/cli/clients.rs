//! `client` and `policy explain`, while no daemon runs.

use std::fs;
use std::process::Stdio;

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
fn a_key_for_pages_names_their_origin() {
    let home = home();

    let added = home.run("client add web --origin http://LOCALHOST:5173/");

    assert!(
        added.contains("! note: Each script that a page of http://localhost:5173 loads"),
        "{added}"
    );
    assert!(!added.contains("can go round these limits"), "an origin is no limit: {added}");
    let listed = home.run("client list -q");
    assert!(
        listed.contains("web   everything, for pages of http://localhost:5173  never"),
        "{listed}"
    );
    let set = home.run("client set web --origin https://app.example:443 --read-only -q");
    assert_eq!(set, "web may: read only, for pages of https://app.example\n=> 0\n");
    let both = home.run("client set web --origin http://localhost:1 --clear origin");
    assert!(both.contains("`--origin` and `--clear origin` contradict each other"), "{both}");
    let json = home.command("client set web --clear origin --json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["origin"], serde_json::Value::Null);
    for wrong in ["null", "*", "localhost:5173", "http://localhost/app"] {
        let refused = home.run(&format!("client add other --origin {wrong}"));
        assert!(refused.contains("an origin is written http://HOST[:PORT]"), "{refused}");
        assert!(refused.ends_with("=> 2\n"), "{refused}");
    }
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
         ! hint: Correct what the warnings are about; nothing was changed.\n\
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
            "POST /api/token",
            "allowed: the daemon itself responds; the request never reaches Nexudus",
        ),
    ] {
        let answer = home.run(&format!("policy explain {line}"));
        let by = "! note: Judged by the configuration: no daemon of this profile runs.";
        let code = i32::from(!said.starts_with("allowed"));
        assert_eq!(answer, format!("{said}\n{by}\n=> {code}\n"), "{line}");
        let quiet = home.run(&format!("policy explain {line} --quiet"));
        assert_eq!(quiet, format!("=> {code}\n"), "{line}");
    }
}

#[test]
fn a_verdict_on_a_deletion_tells_of_commands() {
    let home = home();
    home.configure("[policy]\ndeny = ['DELETE /**']\n");
    let note = "! note: deny DELETE protects little: most deletions are run-commands";
    let explain = |line: &str| home.run(&format!("policy explain {line}"));
    let runs = "POST /api/spaces/coworkers/runcommand";

    for line in ["DELETE /api/spaces/coworkers/1", runs] {
        assert!(explain(line).contains(note), "{line}: {}", explain(line));
    }
    for line in ["GET /api/spaces/coworkers", "POST /api/spaces/coworkers"] {
        assert!(!explain(line).contains(note), "{line}");
    }
    home.configure("[policy]\ndeny = ['DELETE /**', 'RUN *DELETE* /api/spaces/coworkers']\n");
    let denied = explain(&format!("{runs} --command Coworker_Delete"));
    let rule = "denied by rule `RUN *DELETE* /api/spaces/coworkers`\n";
    assert!(denied.starts_with(&format!("refused (policy.denied): {rule}")), "{denied}");
    assert!(denied.ends_with("=> 1\n") && !denied.contains(note), "{denied}");
    let other = explain(&format!("{runs} --command COWORKER_PRINT"));
    assert!(other.starts_with("allowed: no rule denies it\n"), "{other}");
    // As the gateway does: a key in the query counts beside that of the body, for every method.
    for line in [
        format!("{runs}?Key=coworker_delete --command COWORKER_PRINT"),
        "GET /api/spaces/coworkers/runcommand?x=1&command.Key=COWORKER_DELETE".to_owned(),
    ] {
        assert!(explain(&line).starts_with("refused (policy.denied): "), "{line}");
    }
    let elsewhere = explain("POST /api/spaces/coworkers --command COWORKER_DELETE");
    assert!(elsewhere.contains("Did you mean /api/spaces/coworkers/runcommand?"), "{elsewhere}");
    assert!(elsewhere.ends_with("=> 2\n"), "{elsewhere}");
    let open = explain(runs);
    assert!(open.starts_with("allowed: ") && open.contains("add --command KEY"), "{open}");
    // What may be run is allowed only with the command.
    let mut add = home.command("client add printer --allow");
    assert!(add.arg("RUN *_PRINT /api/billing/*").output().unwrap().status.success());
    for (more, code) in [("", 1), (" --command X_PRINT", 0), (" --command X_DELETE", 1)] {
        let said =
            explain(&format!("POST /api/billing/invoices/runcommand --client printer{more}"));
        assert!(said.ends_with(&format!("=> {code}\n")), "{more}: {said}");
    }
}

#[test]
fn a_path_without_api_is_explained_with_the_one_that_may_be_meant() {
    let home = home();
    let said = home.run("policy explain GET /spaces/coworkers?size=1");
    let note = "! note: did you mean /api/spaces/coworkers? Paths of the API begin with /api.\n";
    assert!(said.contains(note), "{said}");
    assert!(!home.run("policy explain GET /en/user/me").contains("did you mean"));
}

#[test]
fn a_key_that_deletes_nothing_is_one_word() {
    let home = home();
    assert!(home.run("client add agent --no-delete -q").ends_with("=> 0\n"));
    assert!(home.run("client list").contains("agent  no deletions  never"));
    let explain = |line: &str| home.run(&format!("policy explain {line} --client agent -q"));
    assert_eq!(explain("DELETE /api/spaces/coworkers/1"), "=> 1\n");
    assert_eq!(explain("POST /api/spaces/coworkers"), "=> 0\n");
    let runs = "POST /api/billing/coworkerInvoices/runCommand --command";
    for key in ["COWORKER_INVOICE_DELETE", "CANCEL_CONTRACT", "VOID_INVOICE", "X_REFUND"] {
        assert_eq!(explain(&format!("{runs} {key}")), "=> 1\n", "{key}");
    }
    assert_eq!(explain(&format!("{runs} COWORKER_INVOICE_PRINT")), "=> 0\n");
}

#[test]
fn limits_change_and_the_key_does_not() {
    let home = home();
    assert!(home.run("client add agent --read-only --rate 5/s -q").starts_with("nxp_"));
    let file = || fs::read_to_string(home.path(FILE)).unwrap();
    let hash = |text: &str| text.lines().find(|it| it.contains("key_sha256")).map(str::to_owned);
    let before = file();

    let mut set = home.command("client set agent --max-requests 9 --clear read-only --allow");
    let said = home.transcript(set.arg("GET /api/spaces/**"));

    let files = "! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy\n";
    let left = "agent may: +GET /api/spaces/**; rate 5/s; 9 requests in all\n";
    assert_eq!(said, format!("{left}{files}=> 0\n"), "what it leaves is shown too");
    assert_eq!(hash(&file()), hash(&before));
    let listed = "agent  +GET /api/spaces/**  never    5/s   0 of 9";
    assert!(home.run("client list").contains(listed), "{}", home.run("client list"));
    let cleared = home
        .run("client set agent --clear allow --clear rate --clear max-requests --clear expires");
    assert_eq!(cleared, format!("agent may: everything\n{files}=> 0\n"));
    let mut set = home.command("client set agent --deny");
    assert!(home.transcript(set.arg("* /api/sys/**")).starts_with("agent may: -* /api/sys/**\n"));
    assert!(home.run("client set agent --clear deny").starts_with("agent may: everything\n"));
    let json = home.run("client set agent --no-delete --expires 8h --json");
    assert!(json.contains("\"RUN *VOID* /**\"") && json.contains("\"expires\": \"20"), "{json}");
    for (line, said, code) in [
        ("client set agent", "! error: there is no limit to change", 2),
        ("client set nobody --read-only", "! error: there is no client `nobody`", 1),
        ("client set agent --clear name", "invalid value 'name'", 2),
        (
            "client set agent --rate 1/s --clear rate",
            "! error: `--rate` and `--clear rate` contradict each other\n! hint: Leave one out: ",
            2,
        ),
    ] {
        let answer = home.run(line);
        assert!(answer.contains(said), "{line}: {answer}");
        assert!(answer.ends_with(&format!("=> {code}\n")), "{line}: {answer}");
    }
    let mut set = home.command("client set agent --allow");
    assert!(home.transcript(set.arg("FOO /x")).contains("nothing was changed"));
    assert!(home.run("client list").contains("no deletions"));
}

#[test]
fn a_new_key_comes_in_place_of_the_old_one() {
    let home = home();
    let key = |said: &str| said.lines().next().unwrap().to_owned();
    let old = key(&home.run("client add agent --read-only -q"));

    let said = home.run("client rotate agent");

    let new = key(&said);
    assert!(new.starts_with("nxp_") && new != old && said.ends_with("=> 0\n"), "{said}");
    assert!(home.run("client list").contains("agent  read only"));
    let json: serde_json::Value = {
        let said = home.command("client rotate agent --json").output().unwrap();
        serde_json::from_slice(&said.stdout).unwrap()
    };
    assert_eq!(json.as_object().unwrap().len(), 3);
    assert_eq!((&json["name"], &json["expires"]), (&"agent".into(), &serde_json::Value::Null));
    assert!(home.run("client rotate nobody").ends_with("=> 1\n"));
}

/// A disk is full, or the program that reads has gone.
#[test]
fn a_key_that_cannot_be_shown_is_taken_back() {
    let home = home();
    let unshown = |line: &str, to: Stdio| {
        let mut command = home.command(line);
        let output = command.stdout(to).stderr(Stdio::piped()).spawn().unwrap();
        home.format_output(output.wait_with_output().unwrap())
    };
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let gone = || Stdio::from(std::io::pipe().unwrap().1);
    for (to, why) in [(&full as &dyn Fn() -> Stdio, "No space left"), (&gone, "roken pipe")] {
        for line in ["client add agent", "client add agent --json"] {
            let said = unshown(line, to());
            let error = "could not show the new key: the client was not added";
            assert!(said.contains(error) && said.contains(why), "{said}");
            assert!(said.ends_with("=> 1\n") && !said.contains("nxp_"), "{said}");
            assert!(home.run("client list").contains("There are no clients yet"));
        }
    }
    assert!(home.run("client add agent -q").starts_with("nxp_"));
    // A fleet is told that the key has changed, and changed back.
    let client = || {
        let file = fs::read_to_string(home.path(FILE)).unwrap();
        let mut file: serde_json::Value = serde_json::from_str(&file).unwrap();
        file["clients"][0].as_object_mut().unwrap().remove("key_changed");
        file
    };
    let before = client();
    for to in [&full as &dyn Fn() -> Stdio, &gone] {
        let said = unshown("client rotate agent", to());
        assert!(said.contains("the client keeps its old key"), "{said}");
        assert_eq!(client(), before);
    }
}

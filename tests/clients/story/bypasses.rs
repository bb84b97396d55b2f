//! Every way around a key that an agent has, each tried.

use serde_json::{Value, json};

use super::stage::{Agent, Stage};

/// What the agent's user tries while a call of it waits.
pub(super) fn cannot_say_yes_itself(stage: &Stage, agent: &mut Agent, key: &str, waiting: &Value) {
    let id = waiting["id"].as_str().unwrap();
    let program = stage.program().display().to_string();
    let (admin, yes) = (stage.state("run/admin.sock"), json!({ "id": id, "approve": true }));
    for home in [stage.home(), stage.agent_home()] {
        let home = json!({ "HOME": home });
        let (code, told) = agent.run(&[&program, "approvals", "approve", id], &home);
        assert_ne!(code, 0, "{told}");
        let (code, told) = agent.run(&[&program, "approvals", "list"], &home);
        assert!(code != 0 && !told.contains(id), "{told}");
    }
    let yes = yes.to_string();
    let post = ["-sS", "-H", "Content-Type: application/json", "-d", &yes];
    let (code, told) = agent.run(
        &[&["curl", "--unix-socket", &admin], &post[..], &["http://localhost/v1/approvals"]]
            .concat(),
        &json!({}),
    );
    assert_ne!(code, 0, "{told}");
    let url = format!("{}/v1/approvals", stage.base_url());
    let bearer = json!({ "Authorization": format!("Bearer {key}") });
    let (status, told) = agent.ask(&url, "GET", &bearer);
    assert!(status >= 400, "{told}");

    assert_eq!(stage.wait_for_call()["id"], id, "it still waits");
    assert!(stage.sent("POST").iter().all(|it| !it.path().contains("runcommand")));
}

/// What the agent sends by itself while its key is good.
pub(super) fn gets_nothing_personal_by_odd_requests(stage: &Stage, agent: &mut Agent, key: &str) {
    let base = stage.base_url();
    let coworkers = format!("{base}/api/spaces/coworkers");
    for (name, value) in [
        ("Accept", "text/csv"),
        ("Accept-Encoding", "br, gzip"),
        ("Range", "bytes=0-400"),
        ("X-HTTP-Method-Override", "GET"),
    ] {
        agent.ask(&coworkers, "GET", &json!({ "Nexudus-Proxy-Key": key, name: value }));
    }
    for query in [
        "$select=Email",
        "orderBy=Email",
        "callback=x",
        "Coworker_FullName=Ada%20Lovelace",
        "from_Coworker_Email=a",
        "q=Ada",
    ] {
        let asked =
            agent.ask(&format!("{coworkers}?{query}"), "GET", &json!({ "Nexudus-Proxy-Key": key }));
        assert_eq!(
            (asked.0, asked.1.contains("policy.redacted")),
            (403, true),
            "{query}: {}",
            asked.1
        );
    }
    for path in ["/ContentDownload/x", "/api/sys/users", "/api/sys/refreshtokens"] {
        let asked =
            agent.ask(&format!("{base}{path}"), "GET", &json!({ "Nexudus-Proxy-Key": key }));
        assert_eq!(asked.0, 403, "{path}: {}", asked.1);
    }
}

/// What the agent's user tries once the key is gone.
pub(super) fn goes_round_nothing(stage: &Stage, agent: &mut Agent, key: &str) {
    let program = stage.program().display().to_string();
    let own = json!({ "HOME": stage.agent_home() });
    let persons = json!({ "HOME": stage.home() });
    let before = stage.person_says(&["client", "list", "--json"]);

    // A key of its own, which this daemon does not know.
    let (code, made) = agent.run(&[&program, "client", "add", "mine", "-q"], &own);
    assert_eq!(code, 0, "{made}");
    let made = made.lines().next().unwrap().to_owned();
    let (code, told) = agent.run(&[&program, "client", "add", "mine", "-q"], &persons);
    assert!(code != 0 && !told.contains("nxp_"), "{told}");
    let (code, told) = agent.run(&[&program, "run", "-q", "--", "true"], &persons);
    assert_ne!(code, 0, "{told}");
    let (code, told) = agent.run(&[&program, "api", "/api/spaces/coworkers"], &persons);
    assert_ne!(code, 0, "{told}");
    assert_eq!(stage.person_says(&["client", "list", "--json"]), before);

    shows_no_other_key(stage, agent, key, &made);
    for socket in ["run/admin.sock", "run/proxy.sock"] {
        let socket = stage.state(socket);
        let command = ["curl", "-sS", "--unix-socket", &socket, "http://localhost/v1/status"];
        let (code, told) = agent.run(&command, &own);
        assert_eq!(code, 7, "{told}");
    }
    reads_no_file(stage, agent);

    // Nexudus itself takes neither the key nor nothing.
    let direct = format!("https://spaces.nexudus.com:{}", stage.nexudus.address().port());
    let resolve = format!("{}:127.0.0.1", &direct[8..]);
    let bearer = format!("Authorization: Bearer {key}");
    let url = format!("{direct}/api/spaces/coworkers");
    for header in [&*bearer, "X: x"] {
        let command =
            ["curl", "-sSk", "--resolve", &resolve, "-H", header, &url, "-w", "%{http_code}"];
        let (_, told) = agent.run(&command, &own);
        assert!(told.ends_with("401"), "{told}");
    }
}

/// No key at all, the revoked one, one of another installation and an altered one are refused.
fn shows_no_other_key(stage: &Stage, agent: &mut Agent, key: &str, made: &str) {
    let coworkers = format!("{}/api/spaces/coworkers", stage.base_url());
    let mut altered = key.to_owned();
    altered.replace_range(8..9, if &key[8..9] == "a" { "b" } else { "a" });
    for other in [None, Some(key), Some(made), Some(&*altered)] {
        let mut ways = vec![json!({})];
        if let Some(key) = other {
            ways = vec![
                json!({ "Nexudus-Proxy-Key": key }),
                json!({ "Authorization": format!("Bearer {key}") }),
                json!({ "Proxy-Authorization": format!("Bearer {key}") }),
                json!({ "Cookie": format!("key={key}") }),
            ];
        }
        for headers in ways {
            let (status, told) = agent.ask(&coworkers, "GET", &headers);
            assert!((400..500).contains(&status) && told.contains("\"code\":\"guard."), "{told}");
        }
    }
}

/// Neither files of the person nor the daemon's process are read, nor is it ended.
fn reads_no_file(stage: &Stage, agent: &mut Agent) {
    for file in ["clients.json", "session.sealed", "session.key", "audit.jsonl"] {
        let path = stage.state(file);
        assert!(std::path::Path::new(&path).exists(), "{path}");
        assert!(agent.read(&path).is_err_and(|it| it == "Permission denied"), "{path}");
    }
    let configuration = stage.home().join(".config/nexudus-proxy/config.toml");
    agent.read(&configuration.display().to_string()).unwrap_err();
    let daemon = stage.daemon_pid();
    for file in ["environ", "mem", "maps"] {
        agent.read(&format!("/proc/{daemon}/{file}")).unwrap_err();
    }
    for signal in ["-TERM", "-STOP"] {
        let (code, _) =
            agent.run(&["/bin/sh", "-c", &format!("kill {signal} {daemon}")], &json!({}));
        assert_ne!(code, 0);
    }
    assert!(stage.person_says(&["status"]).contains("ready"));
}

/// What an isolated agent tries, which is the same user as its person.
pub(super) fn reaches_no_daemon_from_inside(stage: &Stage, agent: &mut Agent, waiting: &Value) {
    let id = waiting["id"].as_str().unwrap();
    let program = stage.program().display().to_string();
    for command in [
        vec!["approvals", "approve", id],
        vec!["approvals", "list"],
        vec!["client", "list"],
        vec!["audit", "show"],
        vec!["api", "/api/spaces/coworkers"],
        vec!["run", "-q", "--", "true"],
    ] {
        let command = [&[&*program], &command[..]].concat();
        let (code, told) = agent.run(&command, &json!({}));
        assert!(code != 0 && !told.contains(id), "{command:?}: {told}");
    }
    // A client that is added inside is added to nothing.
    let before = stage.person_says(&["client", "list", "--json"]);
    agent.run(&[&program, "client", "add", "mine", "-q"], &json!({}));
    assert_eq!(stage.person_says(&["client", "list", "--json"]), before);
    for file in ["clients.json", "session.sealed", "session.key", "audit.jsonl"] {
        assert!(std::path::Path::new(&stage.state(file)).exists(), "{file}");
        agent.read(&stage.state(file)).unwrap_err();
    }
    for file in ["environ", "mem"] {
        agent.read(&format!("/proc/{}/{file}", stage.daemon_pid())).unwrap_err();
    }
    // The daemon's port, and Nexudus itself, are on no network of its.
    for url in [stage.base_url(), format!("http://{}", stage.nexudus.address())] {
        assert_eq!(agent.ask(&format!("{url}/api/spaces/coworkers"), "GET", &json!({})).0, 0);
    }
    // The listener that it does reach adds the key itself: left out, the limits stay.
    let command = "curl -sS $NEXUDUS_BASE_URL/api/spaces/coworkers?size=100";
    let (code, told) = agent.run(&["/bin/sh", "-c", command], &json!({}));
    assert!(code == 0 && told.contains("«PII:NAME:"), "{told}");
    assert_eq!(stage.wait_for_call()["id"], id, "it still waits");
}

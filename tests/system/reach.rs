//! Every command talks to the daemon that serves: here the system's alone, for root and for a member
//! of `admin.users`.

use std::os::unix::fs::MetadataExt as _;

use nexudus_simulator::Simulator;

use crate::machine::{ALICE, CAROL, EMAIL, Machine, START, Said, installed};

#[test]
fn where_the_systems_daemon_alone_runs_every_command_talks_to_it() {
    let (machine, _nexudus) = administered();
    for (user, name) in [("root", "by-root"), ("alice", "by-alice")] {
        let run = |line: &str| run(&machine, user, line);

        let added = run(&format!("client add {name} --read-only --json"));
        assert_eq!(added.code, 0, "{added:?}");
        let key = json(&added)["key"].as_str().unwrap().to_owned();
        let with_key = format!("-H 'Nexudus-Proxy-Key: {key}' http://localhost:6398/api/auth/me");
        assert_eq!(machine.curl(ALICE, &with_key), "200", "the daemon knows the key");
        assert!(run("client list").out.contains(name));
        let asked = run(&format!("policy explain POST /api/x --client {name}"));
        assert!(asked.out.starts_with("refused (policy.read-only)"), "{asked:?}");
        assert!(asked.err.contains("the configuration of the running daemon") && asked.code == 1);
        assert_eq!(run(&format!("client revoke {name}")).code, 0);
        assert_eq!(machine.curl(ALICE, &with_key), "403", "and forgets it");

        sees_the_systems_daemon(&machine, user);
    }
    let files = machine.path("/var/lib/private/nexudus-proxy");
    let owner = std::fs::metadata(&files).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(std::fs::metadata(files.join("clients.json")).unwrap().uid(), owner);
    for home in ["/root", "/home/alice"] {
        assert!(!machine.path(&format!("{home}/.local/state/nexudus-proxy")).exists(), "{home}");
    }

    let out = run(&machine, "alice", "logout");

    assert!(out.out.starts_with("logged out") && out.code == 0, "{out:?}");
    assert!(out.err.contains("the systemd credentials still hold a login"), "{out:?}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "503", "the daemon has forgotten it");
    assert_eq!(run(&machine, "root", "whoami").code, 3);
}

/// What the commands that only read say to one user.
fn sees_the_systems_daemon(machine: &Machine, user: &str) {
    let run = |line: &str| run(machine, user, line);
    let me = run("whoami --json");
    assert_eq!((json(&me)["Email"].as_str(), me.code), (Some(EMAIL), 0), "{me:?}");
    assert_eq!(json(&me)["through"], "daemon");
    assert_eq!(run("config path").out, "/etc/nexudus-proxy/config.toml\n");
    let shown = run("config show --json");
    let of = |key: &str| {
        let rows = json(&shown);
        rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone()
    };
    assert_eq!(of("admin.users")["value"], serde_json::json!(["alice"]), "{shown:?}");
    assert!(of("admin.users")["origin"].as_str().unwrap().starts_with("/etc/nexudus-proxy/"));
    let doctor = run("doctor");
    for line in [
        "/etc/nexudus-proxy/config.toml (the system's daemon)",
        "the system's serves",
        &format!("{EMAIL} from the systemd credentials, the most explicit source"),
        "6398: the daemon has it",
        "checked through the daemon",
    ] {
        assert!(doctor.out.contains(line), "{line}\n{}", doctor.out);
    }
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

#[test]
fn a_flag_chooses_the_daemon_and_a_stranger_is_told_whose_files_are_used() {
    let (machine, _nexudus) = administered();

    let own = run(&machine, "alice", "--user client list");
    assert!(own.err.contains("the files in /home/alice/.local/state/nexudus-proxy"), "{own:?}");
    assert_eq!(run(&machine, "alice", "--user status").code, 6);
    assert_eq!(run(&machine, "alice", "--system status").code, 0);

    let stranger = run(&machine, "carol", "client add mine");
    assert_eq!(stranger.code, 0, "{stranger:?}");
    assert!(stranger.err.contains("the files in /home/carol/"), "{stranger:?}");
    let refused = "the system's daemon takes commands only from root and from its admin.users";
    assert!(stranger.err.contains(refused), "{stranger:?}");
    assert!(
        stranger.err.contains("ask one of them to run `nexudus-proxy --system client add NAME`")
    );
    let env = run(&machine, "carol", "env --shell sh");
    assert!(
        env.out.contains("NEXUDUS_BASE_URL='http://localhost:6398'") && env.code == 0,
        "{env:?}"
    );
    assert!(env.err.contains(refused), "{env:?}");
    let doctor = run(&machine, "carol", "doctor");
    assert!(
        doctor.out.contains("the system's runs; ") && doctor.out.contains(refused),
        "{doctor:?}"
    );
    for line in ["lock", "logout"] {
        let said = run(&machine, "carol", line);
        assert!(said.err.contains(refused) && said.code == 0, "{said:?}");
    }
    let login = run(&machine, "carol", "--system login");
    assert!(login.err.contains("as root") && login.code == 2, "{login:?}");
    let refused = run(&machine, "carol", "--system client list");
    assert!(refused.err.contains("belongs to another user") && refused.code == 1, "{refused:?}");

    machine.run(
        "systemctl stop nexudus-proxy.socket nexudus-proxy-admin.socket nexudus-proxy.service",
    );
    let stopped = run(&machine, "root", "--system client add x");
    assert!(
        stopped
            .err
            .contains("hint: Start it with `nexudus-proxy --system service start`, as root."),
        "{stopped:?}"
    );
    assert_eq!(stopped.code, 6);
    let path = run(&machine, "root", "--system config path");
    assert_eq!(path.out, "/etc/nexudus-proxy/config.toml\n");
}

#[test]
fn a_command_that_the_systems_daemon_serves_is_a_client_of_it_and_ends_as_one() {
    let (machine, _nexudus) = administered();
    let asking = "'for method in GET POST; do curl -s -o /dev/null -w \"%{http_code} \" -X $method \
                  $NEXUDUS_BASE_URL/api/auth/me; done; nexudus-proxy --system client list'";

    let served = run(&machine, "alice", &format!("--system run --read-only -- sh -c {asking}"));

    assert!(served.out.starts_with("200 403 ") && served.code == 0, "{served:?}");
    assert!(served.out.contains("run-"), "its key is the system's: {served:?}");
    let left = run(&machine, "alice", "--system client list");
    assert!(!left.out.contains("run-") && left.code == 0, "{left:?}");
    let home = machine.path("/home/alice/.local/state/nexudus-proxy");
    assert!(!home.exists(), "nothing was served from alice's own profile");

    // Root may administer the daemon, and its requests are admitted only if `listen.users` names it.
    let refused = run(&machine, "root", "--system run -- true");
    assert!(refused.err.contains("the calling process belongs to another user"), "{refused:?}");
    assert!(refused.err.contains("`users = [\"root\"]`") && refused.code == 125, "{refused:?}");
    assert!(!run(&machine, "root", "--system client list").out.contains("run-"));
    let stranger = run(&machine, "carol", "--system run -- true");
    assert!(stranger.err.contains("belongs to another user") && stranger.code == 125);
}

#[test]
fn a_document_from_the_systems_daemon_is_saved_where_its_reader_may_read_it() {
    let (machine, _nexudus) = administered();

    let opened = run(&machine, "alice", "--system open /api/auth/me --json");

    assert_eq!((opened.code, &json(&opened)["opened"]), (0, &false.into()), "{opened:?}");
    let path = json(&opened)["path"].as_str().unwrap().to_owned();
    assert!(path.starts_with("/run/user/1000/nexudus-proxy/documents/"), "{path}");
    assert_eq!(std::fs::metadata(machine.path(&path)).unwrap().uid(), 1000);
    assert!(!machine.path("/run/nexudus-proxy/documents").exists());
    let stopped = "systemctl stop nexudus-proxy.socket nexudus-proxy-admin.socket \
                   nexudus-proxy.service";
    machine.run(stopped);
    let stopped = run(&machine, "alice", "--system open /api/auth/me");
    assert!(stopped.err.contains("`nexudus-proxy --system service start`"), "{stopped:?}");
    let doctor = run(&machine, "root", "--system doctor");
    assert!(doctor.out.contains("`nexudus-proxy --system service start`"), "{doctor:?}");
    assert!(!doctor.out.contains("serve`"), "{doctor:?}");
}

/// Boots a machine on which the service runs, and alice may administer it.
pub(crate) fn administered() -> (Machine, Simulator) {
    let machine = installed();
    machine.edit("nexudus-proxy-admin.socket", "[Socket]\nSocketMode=0666\n");
    let nexudus = machine.nexudus("[admin]\nusers = [\"alice\"]\n");
    machine.run(START);
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    (machine, nexudus)
}

fn run(machine: &Machine, user: &str, line: &str) -> Said {
    let line = format!("nexudus-proxy {line}");
    match user {
        "alice" => machine.tried_as(ALICE, &line),
        "carol" => machine.tried_as(CAROL, &line),
        _ => machine.tried(&line),
    }
}

fn json(said: &Said) -> serde_json::Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

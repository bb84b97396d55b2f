//! `run`: a command with a listener and a key of its own, with and without a daemon.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nexudus_simulator::Route;

use crate::shared::eventually;
use crate::support::run::{
    READ_AND_WRITE, clients, configuration, script, serving, serving_at, stage, with_login,
};

#[test]
fn without_a_daemon_one_runs_for_as_long_as_the_command_does() {
    let (upstream, home) = stage();
    let mut run = script(&home, "run --read-only", READ_AND_WRITE);

    assert_eq!(home.transcript(&mut run), "200 403\n=> 0\n");

    assert!(upstream.requests().iter().all(|seen| !format!("{seen:?}").contains("nxp_")));
    assert_eq!(clients(&home), "[]");
}

/// The command may leave a process behind whose request is under way.
#[test]
fn a_request_in_flight_is_finished_after_the_command_has_ended() {
    let (upstream, home) = stage();
    let held = upstream.hold(Route::Path("/api/spaces".to_owned()));
    let text = "curl -s -o /dev/null -w '%{http_code}' $NEXUDUS_BASE_URL/api/spaces/coworkers \
                > status 2>/dev/null & read -r _; echo > ended";
    let mut run = script(&home, "run", text).stdin(Stdio::piped()).spawn().unwrap();
    assert!(upstream.wait_until(|recording| recording.held() == 1, Duration::from_secs(60)));

    drop(run.stdin.take());
    eventually("the command ends", || home.path("ended").exists());
    held.release();

    assert!(run.wait().unwrap().success());
    eventually("curl ends", || home.path("status").metadata().is_ok_and(|it| it.len() == 3));
    assert_eq!(std::fs::read_to_string(home.path("status")).unwrap(), "200");
}

#[test]
fn with_a_daemon_its_own_limits_hold_as_well() {
    let (upstream, home) = stage();
    let daemon = serving(&home, "serve");

    let mut run = script(&home, "run --read-only", READ_AND_WRITE);
    assert_eq!(home.transcript(&mut run), "200 403\n=> 0\n");
    let mut run = script(
        &home,
        "run",
        "for n in 1 2; do curl -s -o /dev/null -w '%{http_code} ' -H \"Host: evil.example\" $NEXUDUS_BASE_URL/; done",
    );
    assert_eq!(home.transcript(&mut run), "421 421 => 0\n");

    let tokens = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/token");
    assert_eq!(tokens.count(), 1, "the daemon's own login and no other");
    drop(daemon);
    assert_eq!(clients(&home), "[]");
}

/// A flag of `serve` is known to the daemon alone.
#[test]
fn a_daemon_with_a_socket_of_its_own_choice_is_found() {
    let (upstream, home) = stage();
    let _daemon = serving(&home, "serve --socket elsewhere/api.sock");

    let mut run = script(&home, "run --read-only", READ_AND_WRITE);

    assert_eq!(home.transcript(&mut run), "200 403\n=> 0\n");
    let tokens = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/token");
    assert_eq!(tokens.count(), 1, "the daemon's own login and no other");
}

#[test]
fn a_daemon_that_cannot_be_called_is_named_and_nothing_is_run() {
    let (_upstream, home) = stage();
    let _daemon = serving_at(&home, "serve --socket off", "listening");

    assert_eq!(
        home.transcript(&mut script(&home, "run", "echo no")),
        "! error: could not connect to the daemon that serves the profile `default`: it has no unix \
         socket (listen.unix)\n\
         ! hint: See `nexudus-proxy status`; give it a socket, stop it, or choose another \
         --profile.\n\
         => 125\n"
    );
}

#[test]
fn limits_that_the_command_can_go_round_are_warned_of() {
    let (upstream, home) = stage();
    let warned = |line: &str| {
        let told = script(&home, line, "echo '{}'").output().unwrap();
        // The command's output is a program's to read.
        assert_eq!((told.status.code(), told.stdout.as_slice()), (Some(0), &b"{}\n"[..]), "{line}");
        let told = String::from_utf8(told.stderr).unwrap();
        assert!(!told.contains("bind only"), "{told}");
        let socket = home.path(".local/state/nexudus-proxy/run/run.sock");
        for beside in [
            format!("the socket {}", socket.display()),
            "a socket or an address of the daemon's own".into(),
        ] {
            let said = format!(
                "these limits bind what goes through `$NEXUDUS_BASE_URL` or shows its key; at \
                 {beside}, without that key, the command and every other process of this user may \
                 still "
            );
            if told.contains(&said) {
                return true;
            }
        }
        assert!(!told.contains("these limits bind"), "{told}");
        false
    };

    // The test's own configuration refuses callers without a key.
    assert!(!warned("run --read-only"));
    home.configure(configuration(&upstream, &home, "full"));
    for (line, expected) in [
        ("run --read-only", true),
        ("run --read-only --json", true),
        ("run --max-requests 5", true),
        ("run --read-only -q", false),
        ("run", false),
    ] {
        assert_eq!(warned(line), expected, "{line}");
    }
    // A daemon has its own policy.
    home.configure(configuration(&upstream, &home, "none"));
    let _daemon = serving(&home, "serve --policy-anonymous read-only");
    assert!(!warned("run --read-only"));
    assert!(warned("run --read-only --rate 5/s"));
}

/// The warning says that the command can also use the socket, which needs no key.
#[test]
fn what_goes_through_the_listener_of_a_run_is_bound_without_a_key_and_its_socket_is_not() {
    let (upstream, home) = stage();
    home.configure(configuration(&upstream, &home, "full"));
    let ask = "curl -s -o /dev/null -w '%{http_code} ' -H 'Content-Type: application/json' \
               -d '{\"FullName\":\"x\",\"Email\":\"x@example.test\"}'";
    let socket = home.path(".local/state/nexudus-proxy/run/run.sock");
    let text = format!(
        "{ask} $NEXUDUS_BASE_URL/api/spaces/coworkers; \
         {ask} --unix-socket {} http://localhost/api/spaces/coworkers",
        socket.display()
    );

    let told = home.transcript(&mut script(&home, "run --read-only -q", &text));

    assert_eq!(told, "403 200 => 0\n");
}

/// The flags of `run` are those of the limits; `login` has others, and clap would pass on a flag
/// that it takes for a word of the command.
#[test]
fn a_flag_that_a_run_does_not_take_is_answered_with_the_variable() {
    let (_upstream, home) = stage();
    for line in ["run --listen localhost:7000 -- true", "run --listen=localhost:7000 -- true"] {
        assert_eq!(
            home.run(line),
            "! error: unexpected argument '--listen' found\n\
             ! hint: This command takes no keys of the configuration as flags: set \
             NEXUDUS_PROXY_LISTEN_TCP in its environment.\n\
             => 125\n"
        );
    }
}

#[test]
fn a_tool_that_insists_on_logging_in_does_so_with_the_key() {
    let (_upstream, home) = stage();
    let mut run = script(
        &home,
        "run",
        "curl -s -d grant_type=password -d username=$NEXUDUS_EMAIL -d password=$NEXUDUS_PASSWORD \
         $NEXUDUS_BASE_URL/api/token | grep -c \"$NEXUDUS_PROXY_KEY\"",
    );

    assert_eq!(home.transcript(&mut run), "1\n=> 0\n");
}

#[test]
fn it_ends_as_the_command_does() {
    let (_upstream, home) = stage();
    let missing = format!("exec {}", home.path("missing").display());
    for (text, code) in [("exit 7", 7), ("kill -TERM $$", 143), (&missing, 127)] {
        let status = script(&home, "run", text).output().unwrap().status;
        assert_eq!(status.code(), Some(code), "{text}");
    }
    let code = |line: &str| with_login(&home, line).output().unwrap();
    assert_eq!(code("run -- no-such-command").status.code(), Some(127));
    assert_eq!(code("run -- /etc/passwd").status.code(), Some(126));
    assert_eq!(code("run --rate often -- true").status.code(), Some(125));
    assert_eq!(code("run").status.code(), Some(125));
    home.configure("[nonsense]\n");
    assert_eq!(code("run -- true").status.code(), Some(125));
}

#[test]
fn a_missing_home_directory_is_an_error_and_is_not_created() {
    let (_upstream, home) = stage();
    let missing = home.path("missing");
    let mut run = home.command("run -- true");
    run.env("HOME", &missing);

    assert_eq!(
        home.transcript(&mut run),
        "! error: could not use the state directory ~/missing/.local/state/nexudus-proxy\n\
         !   caused by: the home directory ~/missing does not exist: create it, or set HOME\n\
         ! hint: Make it writable for this user, or set STATE_DIRECTORY to a directory that is; where \
         nothing can be written: `nexudus-proxy serve --store memory --socket off`.\n\
         => 125\n"
    );
    assert!(!missing.exists());
}

/// Before its start nothing else is on stdout; from then on all of stdout is the command's.
#[test]
fn with_json_a_run_that_fails_itself_is_told_as_any_command() {
    let (_upstream, home) = stage();
    let told = |line: &str| {
        let told = with_login(&home, line).output().unwrap();
        (told.status.code(), String::from_utf8(told.stdout).unwrap())
    };

    let (code, said) = told("run --json -- no-such-command");
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["exit_code"]), (Some(127), &127.into()));
    assert_eq!(json["errors"][0]["sentence"], "could not run `no-such-command`");
    assert_eq!(told("run --json -- false"), (Some(1), String::new()));
    home.configure("[nonsense]\n");
    let (code, said) = told("--json run -- true");
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["exit_code"]), (Some(125), &125.into()));
}

/// A person who revokes the key while the command runs means it.
#[test]
fn a_run_whose_key_was_revoked_ends_without_a_warning() {
    let (_upstream, home) = stage();
    let text = "name=$(cd; $PROGRAM client list --json -q | grep -o 'run-[0-9a-f-]*'); \
                $PROGRAM client revoke $name >/dev/null; \
                curl -s -o /dev/null -w '%{http_code}\\n' $NEXUDUS_BASE_URL/api/auth/me";
    let mut run = script(&home, "run", text);
    run.env("PROGRAM", env!("CARGO_BIN_EXE_nexudus-proxy"));

    assert_eq!(home.transcript(&mut run), "403\n=> 0\n");
}

#[test]
fn the_limits_of_a_run_are_obeyed() {
    let (_upstream, home) = stage();
    let asked = |line: &str, rules: &[&str], paths: &str| {
        let mut run = with_login(&home, line);
        let ask = format!(
            "for path in {paths}; do curl -s -o /dev/null -w '%{{http_code}} ' \
             $NEXUDUS_BASE_URL/api/$path; done"
        );
        home.transcript(run.args(rules).args(["--", "/bin/bash", "-c", &ask]))
    };

    let rules = ["--allow", "GET /api/auth/**", "--deny", "GET /api/auth/x"];
    let paths = "auth/me auth/x spaces/coworkers auth/me auth/me";
    let said = asked("run --max-requests 2 --expires 8h", &rules, paths);
    assert_eq!(said, "200 403 403 200 403 => 0\n");
    assert_eq!(asked("run --rate 1/1h", &[], "auth/me auth/me"), "200 429 => 0\n");
    let mut run = with_login(&home, "run --no-delete");
    let delete = "curl -s -o /dev/null -w '%{http_code} ' -X DELETE $NEXUDUS_BASE_URL/api/x/y/1";
    assert_eq!(home.transcript(run.args(["--", "/bin/bash", "-c", delete])), "403 => 0\n");
    // Over before it begins.
    let said = asked("run --expires 1ms", &[], "auth/me");
    assert_eq!(said, "403 => 0\n");
}

/// Its command would answer what it is asked.
#[test]
fn a_run_asks_nobody_and_keeps_its_budget() {
    let (_upstream, home) = stage();
    let mut run = with_login(&home, "run --max-writes 2/day --max-deletes 1/day --ask");
    let send = "curl -s -X PUT $NEXUDUS_BASE_URL/api/x/y/1; \
                send() { curl -s -o /dev/null -w '%{http_code} ' -X $1 $NEXUDUS_BASE_URL/api/x/y/1; }; \
                send DELETE; send DELETE; send POST; send POST";
    let said = home.transcript(run.args(["PUT /**", "--", "/bin/bash", "-c", send]));
    assert!(said.contains("policy.approval-denied") && said.contains("serve"), "{said}");
    assert!(said.ends_with("404 403 404 403 => 0\n"), "{said}");
    let mut run = with_login(&home, "run --max-bytes 1B/day");
    let get = "for i in 1 2; do curl -s -o /dev/null -w '%{http_code} ' $NEXUDUS_BASE_URL/api/auth/me; done";
    let said = home.transcript(run.args(["--", "/bin/bash", "-c", get]));
    assert!(said.contains("403 "), "{said}");
}

#[test]
fn the_responses_of_a_run_are_redacted() {
    let (_upstream, home) = stage();
    let ask = "curl -s \"$NEXUDUS_BASE_URL/api/spaces/coworkers?size=1\"";
    let mut run = with_login(&home, "run --redact --resolve --share-tokens bots -q");
    let said = home.transcript(run.args(["--", "/bin/bash", "-c", ask]));
    assert!(said.contains("\"FullName\":\"«PII:NAME:"), "{said}");
    assert!(!said.contains('@'), "{said}");
}

#[test]
fn a_signal_is_passed_on() {
    let (_upstream, home) = stage();
    let text = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = script(&home, "run", text);
    let mut run = run.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut ready).unwrap();

    let pid = nix::unistd::Pid::from_raw(run.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();

    assert_eq!(run.wait().unwrap().code(), Some(9));
    assert_eq!(clients(&home), "[]");
}

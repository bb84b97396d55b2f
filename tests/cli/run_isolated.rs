//! `run --isolate`: a command that reaches its own listener and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use nexudus_simulator::Simulator;
use serde_json::json;

use crate::support::parent_proxy::{Manners, ParentProxy};
use crate::support::run::{script, serving, stage, with_login};

#[test]
fn a_program_that_knows_no_proxy_is_served_and_only_our_bearer_arrives() {
    let (upstream, home) = stage();
    let text = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' -H 'Authorization: Bearer mine' {0}/api/auth/me; \
         curl -sS -o /dev/null -w '%{{http_code}}\\n' $NEXUDUS_BASE_URL/api/auth/me; \
         curl -sS -o /dev/null -w '%{{http_code}}\\n' -H 'Host: evil.example' {0}/api/auth/me; \
         echo \"$NEXUDUS_EMAIL $HTTPS_PROXY\"",
        upstream.origin()
    );
    let mut run = script(&home, "run --isolate", &text);
    run.env("HTTPS_PROXY", "http://127.0.0.1:9");

    assert_eq!(home.transcript(&mut run), "200\n200\n421\nada@example.test \n=> 0\n");

    let seen = format!("{:?}", upstream.requests());
    assert!(!seen.contains("mine") && !seen.contains("nxp_"), "{seen}");
}

#[test]
fn nothing_of_this_program_or_of_the_person_is_reached_from_inside() {
    let (_upstream, home) = stage();
    let runtime = home.path("runtime");
    std::fs::create_dir(&runtime).unwrap();
    let _daemon = serving(&home, "serve --socket elsewhere/api.sock --admin-listen 127.0.0.1:0");
    let status: serde_json::Value =
        serde_json::from_str(home.run("status --json").strip_suffix("=> 0\n").unwrap()).unwrap();
    let port = |address: &serde_json::Value| -> u16 {
        address.as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    };
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let _bus = UnixListener::bind(runtime.join("bus")).unwrap();
    let _datagram = UnixDatagram::bind(home.path("datagram.sock")).unwrap();
    let name = format!("nexudus-proxy-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    let state = home.path(".local/state/nexudus-proxy");
    home.write(".local/state/nexudus-proxy/session.key", "sixteen bytes ok");
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    let given = json!({
        "pid": sleeper.id(),
        "tcp": [port(&status["listening"]["tcp"][0]), port(&status["listening"]["admin_tcp"]),
            other.local_addr().unwrap().port()],
        "unix": [home.path("elsewhere/api.sock"), state.join("run/admin.sock"), runtime.join("bus")],
        "datagram": home.path("datagram.sock"),
        "abstract": name,
        "files": [state, state.join("session.key"), home.path(".config/nexudus-proxy/config.toml")],
    });
    let attempts = |line: &str| {
        let mut run = with_login(&home, line);
        run.env("XDG_RUNTIME_DIR", "/nonexistent").env("DBUS_SESSION_BUS_ADDRESS", "unix:path=x");
        run.args(["--", "/usr/bin/python3"]);
        run.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/reach.py"));
        outcomes(run.arg(given.to_string()))
    };

    let outside = attempts("run -q --no-intercept");
    let inside = attempts("run -q --isolate");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();

    let undone: Vec<_> = outside.iter().filter(|(_, done)| !**done).map(|(name, _)| name).collect();
    let unprivileged = ["mount taken away", "terminal"];
    assert!(undone.iter().all(|name| unprivileged.contains(&name.as_str())), "{outside:?}");
    assert_eq!(inside.len(), outside.len());
    let done: Vec<_> = inside.iter().filter(|(_, done)| **done).collect();
    assert!(done.is_empty(), "reached from inside: {done:?}");
}

#[test]
fn our_own_commands_find_no_daemon_inside() {
    let (_upstream, home) = stage();
    let _daemon = serving(&home, "serve");
    let mut run = script(
        &home,
        "run -q --isolate",
        "$PROGRAM client add mine; echo $?; $PROGRAM status; echo $?",
    );
    run.env("PROGRAM", env!("CARGO_BIN_EXE_nexudus-proxy"));

    let told = run.output().unwrap();

    let out = String::from_utf8(told.stdout).unwrap();
    let codes: Vec<&str> = out.lines().collect();
    assert!(!out.contains("nxp_") && codes.len() == 2 && !codes.contains(&"0"), "{out}");
    assert_eq!(home.run("client list --json -q"), "[]\n=> 0\n");
}

#[test]
fn a_run_that_is_isolated_ends_as_its_command_does() {
    let (_upstream, home) = stage();
    let missing = format!("exec {}", home.path("missing").display());
    for (text, code) in [("exit 7", 7), ("kill -TERM $$", 143), (&missing, 127)] {
        let status = script(&home, "run -q --isolate", text).output().unwrap().status;
        assert_eq!(status.code(), Some(code), "{text}");
    }
    for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        let mut run = with_login(&home, "run -q --isolate --");
        let told = home.transcript(run.arg(command));
        assert!(told.starts_with(&format!("! error: could not run `{command}`\n")), "{told}");
        assert!(told.ends_with(&format!("=> {code}\n")), "{told}");
    }
}

#[test]
fn another_host_is_reached_where_it_is_named_and_by_the_proxy_of_before() {
    let (_upstream, home) = stage();
    let other = Simulator::builder().name("other.test").start().unwrap();
    std::fs::write(home.path("other.pem"), other.ca_pem()).unwrap();
    let proxy = ParentProxy::start(Manners::Leads(other.address()));
    let text = "curl -sS -o /dev/null -w '%{http_code}\\n' --cacert other.pem \
                https://other.test/api/auth/me 2>/dev/null || echo unreached";
    let told = |line: &str| {
        let mut run = script(&home, line, text);
        home.transcript(run.env("HTTPS_PROXY", format!("http://{}", proxy.address)))
    };

    assert_eq!(told("run -q --isolate --also other.test"), "401\n=> 0\n");
    assert!(told("run -q --isolate").contains("unreached"));

    assert_eq!(proxy.heads(), ["CONNECT other.test:443 HTTP/1.1|host: other.test:443"]);
    assert_eq!(other.requests().len(), 1, "its TLS ends there");
}

#[test]
fn a_signal_reaches_an_isolated_command_and_what_it_leaves_behind_ends() {
    let (_upstream, home) = stage();
    let text = "sleep 1000 & trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = script(&home, "run -q --isolate", text);
    let mut run = run.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();

    let pid = nix::unistd::Pid::from_raw(run.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();

    assert_eq!(run.wait().unwrap().code(), Some(9));
    // The sleep had the pipe open.
    line.clear();
    assert_eq!(out.read_line(&mut line).unwrap(), 0);
}

#[test]
fn an_isolated_command_ends_with_its_run_however_that_ends() {
    let (_upstream, home) = stage();
    let mut run = script(&home, "run -q --isolate", "echo ready; exec sleep 1000");
    let mut run = run.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();

    run.kill().unwrap();
    run.wait().unwrap();

    line.clear();
    assert_eq!(out.read_line(&mut line).unwrap(), 0, "the command has ended");
}

#[test]
fn where_the_kernel_refuses_nothing_is_run() {
    let (_upstream, home) = stage();
    let inner = script(&home, "run --isolate", "touch started");
    let mut run = Command::new("unshare");
    run.args(["--user", "--map-root-user", "sh", "-c"]);
    run.args(["echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"", "-"]);
    run.arg(inner.get_program()).args(inner.get_args()).env_clear().current_dir(home.root());
    run.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));

    let told = home.transcript(&mut run);

    assert_eq!(
        told,
        "! error: could not isolate the command: could not make namespaces of users, mounts, network \
         and processes\n\
         !   caused by: No space left on device (os error 28)\n\
         ! hint: The kernel, or the container around this, must allow unprivileged user namespaces; \
         without --isolate the command runs as usual.\n\
         => 125\n"
    );
    assert!(!home.path("started").exists());
}

#[test]
fn an_ordinary_user_is_isolated_as_well() {
    let (upstream, home) = stage();
    std::os::unix::fs::chown(home.root(), Some(65_534), Some(65_534)).unwrap();
    for entry in [".config", ".config/nexudus-proxy", ".config/nexudus-proxy/config.toml", "ca.pem"]
    {
        std::os::unix::fs::chown(home.path(entry), Some(65_534), Some(65_534)).unwrap();
    }
    let text = format!(
        "id -u; curl -sS -o /dev/null -w '%{{http_code}}\\n' {}/api/auth/me; ls -A $HOME/.config/nexudus-proxy",
        upstream.origin()
    );
    let inner = script(&home, "run -q --isolate", &text);
    let mut run = Command::new("setpriv");
    run.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    run.arg(inner.get_program()).args(inner.get_args()).env_clear().current_dir(home.root());
    run.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));

    assert_eq!(home.transcript(&mut run), "65534\n200\n=> 0\n");
}

#[test]
fn a_command_cannot_be_started_from_a_directory_that_is_hidden_from_it() {
    let (_upstream, home) = stage();
    let mut run = script(&home, "run -q --isolate", "cat config.toml");
    run.current_dir(home.path(".config/nexudus-proxy"));

    let told = home.transcript(&mut run);

    assert!(!told.contains("origin"), "{told}");
}

#[test]
fn an_isolation_needs_names_and_takes_no_other_reach() {
    let (_upstream, home) = stage();
    let told = |line: &str| home.transcript(&mut with_login(&home, line));

    assert!(told("run --isolate --no-intercept -- true").ends_with("=> 125\n"));
    assert!(told("run --also pypi.org -- true").ends_with("=> 125\n"));
}

fn outcomes(command: &mut Command) -> BTreeMap<String, bool> {
    let output = command.output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    let lines = out.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, outcome)| (name.to_owned(), outcome == "done")).collect()
}

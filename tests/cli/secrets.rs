//! Known secrets, every command and every error: found in no output, file, log, argument or
//! environment of a child; and the daemon's memory is closed to its own user.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon_env::{Serving, files};
use crate::shared::eventually;
use crate::support::parent_proxy::{Manners, ParentProxy};
use crate::support::run::Talk;
use crate::support::{Home, home};

#[test]
fn no_child_inherits_a_secret_in_its_environment_or_arguments() {
    let home = home();
    let simulator = upstream(&home);
    let daemon = serve(&home, command(&home, "serve"));
    eventually("it serves", || said(&home, "whoami").ends_with("=> 0\n"));
    let mut run = command(&home, "run -- sh -c");
    // What TOML would have read.
    run.arg(witness(&home, "run").replace("\\\\", "\\"));
    let told = home.transcript(&mut run);
    assert!(told.ends_with("=> 0\n"), "{told}");
    // The stored password is refused from now on, so the notify command runs.
    simulator.change_password(DEMO_EMAIL, "marker-another-password");
    simulator.revoke_access_tokens();
    simulator.revoke_refresh_tokens();
    eventually("the notify command runs", || {
        said(&home, "whoami");
        home.path("seen-notify").exists()
    });
    drop(daemon);

    let secrets = secrets(&simulator);
    for child in ["password", "key", "notify", "run"] {
        let seen = fs::read_to_string(home.path(&format!("seen-{child}"))).unwrap();
        assert!(seen.contains("PATH=") && seen.contains("NEXUDUS_TOTP_LOOKALIKE="), "{child}");
        let password = seen.lines().find_map(|line| line.strip_prefix("NEXUDUS_PASSWORD="));
        // The one that `run` gives is a key of its own, for this machine and this command.
        assert!(password.is_none_or(|key| key.starts_with("nxp_")), "{child}");
        without(&seen, &secrets, &child);
    }
}

#[test]
fn no_command_and_no_error_shows_a_secret() {
    let home = home();
    let simulator = upstream(&home);
    let texts = everything_said(&home, &simulator);

    // The client's key is printed on purpose, once; it is not among these.
    assert_without(&home, &texts, &secrets(&simulator));
}

#[test]
fn under_basic_no_command_and_no_error_shows_the_login_or_its_encoding() {
    let home = home();
    let simulator = upstream(&home);
    let file = home.path(".config/nexudus-proxy/config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let basic = text.replacen("[upstream]\n", "[upstream]\nauth = \"basic\"\n", 1);
    fs::write(file, basic).unwrap();
    let texts = everything_said(&home, &simulator);

    let sent: Vec<_> = simulator
        .requests()
        .iter()
        .filter_map(|seen| Some(seen.header("authorization")?.strip_prefix("Basic ")?.to_owned()))
        .map(|pair| pair.trim_end_matches('=').to_owned())
        .collect();
    assert!(!sent.is_empty() && simulator.token_calls().is_empty());
    let passwords = [PASSWORD, KEY, "marker-another-password"].map(str::to_owned);
    assert_without(&home, &texts, &[sent, passwords.to_vec()].concat());
}

/// Runs every command: while the login works, once it is refused, and without a network.
fn everything_said(home: &Home, simulator: &Simulator) -> Vec<(String, String)> {
    let mut texts = vec![];
    let mut say = |line: &str| texts.push((line.to_owned(), said(home, line)));
    let daemon = serve(home, command(home, "serve"));
    eventually("it serves", || said(home, "whoami").ends_with("=> 0\n"));
    for line in COMMANDS {
        say(line);
    }
    let environment = fs::read(format!("/proc/{}/cmdline", daemon.0.id())).unwrap();
    simulator.change_password(DEMO_EMAIL, "marker-another-password");
    simulator.revoke_access_tokens();
    simulator.revoke_refresh_tokens();
    eventually("it is refused", || said(home, "whoami").ends_with("=> 4\n"));
    for line in ["whoami", "status", "doctor", "refresh", "wait", "stop"] {
        say(line);
    }
    simulator.stop_listening();
    for line in ["logout", "whoami", "doctor", "logout --json"] {
        say(line);
    }
    drop(daemon);
    texts.push(("cmdline".to_owned(), String::from_utf8(environment).unwrap()));
    texts
}

fn assert_without(home: &Home, texts: &[(String, String)], secrets: &[String]) {
    for (line, text) in texts {
        without(text, secrets, line);
    }
    let log = fs::read_to_string(home.path("serve.log")).unwrap();
    assert!(log.contains("DEBUG"), "the log says all it can");
    for path in files(home.path(".local")).into_iter().chain([home.path("serve.log")]) {
        without(&String::from_utf8_lossy(&fs::read(&path).unwrap()), secrets, &path.display());
    }
}

/// What is run while the login works.
const COMMANDS: [&str; 28] = [
    "whoami",
    "whoami --json",
    "status",
    "status --json",
    "doctor",
    "doctor --json",
    "client add one --json --rate 5/s",
    "client set one --no-delete",
    "client rotate one --json",
    "client list",
    "client add two --redact --resolve --max-writes 5/day --guide",
    "client add three --redact=all --share-tokens bots --read-only --json",
    "policy explain GET /api/x --client two",
    "approvals list --json",
    "audit show",
    "audit show --json",
    "audit verify",
    "policy explain GET /api/x",
    "refresh",
    "lock",
    "whoami -vv",
    "unlock",
    "reload",
    "wait",
    "config show",
    "config check",
    "login --session-only",
    "login --email ada@example.test --credentials env",
];

#[test]
fn the_memory_of_the_daemon_is_closed_to_other_processes_of_its_user_and_never_dumped() {
    let home = home();
    let _simulator = upstream(&home);
    let mut other = unprivileged("sleep");
    other.arg("60");
    let other = Serving(other.spawn().unwrap());
    // A core dump of any size would be allowed.
    let mut daemon = unprivileged("sh");
    daemon.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]);
    let plain = command(&home, "serve");
    daemon.arg(plain.get_program()).args(plain.get_args()).env_clear();
    daemon.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut daemon = serve(&home, daemon);
    eventually("it serves", || said(&home, "whoami").ends_with("=> 0\n"));

    for what in ["mem", "environ", "maps"] {
        assert!(is_readable(other.0.id(), what), "another process of the user's is open: {what}");
        assert!(!is_readable(daemon.0.id(), what), "{what} of the daemon can be read");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.0.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"]);

    kill(Pid::from_raw(daemon.0.id().try_into().unwrap()), Signal::SIGABRT).unwrap();
    let status = daemon.0.wait().unwrap();
    assert!(status.signal() == Some(6) && !status.core_dumped(), "{status}");
}

#[test]
fn what_a_run_and_its_proxy_know_is_in_no_log_no_file_and_no_argument() {
    let home = home();
    let simulator = upstream(&home);
    fs::create_dir(home.path("tmp")).unwrap();
    // Once by itself, and once for a daemon.
    run_and_look(&home, &simulator, "run");
    let log = fs::read_to_string(home.path("run.log")).unwrap();
    assert!(log.contains("DEBUG"), "the log says all it can");
    let daemon = serve(&home, command(&home, "serve --forward-proxy-listen 127.0.0.1:0"));
    eventually("it serves", || said(&home, "whoami").ends_with("=> 0\n"));
    said(&home, "ca export intercept --output ca-intercept.pem");

    for way in ["run", "run --no-intercept", "run --isolate --also other.test"] {
        run_and_look(&home, &simulator, way);
    }

    let log = fs::read_to_string(home.path("serve.log")).unwrap();
    assert!(log.contains("DEBUG"), "the log says all it can");
    drop(daemon);
}

/// Has a command use all that a `run` gives it, and looks for secrets while it runs and afterwards.
fn run_and_look(home: &Home, simulator: &Simulator, way: &str) {
    let said = "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
    let parent = ParentProxy::start(Manners::Says(said));
    let script = format!(
        "ask() {{ curl -s -o /dev/null \"$@\"; }}; read -r _; ask {0}/api/auth/me; \
         ask $NEXUDUS_BASE_URL/api/auth/me; ask -d grant_type=password -d password=$NEXUDUS_PASSWORD \
         $NEXUDUS_BASE_URL/api/token; ask https://other.test/; ask http://other.test/; \
         echo $NEXUDUS_PROXY_KEY; read -r _",
        simulator.origin()
    );
    let password = "marker-parent-password";
    let proxy = format!("http://ada:{password}@{}", parent.address);
    let mut run = command(home, &format!("{way} -- sh -c"));
    run.arg(&script).env("TMPDIR", home.path("tmp"));
    run.env("HTTPS_PROXY", &proxy).env("http_proxy", &proxy);
    run.stderr(fs::File::create(home.path("run.log")).unwrap());

    let mut talk = Talk::begin(run);
    let key = talk.ask();

    assert!(key.starts_with("nxp_"), "{way}: {key}");
    let secrets = [key, password.to_owned(), "YWRhOm1hcmtlci1wYXJlbnQtcGFzc3dvcmQ".to_owned()];
    let arguments = arguments_below(talk.pid());
    assert!(arguments.contains("sh -c ask()"), "{arguments}");
    without(&arguments, &secrets, &way);
    without_in_files(home, &secrets);
    assert_eq!(talk.end(), Some(1), "the end of its input");
    without_in_files(home, &secrets);
    without(&format!("{:?}", simulator.requests()), &secrets, &way);
    let heads = parent.heads().join("\n").to_ascii_lowercase();
    assert!(heads.contains("proxy-authorization: basic "), "{way}: the password was used");
}

/// Looks into every file that this program has written, and for keys of authorities by their form.
fn without_in_files(home: &Home, secrets: &[String]) {
    let logs = ["run.log", "serve.log", "ca-intercept.pem"].map(|name| home.path(name));
    for path in files(home.path(".local")).into_iter().chain(files(home.path("tmp"))).chain(logs) {
        let bytes = fs::read(&path).unwrap_or_default();
        without(&String::from_utf8_lossy(&bytes), secrets, &path.display());
        for form in KEY_FORMS {
            let found = bytes.windows(form.len()).any(|window| window == form);
            assert!(!found, "{} holds a private key", path.display());
        }
    }
}

/// How each private key of P-256 begins: in PEM, in base64, and in bytes (RFC 5915, RFC 5958).
const KEY_FORMS: [&[u8]; 4] = [
    b"PRIVATE KEY",
    b"MIGHAgEAMBMGByqGSM49",
    b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x02\x01\x01\x04\x20",
];

/// Returns the arguments of a process and of those below it.
fn arguments_below(pid: u32) -> String {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().map(|child| arguments_below(child.parse().unwrap()));
    let own = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let own = String::from_utf8_lossy(&own).replace('\0', " ");
    [own].into_iter().chain(below).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_memory_of_a_run_is_closed_too() {
    let home = home();
    let _simulator = upstream(&home);
    let plain = command(&home, "run -q -- sh -c");
    let mut run = unprivileged("sh");
    run.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]);
    run.arg(plain.get_program()).args(plain.get_args()).env_clear();
    run.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run.arg("read -r _; echo; read -r _").current_dir(home.root());
    let mut talk = Talk::begin(run);
    talk.ask();

    for what in ["mem", "environ", "maps"] {
        assert!(!is_readable(talk.pid(), what), "{what} of a run can be read");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", talk.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert_eq!(talk.end(), Some(1));
}

/// Says whether another process of the same user can read this.
fn is_readable(pid: u32, what: &str) -> bool {
    let mut reader = unprivileged("head");
    reader.args(["-c", "0"]).arg(format!("/proc/{pid}/{what}"));
    reader.stderr(Stdio::null()).status().unwrap().success()
}

const PASSWORD: &str = "marker-password-of-the-environment";
const KEY: &str = "marker-key-of-the-session-file";

/// The daemon reads its key and the address by commands, and the password from the environment.
fn upstream(home: &Home) -> Simulator {
    let account = Account::new(DEMO_EMAIL, PASSWORD);
    let simulator = Simulator::builder().account(account).start().unwrap();
    simulator.write_ca(&home.path("ca.pem")).unwrap();
    home.write("the-key", KEY);
    home.write("the-password", PASSWORD);
    let argv =
        |child: &str, then: &str| format!("[\"sh\", \"-c\", \"{}; {then}\"]", witness(home, child));
    let path = |name: &str| home.path(name).display().to_string();
    home.configure(format!(
        "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
         [log]\nlevel = \"trace\"\nformat = \"human\"\n\
         [credentials]\nemail = \"{DEMO_EMAIL}\"\ncommand = {}\n\
         [session]\nkey_command = {}\n\
         [notify]\ncommand = {}\n[audit]\nfile = \"auto\"\n",
        simulator.origin(),
        path("ca.pem"),
        argv("password", &format!("cat {}", path("the-password"))),
        argv("key", &format!("cat {}", path("the-key"))),
        argv("notify", "true"),
    ));
    simulator
}

/// A script, as TOML has it, that writes down what it inherited.
fn witness(home: &Home, child: &str) -> String {
    let seen = home.path(&format!("seen-{child}")).display().to_string();
    ["environ", "cmdline"]
        .map(|what| format!("tr '\\\\0' '\\\\n' </proc/$$/{what} >>{seen}"))
        .join("; ")
}

fn command(home: &Home, line: &str) -> Command {
    let mut command = home.command(line);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("NEXUDUS_PASSWORD", PASSWORD).env("NEXUDUS_TOTP_LOOKALIKE", "1");
    command
}

fn said(home: &Home, line: &str) -> String {
    home.transcript(&mut command(home, line))
}

fn serve(home: &Home, mut command: Command) -> Serving {
    let log = fs::File::create(home.path("serve.log")).unwrap();
    Serving(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
}

/// The passwords, the key of the file, and every token that was issued.
fn secrets(simulator: &Simulator) -> Vec<String> {
    let mut secrets = [PASSWORD, KEY, "marker-another-password"].map(str::to_owned).to_vec();
    for call in simulator.token_calls() {
        secrets.extend(call.issued.into_iter().chain(call.issued_refresh));
    }
    assert!(secrets.len() > 4);
    secrets
}

fn without(text: &str, secrets: &[String], place: &impl std::fmt::Display) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{place} shows a secret");
    }
}

/// A program without the powers that root has over every process.
fn unprivileged(program: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", program]);
    command
}

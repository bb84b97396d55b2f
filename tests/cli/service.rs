//! The daemon as a service: what is written, what is run, what is said. systemd itself is a script
//! here that notes how it was called; `tests/system` has the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::support::{CONFIG, Home, home};

#[test]
fn installing_says_each_thing_and_again_changes_nothing() {
    let place = Place::new();

    assert_eq!(
        place.run("service install"),
        "wrote ~/.config/systemd/user/nexudus-proxy.socket\n\
         wrote ~/.config/systemd/user/nexudus-proxy-admin.socket\n\
         wrote ~/.config/systemd/user/nexudus-proxy.service\n\
         ran systemctl --user daemon-reload\n\
         ran systemctl --user enable --quiet --now nexudus-proxy.socket \
         nexudus-proxy-admin.socket nexudus-proxy.service\n\
         serves   http://localhost:6398\n\
         session  the daemon does not answer yet\n\
         callers  you\n\
         next     `nexudus-proxy service status`\n\
         ! note: It ends when you log out, and starts with your next login. \
         `loginctl enable-linger` keeps it running from the machine's start on.\n\
         => 0\n"
    );
    let unit = place.unit("nexudus-proxy.service");
    let program = env!("CARGO_BIN_EXE_nexudus-proxy");
    assert!(unit.contains(&format!("\nExecStart={program} serve\n")), "{unit}");
    place.home.write("lingers", "yes");

    assert_eq!(
        place.run("service install"),
        "unchanged ~/.config/systemd/user/nexudus-proxy.socket\n\
         unchanged ~/.config/systemd/user/nexudus-proxy-admin.socket\n\
         unchanged ~/.config/systemd/user/nexudus-proxy.service\n\
         ran systemctl --user daemon-reload\n\
         ran systemctl --user enable --quiet --now nexudus-proxy.socket \
         nexudus-proxy-admin.socket nexudus-proxy.service\n\
         serves   http://localhost:6398\n\
         session  the daemon does not answer yet\n\
         callers  you\n\
         next     `nexudus-proxy service status`\n\
         => 0\n"
    );
}

#[test]
fn it_is_started_looked_at_read_stopped_and_removed() {
    let place = Place::new();
    place.run("service install");
    let units = "nexudus-proxy.socket nexudus-proxy-admin.socket nexudus-proxy.service";

    assert_eq!(place.run("service start"), format!("ran systemctl --user start {units}\n=> 0\n"));
    assert_eq!(
        place.run("service status"),
        "service  active, process 4711: token valid 6d 3h\n\
         sockets  open\n\
         starts   at your login, ends when you log out\n\
         file     ~/.config/systemd/user/nexudus-proxy.service\n\
         file     ~/.config/systemd/user/nexudus-proxy.socket\n\
         file     ~/.config/systemd/user/nexudus-proxy-admin.socket\n\
         => 0\n"
    );
    let json = place.run("service status --json");
    let json = parsed(json.strip_suffix("=> 0\n").unwrap());
    assert_eq!((&json["pid"], &json["linger"]), (&4711.into(), &false.into()));
    assert_eq!(
        place.run("service logs --lines 7 --follow"),
        "journalctl --user --no-pager --output=short --lines 7 --follow --unit \
         nexudus-proxy.service\n=> 0\n"
    );
    assert_eq!(place.run("service stop"), format!("ran systemctl --user stop {units}\n=> 0\n"));
    place.home.write("state", "failed");
    assert_eq!(
        place.run("service status").lines().take(2).collect::<Vec<_>>(),
        ["service  failed (watchdog)", "sockets  closed"]
    );
    assert!(place.run("service status").ends_with("=> 6\n"));
    let told = place.run("service status --json");
    let (json, told) = told.split_once("! ").unwrap();
    let json = parsed(json);
    assert_eq!((&json["state"], &json["exit_code"]), (&"failed".into(), &6.into()));
    assert_eq!(json["errors"][0]["sentence"], "the service neither runs nor listens");
    assert!(told.ends_with("! hint: Run `nexudus-proxy service start`.\n=> 6\n"), "{told}");
    assert_eq!(
        place.run("service uninstall"),
        format!(
            "ran systemctl --user disable --quiet --now {units}\n\
             removed ~/.config/systemd/user/nexudus-proxy.service\n\
             removed ~/.config/systemd/user/nexudus-proxy.socket\n\
             removed ~/.config/systemd/user/nexudus-proxy-admin.socket\n\
             ran systemctl --user daemon-reload\n\
             => 0\n"
        )
    );
    assert_eq!(place.run("service uninstall"), "nothing is installed\n=> 0\n");
}

#[test]
fn a_failed_service_is_told_with_its_last_error_by_status_too() {
    let place = Place::new();
    place.run("service install");
    place.home.write("state", "failed");
    let failed = r#"{"SYSLOG_IDENTIFIER":"nexudus-proxy","MESSAGE":"error: unknown key `a`"}"#;
    place.home.write("journal", failed);
    assert_eq!(
        place.run("service status").lines().take(2).collect::<Vec<_>>(),
        ["service  failed (watchdog)", "error    unknown key `a`"]
    );
    let told = "! error: the service has failed: unknown key `a`\n\
                ! hint: Repair that, and run `nexudus-proxy service start`; `nexudus-proxy service \
                logs` has more lines.\n\
                => 6\n";
    assert_eq!(place.run("status"), told);
}

fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_changed_address_is_put_in_and_the_sockets_are_opened_anew() {
    let place = Place::new();
    place.run("service install");
    place.home.configure("[listen]\ntcp = [\"127.0.0.1:7001\"]\nunix = \"off\"\n");

    let said = place.run("service install");

    assert!(said.starts_with("wrote ~/.config/systemd/user/nexudus-proxy.socket\nunch"), "{said}");
    assert!(said.contains("\nran systemctl --user stop nexudus-proxy.socket "), "{said}");
    let unit = place.unit("nexudus-proxy.socket");
    let listens = unit.lines().filter(|line| line.starts_with("ListenStream="));
    assert_eq!(listens.collect::<Vec<_>>(), ["ListenStream=127.0.0.1:7001"]);
}

#[test]
fn a_profile_has_a_service_of_its_own() {
    let place = Place::new();
    let config = place.home.write("np.toml", "[profile.work.listen]\ntcp = [\"[::1]:7002\"]\n");
    let config = config.display();

    let said = place.run(&format!("--profile work --config {config} service install --json"));

    let said: serde_json::Value =
        serde_json::from_str(said.split_once("! ").unwrap().0).expect(&said);
    assert_eq!(said["did"].as_array().unwrap().len(), 5, "{said}");
    assert_eq!(said["state"]["url"], "http://localhost:7002", "{said}");
    let unit = place.unit("nexudus-proxy@work.service");
    let runs = format!("nexudus-proxy --profile work --config {config} serve\n");
    assert!(unit.contains(&runs), "{unit}");
    let socket = place.unit("nexudus-proxy@work.socket");
    assert!(socket.contains("\nListenStream=[::1]:7002\n"), "{socket}");
    assert!(place.run("service status").ends_with("=> 6\n"), "the usual one is not installed");
}

/// A configuration that nothing can be made of, or that may not be read, is the reason to look at the
/// service: it is looked at, stopped and removed all the same.
#[test]
fn only_an_installation_needs_a_valid_configuration() {
    let place = Place::new();
    place.run("service install");
    for broken in ["[listen\n", "[listen]\nprot = 1\n"] {
        place.home.configure(broken);

        assert!(place.run("service status").ends_with("=> 0\n"));
        assert!(place.run("service logs").ends_with("=> 0\n"));
        assert!(place.run("service start").ends_with("=> 0\n"));
        assert!(place.run("service stop").ends_with("=> 0\n"));
        assert!(place.run("service install").ends_with("=> 2\n"));
    }
    fs::remove_file(place.home.path(CONFIG)).unwrap();
    fs::create_dir(place.home.path(CONFIG)).unwrap();
    assert!(place.run("service status").ends_with("=> 0\n"), "nor need it be readable");
    assert!(
        place.run("service uninstall").contains("\nleft ~/.config/nexudus-proxy/config.toml\n")
    );
}

#[test]
fn what_is_left_is_named_and_purged_only_after_a_yes() {
    let place = Place::new();
    place.run("service install");
    place.home.configure("");
    let state = ".local/state/nexudus-proxy";
    let drop_in = ".config/systemd/user/nexudus-proxy.service.d/override.conf";
    for file in ["session", "run/proxy.sock", "profiles/work/session"] {
        place.home.write(&format!("{state}/{file}"), "x");
    }
    place.home.write(drop_in, "[Service]\n");

    let said = place.run("service uninstall --purge");
    assert_eq!(
        said,
        "would remove ~/.config/systemd/user/nexudus-proxy.service.d\n\
         would remove ~/.local/state/nexudus-proxy/session\n\
         ! error: there is no terminal to prompt for your consent\n\
         ! hint: Give it with --yes.\n\
         => 2\n"
    );
    let said = place.run("service uninstall");
    assert!(
        said.ends_with(
            "left ~/.config/systemd/user/nexudus-proxy.service.d\n\
             left ~/.local/state/nexudus-proxy/session\n\
             ! note: `nexudus-proxy service uninstall --purge` removes what is left; a login in \
             the keychain goes with `nexudus-proxy logout`\n\
             => 0\n"
        ),
        "{said}"
    );
    fs::remove_dir_all(place.home.path(&format!("{state}/profiles"))).unwrap();
    assert_eq!(
        place.run("service uninstall --purge --yes"),
        "nothing is installed\n\
         removed ~/.config/systemd/user/nexudus-proxy.service.d\n\
         removed ~/.local/state/nexudus-proxy/session\n\
         removed ~/.config/nexudus-proxy/config.toml\n\
         => 0\n"
    );
    assert!(place.home.path(&format!("{state}/run/proxy.sock")).exists());
}

#[test]
fn what_cannot_be_is_said_with_a_way_out() {
    let place = Place::new();
    for act in ["start", "stop", "status", "logs"] {
        assert_eq!(
            place.run(&format!("service {act}")),
            "! error: the service is not installed\n\
             ! hint: Run `nexudus-proxy service install`.\n\
             => 6\n"
        );
    }
    assert_eq!(
        place.run("--profile work service --system install"),
        "! error: the system service serves only the default profile\n\
         ! hint: Leave --system or --profile out: each person may have services for profiles of \
         theirs.\n\
         => 2\n"
    );
    place.home.configure("[listen]\ntcp = [\"127.0.0.1:0\"]\n");
    assert_eq!(
        place.run("service install"),
        "! error: 127.0.0.1:0 names no port: a service needs a fixed one\n\
         ! hint: Give listen.tcp a port of its own.\n\
         => 2\n"
    );
    place.home.configure("[listen]\nunix = \"/run/my sockets/np.sock\"\n");
    assert_eq!(
        place.run("service install"),
        "! error: /run/my sockets/np.sock cannot be used in a unit: it has characters that are \
         special to systemd\n\
         ! hint: Give the configuration or the socket a path of ASCII letters, digits and \
         `/._+-@:,=~`.\n\
         => 2\n"
    );
    place.home.configure("");
    place.home.write("fails", "1");
    assert!(place.run("service install").ends_with(
        "! systemctl says why\n\
         ! error: `systemctl --user daemon-reload` failed (exit status: 1)\n\
         ! hint: `nexudus-proxy service logs` may tell more.\n\
         => 1\n"
    ));
}

#[test]
fn without_systemd_it_says_so_and_writes_nothing() {
    let place = Place::new();
    let said = "! error: this machine has no service manager that nexudus-proxy supports\n\
                ! hint: Have whatever starts programs here run `nexudus-proxy serve`.\n\
                => 1\n";

    place.home.write("running", "offline");
    assert_eq!(place.run("service install"), said);
    let mut nothing = place.home.command("service install");
    assert_eq!(place.home.transcript(nothing.env("PATH", "/nonexistent")), said);

    assert!(!place.home.path(".config/systemd").exists());
}

#[test]
fn a_daemon_that_was_started_by_hand_is_in_the_way() {
    let place = Place::new();
    let mut serve = place.home.command("serve --listen 127.0.0.1:0 --credentials env");
    let mut daemon = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Without a login `wait` ends as soon as the daemon runs.
    assert!(place.run("wait").ends_with("=> 3\n"));

    let said = place.run("service install");

    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(
        said,
        format!(
            "! error: a daemon runs already, and not as a service: process {}\n\
             ! hint: Stop it first: `nexudus-proxy stop`.\n\
             => 1\n",
            daemon.id()
        )
    );
    assert!(!place.home.path(".config/systemd").exists());
}

/// A home whose `PATH` begins with commands that say how they were called.
struct Place {
    home: Home,
}

impl Place {
    fn new() -> Self {
        let home = home();
        for (name, script) in [
            ("systemctl", SYSTEMCTL),
            (
                "journalctl",
                "#!/bin/sh\ncat \"$HOME/journal\" 2>/dev/null || echo \"journalctl $*\"\n",
            ),
            ("loginctl", "#!/bin/sh\ncat \"$HOME/lingers\" 2>/dev/null || echo no\n"),
        ] {
            let path = home.write(&format!("bin/{name}"), script);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home }
    }

    fn run(&self, line: &str) -> String {
        self.home.transcript(&mut self.command(line))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.home.command(line);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.home.path("bin").display()));
        command
    }

    fn unit(&self, name: &str) -> String {
        fs::read_to_string(self.home.path(".config/systemd/user").join(name)).unwrap()
    }
}

/// Answers what is asked; `$HOME` says how things are.
const SYSTEMCTL: &str = r#"#!/bin/sh
state=$(cat "$HOME/state" 2>/dev/null || echo active)
case "$*" in
  *is-system-running) cat "$HOME/running" 2>/dev/null || echo running ;;
  *show*.service)
    echo "ActiveState=$state"
    echo UnitFileState=enabled
    if [ "$state" = active ]; then
      printf 'MainPID=4711\nStatusText=token valid 6d 3h\nResult=success\n'
    else
      printf 'MainPID=0\nStatusText=\nResult=watchdog\n'
    fi ;;
  *show*.socket) echo "ActiveState=$state" ;;
  *) [ ! -e "$HOME/fails" ] || { echo "systemctl says why" >&2; exit 1; } ;;
esac
"#;

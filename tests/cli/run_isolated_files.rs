//! `run --isolate`: the files, descriptors and terminals that the command gets from its user.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Home;
use crate::support::run::{configuration, script, stage, with_login};

/// Makes a command one of an ordinary user, whom the home directory then belongs to.
fn as_ordinary_user(home: &Home, inner: &Command) -> Command {
    let owned = Command::new("chown").args(["-hR", "65534:65534"]).arg(home.root()).status();
    assert!(owned.unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear().current_dir(home.root());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Tries to put directories of the command's in the place of ours, and tells what it could do.
const REPLACE: &str = r#"
    cd /
    exec 2>/dev/null
    for name in .config .config/nexudus-proxy .config/systemd .local .local/state \
                .local/state/nexudus-proxy .local/share .local/share/systemd dotfiles dotfiles/config; do
        [ -e "$HOME/$name" ] || continue
        mv "$HOME/$name" "$HOME/moved" && echo "moved $name"
        unshare -Urm mv "$HOME/$name" "$HOME/moved" && echo "moved $name from a namespace of its own"
        rm "$HOME/$name" && echo "removed $name"
        rmdir "$HOME/$name" && echo "removed $name"
        ln -sfnT /tmp "$HOME/$name" && echo "linked $name"
    done
    mv "$HOME" "$HOME.moved" && echo 'moved the home directory'
    for name in .config/nexudus-proxy/config.toml .config/systemd/user/nexudus-proxy.service \
                .local/share/systemd/user/nexudus-proxy.service.d/x.conf \
                .local/state/nexudus-proxy/clients.json; do
        umount "$HOME/${name%/*}" && echo "unmounted $name"
        unshare -Urm umount "$HOME/${name%/*}" && echo "unmounted $name from a namespace of its own"
        mkdir -p "$HOME/${name%/*}"
        echo "credentials.command = ['/bin/false']" > "$HOME/$name" && echo "wrote $name"
        cat "$HOME/$name" && echo "read $name"
    done
    echo mine > "$HOME/.bashrc" && cat "$HOME/.bashrc"
"#;

#[test]
fn no_directory_of_the_command_takes_the_place_of_ours() {
    let (_upstream, home) = stage();
    let inner = script(&home, "run -q --isolate", REPLACE);
    let settings = std::fs::read(home.path(".config/nexudus-proxy/config.toml")).unwrap();

    let told = home.transcript(&mut as_ordinary_user(&home, &inner));

    // The person's other files are the command's as well.
    assert_eq!(told, "mine\n=> 0\n");
    assert_eq!(std::fs::read(home.path(".config/nexudus-proxy/config.toml")).unwrap(), settings);
}

#[test]
fn a_link_on_the_way_to_our_directories_stays_what_it_is() {
    let (_upstream, home) = stage();
    std::fs::create_dir(home.path("dotfiles")).unwrap();
    std::fs::rename(home.path(".config"), home.path("dotfiles/config")).unwrap();
    symlink("dotfiles/config", home.path(".config")).unwrap();
    let inner = script(&home, "run -q --isolate", REPLACE);

    assert_eq!(home.transcript(&mut as_ordinary_user(&home, &inner)), "mine\n=> 0\n");

    assert_eq!(std::fs::read_link(home.path(".config")).unwrap(), Path::new("dotfiles/config"));
}

#[test]
fn directories_of_ours_that_are_missing_cannot_be_made_by_the_command() {
    let (_upstream, home) = stage();
    std::fs::rename(home.path(".config/nexudus-proxy/config.toml"), home.path("other.toml"))
        .unwrap();
    std::fs::remove_dir_all(home.path(".config")).unwrap();
    let inner = script(&home, "run -q --isolate --config other.toml", REPLACE);

    assert_eq!(home.transcript(&mut as_ordinary_user(&home, &inner)), "mine\n=> 0\n");

    let left = home.path(".config/nexudus-proxy");
    assert_eq!(std::fs::read_dir(&left).unwrap().count(), 0);
    assert_eq!(left.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(home.path(".config/systemd")).unwrap().count(), 0);
}

#[test]
fn a_second_mount_of_the_home_directory_shows_nothing_more() {
    let (_upstream, home) = stage();
    std::fs::create_dir(home.path("again")).unwrap();
    std::fs::create_dir(home.path("part")).unwrap();
    home.write(".local/state/nexudus-proxy/sub/x", "marker-of-ours");
    let text = "cat again/.config/nexudus-proxy/config.toml part/x 2>/dev/null; ls again";
    let inner = script(&home, "run -q --isolate", text);
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c"]);
    run.arg("mount --bind $HOME again && mount --bind .local/state/nexudus-proxy/sub part && exec \"$@\"");
    run.arg("-").arg(inner.get_program()).args(inner.get_args()).env_clear();
    run.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run.current_dir(home.root());

    assert_eq!(home.transcript(&mut run), "again\nca.pem\npart\n=> 0\n");
}

#[test]
fn files_that_the_configuration_names_are_closed_and_the_audit_is_hidden() {
    let (upstream, home) = stage();
    let notify = home.write("bin/notify.sh", "#!/bin/sh\n");
    std::fs::set_permissions(&notify, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.write("logs/audit.jsonl", "");
    home.write("logs/audit.jsonl.1", "marker-of-the-audit\n");
    let settings = configuration(&upstream, &home, "none");
    home.configure(format!(
        "{settings}[audit]\nfile = '{}'\n[notify]\ncommand = ['{}']\n",
        home.path("logs/audit.jsonl").display(),
        notify.display(),
    ));
    let text =
        "exec 2>/dev/null; ls logs; cat logs/*; echo x > logs/audit.jsonl && echo wrote audit
        for name in ca.pem bin/notify.sh; do
            cat $name > /dev/null || echo unread $name
            echo x >> $name && echo wrote $name
            echo x > new; mv new $name && echo replaced $name
            rm $name && echo removed $name
        done
        mv bin elsewhere && echo moved bin; mv logs elsewhere && echo moved logs";
    let inner = script(&home, "run -q --isolate", text);

    assert_eq!(home.transcript(&mut as_ordinary_user(&home, &inner)), "=> 1\n");

    assert_eq!(std::fs::read_to_string(notify).unwrap(), "#!/bin/sh\n");
}

#[test]
fn an_audit_beside_the_files_of_the_command_is_refused() {
    let (upstream, home) = stage();
    let settings = configuration(&upstream, &home, "none");
    home.configure(format!("{settings}[audit]\nfile = '{}'\n", home.path("audit.jsonl").display()));

    let told = home.transcript(&mut script(&home, "run --isolate", "echo started"));

    assert_eq!(
        told,
        "! error: could not isolate the command: it needs the directory of audit.file, ~\n\
         ! hint: Give audit.file a directory of its own: the files that follow a full one are in it too.\n\
         => 125\n"
    );
}

#[test]
fn no_descriptor_beyond_the_three_is_passed_on() {
    let (_upstream, home) = stage();
    home.write(".local/state/nexudus-proxy/marker", "marker-of-ours");
    let text = "cat /proc/self/fd/7/marker /proc/self/fd/9 2>/dev/null; echo /proc/self/fd/*";
    let inner = script(&home, "run -q --isolate", text);
    let mut run = Command::new("/bin/bash");
    run.arg("-c").arg("exec 7<$HOME/.local/state/nexudus-proxy 9<ca.pem; exec \"$@\"").arg("-");
    run.arg(inner.get_program()).args(inner.get_args()).env_clear().current_dir(home.root());
    run.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));

    let told = home.transcript(&mut run);

    // The shell has the directory open that it lists.
    let listed = "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
    assert!(told.starts_with(listed) && !told.contains("fd/7") && !told.contains("fd/9"), "{told}");
}

#[test]
fn a_descriptor_that_leads_out_is_refused_and_a_pipe_is_not() {
    let (_upstream, home) = stage();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (pair, _other) = UnixStream::pair().unwrap();
    let open = |path: &str| OwnedFd::from(std::fs::File::open(home.path(path)).unwrap());
    let told = |stdin: OwnedFd| {
        let mut run = with_login(&home, "run -q --isolate -- echo started");
        home.transcript(run.stdin(Stdio::from(stdin)))
    };
    let refused = |why: &str| {
        format!(
            "! error: could not isolate the command: its standard input is {why}\n\
             ! hint: Redirect it from or to an ordinary file or a pipe.\n=> 125\n"
        )
    };

    assert_eq!(told(open("")), refused("a directory"));
    assert_eq!(told(open(".config/nexudus-proxy")), refused("a directory"));
    let settings = ".config/nexudus-proxy/config.toml";
    let hidden = refused(&format!("a file that is hidden from it: ~/{settings}"));
    assert_eq!(told(open(settings)), hidden);
    assert_eq!(told(tcp.into()), refused("a socket that reaches other programs"));
    assert_eq!(told(pair.into()), "started\n=> 0\n");
    assert_eq!(told(open("ca.pem")), "started\n=> 0\n");
}

#[test]
fn a_terminal_serves_the_command_and_no_other_terminal_is_reached() {
    let (_upstream, home) = stage();
    let inner = script(&home, "run -q --isolate", "true");
    let mut run = as_ordinary_user(&home, &inner);
    // The same user has both terminals.
    let arguments: Vec<_> = run.get_args().map(ToOwned::to_owned).collect();
    let (privileges, inner) = arguments.split_at(3);
    run = Command::new("setpriv");
    run.args(privileges).arg("/usr/bin/python3");
    run.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/terminals.py"));
    run.args(&inner[..inner.len() - 1]).env_clear().current_dir(home.root());
    let login = with_login(&home, "");
    run.envs(login.get_envs().filter_map(|(name, value)| Some((name, value?))));

    let told = home.transcript(&mut run);

    assert_eq!(
        told,
        "a terminal\n33 77\nby its name\na new one\nready\n40 90\ninterrupted\n=> 5\nuntouched\n=> 0\n"
    );
}

#[test]
fn root_sees_nothing_of_the_systems_service_and_changes_no_setting_of_the_kernel() {
    let (_upstream, home) = stage();
    let text = "exec 2>/dev/null
        for name in /etc/nexudus-proxy /var/lib/nexudus-proxy /run/nexudus-proxy /etc/credstore \
                    /run/credentials; do
            ls -A $name; echo x > $name/marker && echo wrote $name
            mv $name $name.moved && echo moved $name
        done
        for name in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper; do
            (: >> $name) && echo opened $name
        done
        find /dev -type b; mknod /tmp/disk.$$ b 7 0 && echo made a device; echo done";
    let inner = script(&home, "run -q --isolate", text);
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c"]);
    run.arg(
        "mount -t tmpfs own /mnt && cp -a /etc /mnt/etc && mount --bind /mnt/etc /etc && \
         mount -t tmpfs own /var/lib && mount -t tmpfs own /run && \
         for name in /etc/nexudus-proxy /var/lib/nexudus-proxy /run/nexudus-proxy /etc/credstore \
                     /run/credentials; do \
             mkdir -p $name && echo marker-of-the-system > $name/marker || exit 99; done && \
         \"$@\" && cat /etc/nexudus-proxy/marker",
    );
    run.arg("-").arg(inner.get_program()).args(inner.get_args()).env_clear();
    run.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run.current_dir(home.root());

    assert_eq!(home.transcript(&mut run), "done\nmarker-of-the-system\n=> 0\n");
}

/// The state directory is hidden from the command, and so would be the files by which it trusts us.
#[test]
fn the_files_of_a_run_are_where_its_command_sees_them_whatever_tmpdir_names() {
    let (_upstream, home) = stage();
    let text =
        "[ -s \"$CURL_CA_BUNDLE\" ] && [ -s \"$SSL_CERT_FILE\" ] && echo \"$CURL_CA_BUNDLE\"";
    let state = home.path(".local/state/nexudus-proxy");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(home.path("a-file"), "").unwrap();
    for place in [state, home.path("missing"), home.path("a-file")] {
        let mut inner = script(&home, "run -q --isolate", text);
        inner.env("TMPDIR", &place);

        let told = home.transcript(&mut as_ordinary_user(&home, &inner));

        assert!(told.starts_with("/tmp/nexudus-run-"), "{}: {told}", place.display());
        assert!(told.ends_with("/bundle.pem\n=> 0\n"), "{}: {told}", place.display());
    }
}

//! Bad input: one sentence, its causes and a hint, exit 2; never a panic.

use crate::support::{Home, home};

/// Checks this configuration file.
fn check(content: impl AsRef<[u8]>) -> String {
    let home = home();
    home.configure(content);
    home.run("config check")
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_name() {
    assert_eq!(
        check("[throttle]\nread = \"auto\"\n"),
        "! error: ~/.config/nexudus-proxy/config.toml:2:1: unknown key `throttle.read`\n\
         ! hint: Did you mean `throttle.reads`?\n\
         => 2\n"
    );
}

#[test]
fn an_unknown_section_is_answered_with_the_nearest_name() {
    assert_eq!(
        check("[throtle]\nreads = \"auto\"\n"),
        "! error: ~/.config/nexudus-proxy/config.toml:1:2: unknown section [throtle]\n\
         ! hint: Did you mean [throttle]?\n\
         => 2\n"
    );
}

#[test]
fn a_section_of_a_profile_is_meant_there() {
    for (written, meant) in [("work.listn", "work.listen"), ("work.throtle", "work.throttle")] {
        assert_eq!(
            check(format!("[profile.{written}]\ntcp = []\n")),
            format!(
                "! error: ~/.config/nexudus-proxy/config.toml:1:15: unknown section \
                 [profile.{written}]\n\
                 ! hint: Did you mean [profile.{meant}]?\n\
                 => 2\n"
            )
        );
    }
    let nested = check("[profile.work.profil]\na = 1\n");
    assert!(!nested.contains("Did you mean"), "{nested}");
}

#[test]
fn malformed_toml_is_told_with_line_and_column() {
    assert_eq!(
        check("[listen]\ntcp = [\"127.0.0.1:6398\"\n[log]\n"),
        "! error: ~/.config/nexudus-proxy/config.toml:3:1: not valid TOML\n\
         !   caused by: missing comma between array elements, expected `,`\n\
         => 2\n"
    );
}

#[test]
fn a_file_that_is_not_text_is_told_with_line_and_column() {
    assert_eq!(
        check(b"[log]\nlevel = \"\xff\"\n"),
        "! error: ~/.config/nexudus-proxy/config.toml:2:10: not valid UTF-8\n\
         ! hint: Save the file as UTF-8.\n\
         => 2\n"
    );
}

#[test]
fn an_upstream_that_is_not_https_is_refused() {
    assert_eq!(
        home().run("serve --upstream http://spaces.nexudus.com"),
        "! error: --upstream: upstream.origin: must be https: with http:// others on the network could \
         read the token\n\
         ! hint: Write https://; for a certificate of your own, name its CA with \
         upstream.ca_file.\n\
         => 2\n"
    );
}

#[test]
fn a_ca_file_that_cannot_be_read_is_refused_before_anything_starts() {
    let home = home();
    home.write("ca.pem", "not a certificate");

    assert_eq!(
        home.run("serve --ca-file missing.pem"),
        "! error: --ca-file: could not read the CA file ~/missing.pem\n\
         !   caused by: No such file or directory (os error 2)\n\
         ! hint: Name a readable file with at least one `-----BEGIN CERTIFICATE-----`.\n\
         => 2\n"
    );
    assert_eq!(
        home.run("serve --ca-file ~/ca.pem"),
        "! error: --ca-file: could not read the CA file ~/ca.pem\n\
         !   caused by: it holds no PEM certificate\n\
         ! hint: Name a readable file with at least one `-----BEGIN CERTIFICATE-----`.\n\
         => 2\n"
    );
}

#[test]
fn a_missing_file_is_refused_only_if_it_was_asked_for() {
    let home = home();
    let refused = "! error: there is no configuration file ~/no.toml\n\
         ! hint: Check the path; `nexudus-proxy config init --config ~/no.toml` writes a commented \
         file there.\n\
         => 2\n";

    assert_eq!(home.run("config check --config no.toml"), refused);
    assert_eq!(
        home.transcript(home.command("config check").env("NEXUDUS_PROXY_CONFIG", "no.toml")),
        refused
    );
    assert_eq!(
        home.run("config check"),
        "ok (no file at ~/.config/nexudus-proxy/config.toml)\n=> 0\n"
    );
}

#[test]
fn a_directory_is_not_a_configuration_file() {
    assert_eq!(
        home().run("config check --config ."),
        "! error: could not read the configuration file ~\n\
         !   caused by: Is a directory (os error 21)\n\
         ! hint: Name a readable TOML file with --config, or leave --config out.\n\
         => 2\n"
    );
}

#[test]
fn a_bad_duration_is_answered_with_a_good_one() {
    let home = home();
    let mut by_variable = home.command("config check");
    by_variable.env("NEXUDUS_PROXY_THROTTLE_WAIT", "20");

    assert_eq!(
        home.run("serve --throttle-wait soon"),
        "! error: --throttle-wait: throttle.wait: expected a duration such as \"30s\", found \
         \"soon\"\n\
         => 2\n"
    );
    assert_eq!(
        home.transcript(&mut by_variable),
        "! error: NEXUDUS_PROXY_THROTTLE_WAIT: throttle.wait: expected a duration such as \
         \"30s\", found \"20\"\n\
         => 2\n"
    );
}

#[test]
fn a_mistyped_flag_is_answered_with_the_nearest_name() {
    assert_eq!(
        home().run("serve --throttle-read auto"),
        "! error: unexpected argument '--throttle-read' found\n\
         ! hint: A similar argument exists: '--throttle-reads'.\n\
         => 2\n"
    );
}

#[test]
fn a_mistyped_command_is_answered_with_the_nearest_name() {
    assert_eq!(
        home().run("serv"),
        "! error: unrecognized subcommand 'serv'\n\
         ! hint: Some similar subcommands exist: 'env', 'service', 'serve'.\n\
         => 2\n"
    );
}

#[test]
fn a_mistyped_variable_is_answered_with_the_nearest_name() {
    let home = home();
    let mut command = home.command("config check");
    command.env("NEXUDUS_PROXY_LISTEN_TPC", "[]");

    assert_eq!(
        home.transcript(&mut command),
        "! error: unknown environment variable NEXUDUS_PROXY_LISTEN_TPC\n\
         ! hint: Did you mean NEXUDUS_PROXY_LISTEN_TCP?\n\
         => 2\n"
    );
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    assert_eq!(
        home().run("serve --listen 0.0.0.0:6398"),
        "! error: --listen: listen.tcp: 0.0.0.0:6398 can be reached from other machines\n\
         ! hint: Listen on 127.0.0.1 or [::1], or set listen.expose = true: every request then needs \
         a client key.\n\
         => 2\n"
    );
}

#[test]
fn nothing_to_listen_on_is_refused_before_anything_starts() {
    let told = |place: &str| {
        format!(
            "! error: {place}: nothing to listen on: listen.tcp is empty and there is no unix \
             socket\n\
             ! hint: Give listen.tcp an address such as \"localhost:6398\", or set listen.unix = \
             \"auto\".\n\
             => 2\n"
        )
    };

    assert_eq!(
        check("[listen]\ntcp = []\nunix = \"off\"\n"),
        told("~/.config/nexudus-proxy/config.toml:2:1")
    );
    let home = home();
    home.configure("[listen]\ntcp = []\n");
    assert_eq!(home.run("serve --socket off"), told("~/.config/nexudus-proxy/config.toml:2:1"));
    assert!(home.run("config check").ends_with(": ok\n=> 0\n"), "a socket is enough");
}

#[test]
fn a_profile_name_cannot_leave_the_directory() {
    assert_eq!(
        home().run("config path --profile ../work"),
        "! error: --profile: `../work` is not a valid profile name\n\
         ! hint: Use lower-case letters, digits, `-` and `_`, at most 32 of them.\n\
         => 2\n"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = check("[upstream]\norigin = 1\nhttp3 = true\n[log]\nlevel = \"inof\"\n");

    assert_eq!(said.matches("! error: ").count(), 3, "{said}");
}

#[test]
fn no_bytes_in_the_file_make_it_panic() {
    let home: Home = home();
    let example = std::fs::read("config/example.toml").unwrap();

    for end in (0..example.len()).step_by(397) {
        home.configure(&example[..end]);
        let said = home.run("config check");
        assert!(said.ends_with("=> 0\n") || said.ends_with("=> 2\n"), "{end}: {said}");
    }
}

/// `config check` and `serve` go through one check: what ends one ends the other.
#[test]
fn what_serve_would_refuse_is_refused_by_config_check_with_the_same_words() {
    for (content, said) in [
        ("[listen]\nusers = ['nosuchuser']\n", "there is no user `nosuchuser`"),
        ("[listen]\ngroups = ['nosuch']\n", "there is no group `nosuch`"),
        ("[admin]\nusers = ['nosuchuser']\n", "there is no user `nosuchuser`"),
        ("[upstream]\nproxy = 'https://proxy'\n", "could not use the proxy"),
    ] {
        let home = home();
        home.configure(content);

        let checked = home.run("config check");

        assert!(checked.contains(said) && checked.ends_with("=> 2\n"), "{content}: {checked}");
        let place = "! error: ~/.config/nexudus-proxy/config.toml:2:1: ";
        assert!(checked.starts_with(place), "{content}: {checked}");
        assert_eq!(home.run("serve --listen localhost:0"), checked, "{content}");
        let doctor = home.run("doctor");
        assert!(doctor.starts_with("FAIL  config ") && doctor.contains(said), "{doctor}");
    }
}

#[test]
fn a_password_on_the_command_line_is_warned_of() {
    let home = home();
    let line = "config check --upstream-proxy";
    let said = home.run(&format!("{line} http://ada:marker-secret@proxy.example:3128"));

    assert!(
        said.contains(
            "! warning: --upstream-proxy: every user can read this login in the list of processes: \
             put it into the file (upstream.proxy) or the environment (NEXUDUS_PROXY_UPSTREAM_PROXY)"
        ),
        "{said}"
    );
    assert!(!said.contains("marker-secret") && said.ends_with("=> 0\n"), "{said}");
    assert!(!home.run(&format!("{line} http://proxy.example:3128")).contains("warning"));
    home.configure("[upstream]\nproxy = 'http://ada:marker-secret@proxy.example'\n");
    assert!(!home.run("config check").contains("warning"));
}

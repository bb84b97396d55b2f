//! `config init`, `check`, `show`, `path` and `schema`.

use std::fs;

use crate::support::{CONFIG, home};

#[test]
fn a_fresh_file_is_valid_and_readable_by_its_owner_only() {
    let home = home();

    let wrote = home.run("config init");

    assert_eq!(wrote, "wrote ~/.config/nexudus-proxy/config.toml\n=> 0\n");
    assert_eq!(home.run("config check"), "~/.config/nexudus-proxy/config.toml: ok\n=> 0\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |below| fs::metadata(home.path(below)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(CONFIG), 0o600);
        assert_eq!(mode(".config/nexudus-proxy"), 0o700);
    }
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let home = home();
    home.configure("[log]\nlevel = \"debug\"\n");

    assert_eq!(
        home.run("config init"),
        "! error: there is a configuration file already: ~/.config/nexudus-proxy/config.toml\n\
         ! hint: Edit it, or replace it with --force.\n\
         => 1\n"
    );
    assert_eq!(fs::read_to_string(home.path(CONFIG)).unwrap(), "[log]\nlevel = \"debug\"\n");
    assert!(home.run("config init --force").ends_with("=> 0\n"));
    assert_eq!(fs::read_to_string(home.path(CONFIG)).unwrap(), EXAMPLE);
    assert_eq!(fs::read_dir(home.path(".config/nexudus-proxy")).unwrap().count(), 1);
}

#[test]
fn every_value_is_shown_with_where_it_came_from() {
    let home = home();
    home.configure("[log]\nlevel = \"debug\"\n\n[profile.work.daemon]\ndrain = \"7s\"\n");
    let mut command = home.command("config show --profile work --throttle-wait 1m30s -q");
    command.env("NEXUDUS_PROXY_LISTEN_TCP", "[\"localhost:7000\"]");

    let shown = home.transcript(&mut command);

    let row = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap();
    let words = |key: &str| {
        row(key)
            .split("  ")
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words("listen.tcp"),
        ["listen.tcp", "[\"127.0.0.1:7000\", \"[::1]:7000\"]", "NEXUDUS_PROXY_LISTEN_TCP"]
    );
    assert_eq!(words("throttle.wait"), ["throttle.wait", "\"90s\"", "--throttle-wait"]);
    assert_eq!(words("log.level"), ["log.level", "\"warn\"", "-q"]);
    assert_eq!(
        words("daemon.drain"),
        ["daemon.drain", "\"7s\"", "~/.config/nexudus-proxy/config.toml:5:1"]
    );
    assert_eq!(words("session.wait"), ["session.wait", "\"10s\"", "default"]);
}

#[test]
fn programs_read_the_same_as_json() {
    let shown = home().run("config show --json --store memory");
    let shown = shown.strip_suffix("=> 0\n").unwrap();

    let rows: Vec<serde_json::Value> = serde_json::from_str(shown).unwrap();

    let store = rows.iter().find(|row| row["key"] == "session.store").unwrap();
    assert_eq!(store["value"], "memory");
    assert_eq!(store["origin"], "--store");
    assert!(rows.iter().all(|row| row.as_object().unwrap().len() == 3));
}

#[test]
fn the_path_follows_the_file_that_is_asked_for() {
    let home = home();
    let mut by_variable = home.command("config path");
    by_variable.env("NEXUDUS_PROXY_CONFIG", "/etc/x.toml");

    assert_eq!(home.run("config path"), "~/.config/nexudus-proxy/config.toml\n=> 0\n");
    assert_eq!(home.run("config path --config x.toml"), "~/x.toml\n=> 0\n");
    assert_eq!(home.transcript(&mut by_variable), "/etc/x.toml\n=> 0\n");
    assert!(!home.root().join(".config").exists());
}

#[test]
fn the_schema_knows_every_key_of_the_example() {
    let schema = home().run("config schema");
    let schema: serde_json::Value =
        serde_json::from_str(schema.strip_suffix("=> 0\n").unwrap()).unwrap();

    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.starts_with('[') || code.contains(" = ") => code,
        _ => line,
    });
    let example: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    let sections: Vec<_> =
        example.iter().filter(|(name, _)| !["host", "profile"].contains(&name.as_str())).collect();

    assert!(sections.len() > 8, "{sections:?}");
    for (section, keys) in sections {
        for (key, default) in keys.as_table().unwrap() {
            let known = &schema["properties"][section]["properties"][key];
            assert_eq!(known["default"], serde_json::to_value(default).unwrap(), "{section}.{key}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_everybody_can_write_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = home();
    home.configure("");
    fs::set_permissions(home.path(CONFIG), fs::Permissions::from_mode(0o666)).unwrap();

    assert_eq!(
        home.run("config check"),
        "~/.config/nexudus-proxy/config.toml: ok\n\
         ! warning: ~/.config/nexudus-proxy/config.toml can be written by every user: chmod o-w \
         it\n\
         => 0\n"
    );
}

const EXAMPLE: &str = include_str!("../../config/example.toml");

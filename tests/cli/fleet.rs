//! `[fleet]`, `fleet status`, `fleet leave` and what asks before it ends the session of others.

use crate::support::home;

#[test]
fn what_a_fleet_cannot_keep_is_refused_with_a_way_out() {
    let home = home();
    let engine = ("NEXUDUS_PROXY_FLEET_ENGINE", "rediss://engine.example:6380");
    for (name, value, told) in [
        ("NEXUDUS_PROXY_FLEET_ENGINE", "redis://engine.example", "without TLS"),
        ("NEXUDUS_PROXY_FLEET_ENGINE", "rediss://u:marker-x@e.example", "a user or a password"),
        ("NEXUDUS_PROXY_FLEET_SHARE", "[\"session\", \"clients\"]", "the session only"),
        ("NEXUDUS_PROXY_FLEET_CLIENTS_STALE", "1m", "no revocation could be missed"),
    ] {
        let mut command = home.command("config check");
        let said = home.transcript(command.env(engine.0, engine.1).env(name, value));
        assert!(said.contains(told) && said.ends_with("=> 2\n"), "{said}");
        assert!(said.contains("hint: ") && !said.contains("marker-x"), "{said}");
    }
}

#[test]
fn a_machine_that_is_alone_has_no_fleet() {
    let home = home();

    for command in ["fleet status", "fleet leave --yes"] {
        let said = home.run(command);
        assert!(said.ends_with("=> 6\n"), "{said}");
    }
}

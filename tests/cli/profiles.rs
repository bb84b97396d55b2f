//! A mistyped profile is not a fresh start.

use crate::support::login::{SESSION_ONLY, place};
use nexudus_simulator::DEMO_PASSWORD;

#[test]
fn a_profile_without_any_trace_is_refused_with_those_that_are_known() {
    let place = place();
    place.given(&format!("{SESSION_ONLY} --profile work"), DEMO_PASSWORD);
    let refused = "! error: no profile `wrok`; known: default, work\n\
         ! hint: Correct the name; `nexudus-proxy --profile wrok login` makes a profile of this one.\n\
         => ";

    for (line, code) in [
        ("status", 2),
        ("whoami", 2),
        ("doctor", 2),
        ("logout", 2),
        ("client list", 2),
        ("client add x", 2),
        ("policy explain GET /api/x", 2),
        ("tail", 2),
        ("wait", 2),
        ("stop", 2),
        ("reload", 2),
        ("refresh", 2),
        ("lock", 2),
        ("unlock", 2),
        ("config show", 2),
        ("config path", 2),
        ("config check", 2),
        ("service status", 2),
        ("service install", 2),
        ("serve", 2),
        ("run -- true", 125),
    ] {
        let words = line.split_once(" -- ").map_or_else(
            || format!("{line} --profile wrok"),
            |(own, other)| format!("{own} --profile wrok -- {other}"),
        );
        assert_eq!(place.home.run(&words), format!("{refused}{code}\n"), "{line}");
    }
    assert!(!place.home.path(".local/state/nexudus-proxy/profiles/wrok").exists());
    let by_variable =
        place.home.transcript(place.home.command("status").env("NEXUDUS_PROXY_PROFILE", "wrok"));
    assert_eq!(by_variable, format!("{refused}2\n"));
}

#[test]
fn a_part_of_the_configuration_makes_a_profile_and_so_does_a_login_source() {
    let place = place();
    let mut served = place.home.command("serve --profile fresh --upstream http://x");
    served.env("NEXUDUS_EMAIL", "ada@example.test").env("NEXUDUS_PASSWORD", "secret");
    place.home.write("other.toml", "[profile.fresh.log]\nlevel = \"info\"\n");

    let said = place.home.transcript(&mut served);
    assert!(said.contains("must be https"), "{said}");
    let said = place.home.run("client list --profile fresh --config other.toml");
    assert!(said.contains("`nexudus-proxy --profile fresh client add NAME`"), "{said}");
    assert!(place.home.run("config schema --profile fresh").ends_with("=> 0\n"));
}

//! `logout --revoke`: the refresh tokens of this installation at Nexudus.

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD};

use crate::support::home;
use crate::support::login::{Place, SESSION_ONLY, place, place_of};

#[test]
fn revoke_deletes_this_installations_refresh_tokens_and_no_others() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);
    let ours = place.simulator.live_refresh_tokens().remove(0);
    let other = Place { simulator: place.simulator, home: home() };
    other.simulator.write_ca(&other.home.path("ca.pem")).unwrap();
    other.configure("key_command = [\"printf\", \"sixteen bytes ok\"]");
    other.given(SESSION_ONLY, DEMO_PASSWORD);
    let place = Place { simulator: other.simulator, home: place.home };
    assert_eq!(place.simulator.live_refresh_tokens().len(), 2);

    let said = place.home.run("logout --revoke").replace(&place.simulator.origin(), "UPSTREAM");

    assert_eq!(
        said,
        "logged out (profile default)\n\
         ! warning: no keychain was looked into: there is no D-Bus session bus\n\
         ! note: cleared the login at UPSTREAM\n\
         ! note: deleted 1 refresh token of this installation at UPSTREAM; an access token lapses by \
         itself\n\
         ! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy\n\
         => 0\n"
    );
    let left = place.simulator.live_refresh_tokens();
    assert!(left.len() == 1 && left[0] != ours, "the other installation's is left");
    assert!(!place.session_file());
}

#[test]
fn where_the_account_may_not_it_says_so_and_logs_out_all_the_same() {
    let place = place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD).without("/api/sys/refreshtokens"));
    place.given(SESSION_ONLY, DEMO_PASSWORD);

    let said = place.home.run("logout --revoke").replace(&place.simulator.origin(), "UPSTREAM");

    let told = "! warning: no refresh token was deleted at UPSTREAM: this account may not delete \
                refresh tokens; they lapse within 15 days, or an administrator deletes them under \
                /api/sys/refreshtokens\n";
    assert!(said.contains(told) && said.ends_with("=> 0\n"), "{said}");
    assert!(!place.session_file());
    assert_eq!(place.simulator.live_refresh_tokens().len(), 1);
}

#[test]
fn without_a_token_or_a_network_the_logout_is_local() {
    let place = place();
    let said = place.home.run("logout --revoke --json");
    let json: serde_json::Value =
        serde_json::from_str(said.split("! ").next().unwrap().trim_end_matches("=> 0\n")).unwrap();
    assert!(json["revoked"].is_null(), "{said}");
    assert!(json["not_revoked"].as_str().unwrap().contains("no token for that: not logged in"));

    place.given(SESSION_ONLY, DEMO_PASSWORD);
    place.simulator.stop_listening();
    let said = place.home.run("logout --revoke");
    assert!(said.contains(": Nexudus did not respond; they lapse within 15 days"), "{said}");
    assert!(said.ends_with("=> 0\n") && !place.session_file(), "{said}");
}

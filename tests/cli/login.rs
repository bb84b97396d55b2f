//! Logging in and out where there is no keychain, as on a server: every message, every exit code.

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD};

use crate::support::home;
use crate::support::login::{Place, SESSION_ONLY, TOTP_SECRET, account_with_2fa, place, place_of};

#[test]
fn a_session_is_kept_shown_and_cleared() {
    let place = place();
    assert_eq!(
        place.given(SESSION_ONLY, "demo-password\n"),
        "logged in as Ada Example <ada@example.test> (profile default)\n\
         ! note: kept the session; `nexudus-proxy serve` uses it from now on\n\
         => 0\n"
    );
    assert_eq!(
        place.home.run("whoami -q").replace(&place.simulator.origin(), "UPSTREAM"),
        "Ada Example <ada@example.test>\n\
         Profile     default\n\
         Upstream    UPSTREAM\n\
         API access  yes\n\
         DefaultBusinessId        1400000010  Example Space\n\
         DefaultCurrencyId        3005        GBP\n\
         DefaultCountryId         1221        United Kingdom\n\
         DefaultSimpleTimeZoneId  2023        GMT Standard Time\n\
         => 0\n"
    );
    assert_eq!(place.simulator.token_calls().len(), 1, "whoami spends no token");

    assert_eq!(
        place.home.run("logout").replace(&place.simulator.origin(), "UPSTREAM"),
        "logged out (profile default)\n\
         ! warning: no keychain was looked into: there is no D-Bus session bus\n\
         ! note: cleared the login at UPSTREAM\n\
         ! note: Nexudus still knows what it has issued: refresh tokens lapse within 15 days. The next \
         time, `logout --revoke` deletes them where the account may; now an administrator does, under \
         /api/sys/refreshtokens.\n\
         ! note: no daemon runs: this is about the files in ~/.local/state/nexudus-proxy\n\
         => 0\n"
    );
    assert!(!place.session_file());
    assert_eq!(
        place.home.run("whoami"),
        "! error: not logged in\n\
         !   caused by: no keychain can be read: there is no D-Bus session bus\n\
         ! hint: Run `nexudus-proxy login` (it works without a keychain too), or give the login \
         as a systemd credential, by credentials.command, or in NEXUDUS_EMAIL and \
         NEXUDUS_PASSWORD.\n\
         => 3\n"
    );
}

#[test]
fn a_wrong_password_is_unauthorized_and_stores_nothing() {
    let place = place();

    assert_eq!(
        place.given(SESSION_ONLY, "wrong\n"),
        "! error: unauthorized: Nexudus refused this e-mail address or password\n\
         ! hint: Check both at https://spaces.nexudus.com; nothing was stored, and it was tried \
         once.\n\
         => 4\n"
    );
    assert!(!place.session_file());
    assert_eq!(place.simulator.token_calls().len(), 1);
}

#[test]
fn a_code_that_is_needed_is_asked_for_or_named() {
    let place = place_of(account_with_2fa());

    assert_eq!(
        place.given(SESSION_ONLY, DEMO_PASSWORD),
        "! error: unauthorized: the account needs a 2FA code\n\
         ! hint: Run it again with --totp CODE, or store the 2FA secret with \
         --totp-secret-stdin.\n\
         => 4\n"
    );
    let wrong = place.given(&format!("{SESSION_ONLY} --totp 000000"), DEMO_PASSWORD);
    assert_eq!(
        wrong,
        "! error: unauthorized: Nexudus rejected the 2FA code or the password\n\
         ! hint: Wait for the next code, check the clock of this machine, try again.\n\
         => 4\n"
    );
    let code = place.simulator.totp_code(DEMO_EMAIL).unwrap();
    let right = place.given(&format!("{SESSION_ONLY} --totp {code}"), DEMO_PASSWORD);
    assert!(right.starts_with("logged in as "), "{right}");
}

#[test]
fn the_2fa_secret_is_the_second_line() {
    let place = place_of(account_with_2fa());
    let line = format!("{SESSION_ONLY} --totp-secret-stdin");

    let right = place.given(&line, &format!("{DEMO_PASSWORD}\n{TOTP_SECRET}\n"));
    let missing = place.given(&line, DEMO_PASSWORD);
    let garbage = place.given(&line, &format!("{DEMO_PASSWORD}\nnot base 32!\n"));

    assert!(right.ends_with("=> 0\n"), "{right}");
    assert!(missing.starts_with("! error: the 2FA secret is missing on standard input\n"));
    assert!(garbage.starts_with("! error: the 2FA secret is not base32\n"), "{garbage}");
    assert!(missing.ends_with("=> 2\n") && garbage.ends_with("=> 2\n"));
}

#[test]
fn what_cannot_be_a_login_is_not_sent() {
    let place = place();

    assert_eq!(
        place.given(&format!("{SESSION_ONLY} --totp 12345x"), DEMO_PASSWORD),
        "! error: a 2FA code is 6 to 8 digits\n\
         ! hint: Give the one that the authenticator shows now; the 2FA secret goes to \
         --totp-secret-stdin.\n\
         => 2\n"
    );
    assert_eq!(
        place.given("login --session-only --password-stdin --email=", DEMO_PASSWORD),
        "! error: the e-mail address is empty\n=> 2\n"
    );
    assert!(place.simulator.token_calls().is_empty());
}

#[test]
fn a_password_reset_and_no_api_access_have_their_own_codes() {
    let reset =
        place_of(Account { must_reset_password: true, ..Account::new(DEMO_EMAIL, DEMO_PASSWORD) });
    assert_eq!(
        reset.given(SESSION_ONLY, DEMO_PASSWORD),
        "! error: unauthorized: Nexudus wants a new password set for this account\n\
         ! hint: Set one at https://spaces.nexudus.com, then log in again.\n\
         => 4\n"
    );
    let member = place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD).member());
    assert_eq!(
        member.given(SESSION_ONLY, DEMO_PASSWORD),
        "! error: forbidden: ada@example.test has no API access\n\
         ! hint: Ask an administrator of your Nexudus account to turn on API access for it.\n\
         => 5\n"
    );
    assert!(!member.session_file());
}

#[test]
fn without_a_network_it_says_so() {
    let place = place();
    place.simulator.stop_listening();

    assert_eq!(
        place.given(SESSION_ONLY, DEMO_PASSWORD),
        "! error: could not reach Nexudus\n\
         !   caused by: the token endpoint cannot be reached: Connection refused (os error 111)\n\
         ! hint: Check the network and upstream.origin; `nexudus-proxy doctor` tells more.\n\
         => 7\n"
    );
}

#[test]
fn where_a_named_keychain_is_missing_a_password_is_not_even_asked_for() {
    let place = place();
    for line in [
        "login --email ada@example.test --credentials keychain",
        "login --email ada@example.test --session-key keychain",
    ] {
        let said = place.home.run(line);
        assert!(said.contains("!   caused by: there is no D-Bus session bus\n"), "{said}");
        assert!(said.ends_with("=> 8\n"), "{said}");
    }
    assert_eq!(
        place.home.run("login --email ada@example.test --credentials keychain"),
        "! error: could not use the Secret Service\n\
         !   caused by: there is no D-Bus session bus\n\
         ! hint: Start the Secret Service, or give the login as a systemd credential, by \
         credentials.command, or in NEXUDUS_EMAIL and NEXUDUS_PASSWORD.\n\
         => 8\n"
    );
}

#[test]
fn a_session_that_would_not_survive_a_reboot_is_not_taken_alone() {
    let place = place();
    for (session, why) in [
        ("store = \"memory\"", "session.store is memory"),
        ("key = \"keychain\"", "no file: its key cannot be read: there is no D-Bus session bus"),
        ("key = \"kernel\"", "its key comes from the kernel keyring (volatile: lost at reboot)"),
    ] {
        place.configure(session);

        let said = place.given(SESSION_ONLY, DEMO_PASSWORD);

        let cause = format!("!   caused by: {why}\n");
        assert!(said.contains(&cause) && said.ends_with("=> 8\n"), "{session}: {said}");
    }
    assert!(place.simulator.token_calls().is_empty());
}

#[test]
fn without_a_terminal_it_says_what_it_would_ask() {
    let place = place();

    assert_eq!(
        place.given("login --session-only", ""),
        "! error: there is no terminal to prompt for the e-mail address\n\
         ! hint: Give it with --email ADDRESS.\n\
         => 2\n"
    );
    assert_eq!(
        place.given("login --session-only --email ada@example.test", ""),
        "! error: there is no terminal to prompt for the password\n\
         ! hint: Give it on standard input with --password-stdin.\n\
         => 2\n"
    );
    assert_eq!(
        place.given(SESSION_ONLY, ""),
        "! error: the password is missing on standard input\n\
         ! hint: One line each: the password, then the 2FA secret if --totp-secret-stdin is \
         given.\n\
         => 2\n"
    );
}

#[test]
fn a_session_of_somebody_else_is_taken_over_with_its_client_id() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);
    let (token, client_id) = place.simulator.live_refresh_tokens().remove(0);
    let other = home();
    let other = Place { simulator: place.simulator, home: other };
    other.simulator.write_ca(&other.home.path("ca.pem")).unwrap();
    other.configure("key_command = [\"printf\", \"sixteen bytes ok\"]");
    let given = format!("{{\"client_id\": \"{client_id}\", \"refresh_token\": \"{token}\"}}");

    assert!(other.given("login --import-stdin", &given).ends_with("=> 0\n"));
    assert!(other.home.run("whoami").ends_with("=> 0\n"));
    // It was single-use.
    let again = other.given("login --import-stdin", &given);
    assert!(again.starts_with("! error: unauthorized: Nexudus refused this refresh token\n"));
    assert!(again.ends_with("=> 4\n"), "{again}");
    let nonsense = other.given("login --import-stdin", "abc");
    assert!(nonsense.starts_with("! error: standard input is not a session to take over\n"));
    assert!(nonsense.ends_with("=> 2\n"), "{nonsense}");
}

#[test]
fn a_login_that_would_not_be_read_is_refused() {
    let place = place();

    let said = place.home.run("login --email ada@example.test --credentials env");

    assert_eq!(
        said,
        "! error: a login in the Secret Service would be ignored: credentials.source selects another source\n\
         ! hint: Set credentials.source to \"auto\", \"keychain\" or \"file\", or log in with \
         --session-only.\n\
         => 2\n"
    );
}

#[test]
fn logout_says_that_nothing_was_stored_and_takes_no_origin() {
    let place = place();
    assert!(place.home.run("logout").contains("! note: no login was stored\n"));
    assert_eq!(
        place.home.run("logout --upstream https://b.example"),
        "! error: logout clears the logins of every origin, and --upstream names one\n\
         ! hint: Leave it out; the login at one origin cannot be cleared alone.\n\
         => 2\n"
    );
}

#[test]
fn logout_names_the_source_that_still_holds_a_login() {
    let place = place();
    let mut command = place.home.command("logout");
    command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);

    let said = place.home.transcript(&mut command);

    let expected = "! warning: the environment still holds a login: a restart uses it again\n";
    assert!(said.contains(expected) && said.ends_with("=> 0\n"), "{said}");
}

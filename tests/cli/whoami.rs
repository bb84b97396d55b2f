//! `whoami`: the account, the exit codes, and the hint for each source of a login.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD};

use crate::support::login::{Place, SESSION_ONLY, TOTP_SECRET, account_with_2fa, place, place_of};

#[test]
fn whoami_as_json_has_the_names_of_nexudus_and_no_token() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);

    let said = place.home.run("whoami --json");

    let json: serde_json::Value =
        serde_json::from_str(said.strip_suffix("=> 0\n").unwrap()).unwrap();
    for (name, value) in [
        ("DefaultBusinessId", 1_400_000_010),
        ("DefaultCurrencyId", 3_005),
        ("DefaultCountryId", 1_221),
        ("DefaultSimpleTimeZoneId", 2_023),
    ] {
        assert_eq!(json[name], value);
    }
    assert_eq!(
        (json["profile"].as_str(), json["APIAccess"].as_bool()),
        (Some("default"), Some(true))
    );
    assert!(json.get("AccessToken").is_none());
}

/// The saved token may have been revoked since.
#[test]
fn whoami_replaces_a_dead_token_and_knows_a_lapsed_session() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);

    place.simulator.revoke_access_tokens();
    assert!(place.home.run("whoami").ends_with("=> 0\n"));

    place.simulator.revoke_access_tokens();
    place.simulator.revoke_refresh_tokens();
    let said = place.home.run("whoami");
    assert!(!said.contains("forbidden") && said.ends_with("=> 3\n"), "{said}");
}

/// The output is complete all the same: API access is a part of it.
#[test]
fn whoami_exits_as_login_does_where_there_is_no_api_access() {
    let place = place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD).member());
    let mut command = place.home.command("whoami");
    command.envs([("NEXUDUS_EMAIL", DEMO_EMAIL), ("NEXUDUS_PASSWORD", DEMO_PASSWORD)]);

    let said = place.home.transcript(&mut command);

    assert!(said.starts_with("Ada Example <ada@example.test>\n"), "{said}");
    assert!(
        said.ends_with(
            "! error: forbidden: the account has no API access\n\
         ! hint: Ask an administrator of your Nexudus account to turn on API access for it.\n\
         => 5\n"
        ),
        "{said}"
    );
    let said = command.arg("--json").output().unwrap().stdout;
    let json: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((&json["APIAccess"], &json["exit_code"]), (&false.into(), &5.into()));
    assert_eq!(json["errors"][0]["sentence"], "forbidden: the account has no API access");
}

/// `APIAccess` was seen false on accounts that work: a request decides.
#[test]
fn an_account_whose_requests_are_answered_has_api_access() {
    let mut account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
    account.hides_api_access = true;
    let place = place_of(account);
    let said = place.given(SESSION_ONLY, DEMO_PASSWORD);
    assert!(said.ends_with("=> 0\n") && !said.contains("forbidden"), "{said}");

    let said = place.home.run("whoami");

    assert!(said.ends_with("=> 0\n"), "{said}");
    assert!(said.contains("yes, although Nexudus says no: it answered a request"), "{said}");
    let said = place.home.run("whoami --json");
    assert!(said.contains(r#""APIAccess": false"#), "{said}");
    assert!(said.contains(r#""api_answers": true"#), "{said}");
}

#[test]
fn half_a_login_names_the_other_half() {
    let place = place();
    for (given, absent) in
        [("NEXUDUS_EMAIL", "NEXUDUS_PASSWORD"), ("NEXUDUS_PASSWORD", "NEXUDUS_EMAIL")]
    {
        let mut command = place.home.command("whoami");
        command.env(given, DEMO_EMAIL);

        assert_eq!(
            place.home.transcript(&mut command),
            format!(
                "! error: not logged in\n\
                 !   caused by: the environment has {given} but not {absent}\n\
                 ! hint: Give {absent} too, or run `nexudus-proxy login`.\n\
                 => 3\n"
            )
        );
    }
}

#[test]
fn a_profile_is_named_with_its_account_and_in_every_hint() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);
    let other = place.given(&format!("{SESSION_ONLY} --profile work"), DEMO_PASSWORD);
    assert!(other.starts_with("logged in as Ada Example <ada@example.test> (profile work)\n"));

    place.home.write("home.toml", "[profile.home.log]\n");
    let work = place.home.run("whoami --profile work");
    let mut absent = place.home.command("whoami --profile home");
    let absent = place.home.transcript(absent.args(["--config", "home.toml"]));

    let named = "Ada Example <ada@example.test>\nProfile     work\n";
    assert!(work.starts_with(named), "{work}");
    assert!(absent.contains("! hint: Run `nexudus-proxy --profile home login` "), "{absent}");
    assert!(place.home.run("logout --profile work").starts_with("logged out (profile work)\n"));
    assert!(place.home.run("whoami").ends_with("=> 0\n"), "the other one is left alone");
}

/// A code works once (RFC 6238 §5.2): it is not offered again, nor is that a failure.
#[test]
fn whoami_waits_for_the_next_code_where_this_one_was_used_and_says_so() {
    let place = place_of(account_with_2fa());
    place.configure("store = \"memory\"");
    let whoami = || {
        let mut command = place.home.command("whoami -q");
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        command.env("NEXUDUS_TOTP", TOTP_SECRET).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    // One after the other within half a minute: the third is sure of that.
    let mut heard = String::new();
    for _ in 0..3 {
        let mut asking = whoami();
        heard.clear();
        BufReader::new(asking.stderr.take().unwrap()).read_line(&mut heard).unwrap();
        if heard.is_empty() {
            assert!(asking.wait().unwrap().success());
            continue;
        }
        assert!(asking.try_wait().unwrap().is_none(), "it does not wait: {heard}");
        asking.kill().unwrap();
        asking.wait().unwrap();
        break;
    }

    assert!(heard.starts_with("note: this 2FA code was used already: waiting "), "{heard}");
}

/// A login of another source would be read before the one that `login` stores.
#[test]
fn a_login_that_is_turned_down_is_mended_where_it_was_read() {
    let wrong = || place_of(Account::new(DEMO_EMAIL, "another"));
    let with_2fa = || place_of(account_with_2fa());
    let reset = || {
        let account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
        place_of(Account { must_reset_password: true, ..account })
    };
    let systemd = |place: &Place, command: &mut Command| {
        place.home.write("credentials/nexudus-email", DEMO_EMAIL);
        place.home.write("credentials/nexudus-password", DEMO_PASSWORD);
        command.env("CREDENTIALS_DIRECTORY", place.home.path("credentials"));
    };
    let by_command = |_: &Place, command: &mut Command| {
        command.env("NEXUDUS_PROXY_CREDENTIALS_EMAIL", DEMO_EMAIL);
        let printing = format!("[\"echo\", \"{DEMO_PASSWORD}\"]");
        command.env("NEXUDUS_PROXY_CREDENTIALS_COMMAND", printing);
    };
    let environment = |_: &Place, command: &mut Command| {
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
    };
    let told = |place: Place, give: &dyn Fn(&Place, &mut Command)| {
        let mut command = place.home.command("whoami");
        give(&place, &mut command);
        let told = place.home.transcript(&mut command);
        assert!(told.starts_with("! error: unauthorized: ") && told.ends_with("=> 4\n"), "{told}");
        let hint = told.lines().find_map(|line| line.strip_prefix("! hint: ")).unwrap();
        assert!(!hint.contains("`nexudus-proxy login`"), "{told}");
        hint.to_owned()
    };

    for (place, give, cure) in [
        (wrong(), &systemd as &dyn Fn(&Place, &mut Command), "Correct the systemd credentials "),
        (wrong(), &by_command, "Have credentials.command print the right password, "),
        (wrong(), &environment, "Correct NEXUDUS_EMAIL and NEXUDUS_PASSWORD where "),
        (with_2fa(), &systemd, "Give the 2FA secret as the systemd credential "),
        (with_2fa(), &by_command, "credentials.command gives no 2FA code: "),
        (with_2fa(), &environment, "Set NEXUDUS_TOTP to the 2FA secret, "),
        (
            reset(),
            &environment,
            "Set a new password at https://spaces.nexudus.com, then set NEXUDUS_PASSWORD to it ",
        ),
    ] {
        let hint = told(place, give);
        assert!(hint.starts_with(cure), "{hint}");
    }
}

#[test]
fn a_source_that_has_nothing_and_is_asked_alone_is_named() {
    let place = place();
    let mut command = place.home.command("whoami");
    command.env("NEXUDUS_PROXY_CREDENTIALS_SOURCE", "env");

    assert_eq!(
        place.home.transcript(&mut command),
        "! error: not logged in\n\
         !   caused by: credentials.source allows only the environment, which holds no login\n\
         ! hint: Set NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started, or set \
         credentials.source = \"auto\" and run `nexudus-proxy login`.\n\
         => 3\n"
    );
}

/// The login works and the network too: neither is blamed for a limit of Nexudus.
#[test]
fn whoami_says_that_nexudus_throttles_and_when_to_ask_again() {
    let place = place();
    place.given(SESSION_ONLY, DEMO_PASSWORD);

    // A second is waited for, an hour is not.
    place.simulator.throttle_next(1);
    assert!(place.home.run("whoami").ends_with("=> 0\n"));
    place.simulator.set(|it| it.throttle.next_wait = Duration::from_secs(3_600));
    place.simulator.throttle_next(1);
    let said = place.home.run("whoami");

    assert!(!said.contains("could not reach") && said.contains("throttl"), "{said}");
    assert!(!said.ends_with("=> 0\n"), "{said}");
    assert!(place.home.run("whoami").ends_with("=> 0\n"), "the session is as it was");
}

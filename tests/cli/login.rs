//! Logging in and out where there is no keychain, as on a server: every message, every exit code.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::shared::run_with_input;
use crate::support::{Home, home};

/// A simulated Nexudus, and a home whose configuration leads to it. The session file's key comes
/// from a command.
struct Place {
    simulator: Simulator,
    home: Home,
}

fn place() -> Place {
    place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD))
}

fn place_of(account: Account) -> Place {
    let simulator = Simulator::builder().account(account).start().unwrap();
    let home = home();
    simulator.write_ca(&home.path("ca.pem")).unwrap();
    let place = Place { simulator, home };
    place.configure("key_command = [\"printf\", \"sixteen bytes ok\"]");
    place
}

impl Place {
    fn configure(&self, session: &str) {
        self.home.configure(format!(
            "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
             [session]\n{session}\n",
            self.simulator.origin(),
            self.home.path("ca.pem").display(),
        ));
    }

    /// Runs a command with this on its standard input.
    fn given(&self, line: &str, input: &str) -> String {
        self.home.format_output(run_with_input(&mut self.home.command(line), input))
    }

    /// Runs a command in a terminal that answers these prompts.
    fn in_terminal(&self, line: &str, answers: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/terminal.py");
        let mut command = Command::new("python3");
        command.arg(script).args(answers).arg("--").arg(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.args(line.split_whitespace());
        let path = std::env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path).env("HOME", self.home.root());
        let output = command.output().expect("the test needs python3: run scripts/prepare.sh");
        String::from_utf8(output.stdout).unwrap()
    }

    fn session_file(&self) -> bool {
        self.home.path(".local/state/nexudus-proxy/session.sealed").exists()
    }
}

const SESSION_ONLY: &str = "login --session-only --password-stdin --email ada@example.test";

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
        place.home.run("whoami").replace(&place.simulator.origin(), "UPSTREAM"),
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
         ! note: Nexudus has no way to revoke what it has issued: tokens lapse by themselves, or an \
         administrator deletes them under /api/sys/refreshtokens.\n\
         => 0\n"
    );
    assert!(!place.session_file());
    assert_eq!(
        place.home.run("whoami"),
        "! error: not logged in\n\
         !   caused by: no keychain can be read: there is no D-Bus session bus\n\
         ! hint: Run `nexudus-proxy login` where there is a keychain; here, give the login as a \
         systemd credential, by credentials.command, or in NEXUDUS_EMAIL and NEXUDUS_PASSWORD.\n\
         => 3\n"
    );
}

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
fn without_a_keychain_a_password_is_not_even_asked_for() {
    assert_eq!(
        place().home.run("login --email ada@example.test"),
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
        ("", "no file: its key cannot be read: there is no D-Bus session bus"),
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
fn in_a_terminal_it_asks_and_shows_no_password() {
    let place = place_of(account_with_2fa());
    let code = place.simulator.totp_code(DEMO_EMAIL).unwrap();
    let code = format!("2FA code: ={code}");

    let shown = place.in_terminal(
        "login --session-only",
        &["E-mail: =ada@example.test", "Password: =demo-password", &code],
    );

    assert!(shown.contains("logged in as Ada Example <ada@example.test>"), "{shown}");
    assert!(shown.ends_with("=> 0\n"), "{shown}");
    assert!(!shown.contains(DEMO_PASSWORD), "{shown}");
}

#[test]
fn in_a_terminal_every_failure_has_its_words_and_its_code() {
    let email = "E-mail: =ada@example.test";
    let cases: [(Account, &[&str], &str); 6] = [
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD),
            &[email, "Password: =wrong"],
            "error: unauthorized: Nexudus refused this e-mail address or password\n\
             hint: Check both at https://spaces.nexudus.com; nothing was stored, and it was tried \
             once.\n\
             => 4\n",
        ),
        (
            account_with_2fa(),
            &[email, "Password: =demo-password", "2FA code: =000000"],
            "2FA code: 000000\n\
             error: unauthorized: Nexudus rejected the 2FA code or the password\n\
             hint: Wait for the next code, check the clock of this machine, try again.\n\
             => 4\n",
        ),
        (
            Account { must_reset_password: true, ..Account::new(DEMO_EMAIL, DEMO_PASSWORD) },
            &[email, "Password: =demo-password"],
            "error: unauthorized: Nexudus wants a new password set for this account\n\
             hint: Set one at https://spaces.nexudus.com, then log in again.\n\
             => 4\n",
        ),
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD).member(),
            &[email, "Password: =demo-password"],
            "error: forbidden: ada@example.test has no API access\n\
             hint: Ask an administrator of your Nexudus account to turn on API access for it.\n\
             => 5\n",
        ),
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD),
            &[email, "Password: ="],
            "error: the password is empty\n=> 2\n",
        ),
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD),
            &["E-mail: ="],
            "error: the e-mail address is empty\n=> 2\n",
        ),
    ];
    for (account, typed, told) in cases {
        let place = place_of(account);

        let shown = place.in_terminal("login --session-only --color never", typed);

        let asked = match typed.len() {
            1 => "E-mail: \n",
            _ => "E-mail: ada@example.test\nPassword: \n",
        };
        assert_eq!(shown, format!("{asked}{told}"));
        assert!(!place.session_file());
    }
}

#[test]
fn in_a_terminal_a_nexudus_that_does_not_answer_is_told_apart_from_a_wrong_password() {
    let place = place();
    let typed = ["E-mail: =ada@example.test", "Password: =wrong"];
    place.simulator.set(|knobs| knobs.token.bad_login_status = 500);

    let unclear = place.in_terminal("login --session-only --color never", &typed);
    place.simulator.stop_listening();
    let offline = place.in_terminal("login --session-only --color never", &typed);

    assert!(
        unclear.contains("\nerror: Nexudus gave no clear response\n  caused by: "),
        "{unclear}"
    );
    assert!(unclear.ends_with(
        "hint: Check the e-mail address and the password, and try again in a few minutes.\n=> 7\n"
    ));
    assert!(offline.ends_with(
        "error: could not reach Nexudus\n  caused by: the token endpoint cannot be reached: Connection refused (os error 111)\n\
         hint: Check the network and upstream.origin; `nexudus-proxy doctor` tells more.\n=> 7\n"
    ));
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

    let work = place.home.run("whoami --profile work");
    let absent = place.home.run("whoami --profile home");

    let named = "Ada Example <ada@example.test>\nProfile     work\n";
    assert!(work.starts_with(named), "{work}");
    assert!(absent.contains("! hint: Run `nexudus-proxy --profile home login` "), "{absent}");
    assert!(place.home.run("logout --profile work").starts_with("logged out (profile work)\n"));
    assert!(place.home.run("whoami").ends_with("=> 0\n"), "the other one is left alone");
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
         ! hint: Set credentials.source to \"auto\" or \"keychain\", or log in with \
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

    let expected =
        "! warning: the environment still holds a login: a restart uses it again\n=> 0\n";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn doctor_passes_where_all_is_well_and_fails_with_a_fix() {
    let place = place();
    let doctor = |line: &str| {
        let mut command = place.home.command(line);
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        place.home.transcript(&mut command)
    };

    let well = doctor("doctor");
    assert!(well.ends_with("=> 0\n"), "{well}");
    for check in [
        "config",
        "store",
        "login",
        "daemon",
        "port",
        "callers",
        "service",
        "proxy",
        "name",
        "tcp",
        "tls",
        "clock",
        "throttle",
        "token",
        "api access",
    ] {
        assert!(well.lines().any(|line| line.contains(&format!(" {check} "))), "{check}: {well}");
    }
    assert!(well.contains("personal data"), "{well}");
    if cfg!(target_os = "linux") {
        assert!(well.contains("calls over TCP: other users are refused\n"), "{well}");
        let named = doctor("doctor --listen-users nobody --listen-groups root");
        let said = "other users are refused, but for those of listen.users (nobody) and \
                    listen.groups (root)\n";
        assert!(named.contains(said), "{named}");
    }

    place.simulator.stop_listening();
    let ill = doctor("doctor --json");
    let json = ill.split("\n!").next().unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["passed"], false);
    let checks = json["checks"].as_array().unwrap();
    let of = |name: &str| checks.iter().find(|line| line["check"] == name).unwrap();
    assert_eq!(
        (of("tcp")["verdict"].as_str(), of("tls")["verdict"].as_str()),
        (Some("fail"), Some("skip"))
    );
    assert!(of("tcp")["fix"].is_string() && of("tcp")["elapsed_ms"].is_number());
    assert!(ill.ends_with("=> 1\n"), "{ill}");
}

#[test]
fn doctor_tells_the_three_troubles_that_people_know_each_with_its_cure() {
    let told = |place: &Place, password: &str| {
        let mut command = place.home.command("doctor");
        if !password.is_empty() {
            command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", password);
        }
        let told = place.home.transcript(&mut command);
        assert!(told.ends_with("! error: one check failed\n=> 1\n"), "{told}");
        let lines: Vec<_> = told.lines().skip_while(|line| !line.starts_with("FAIL")).collect();
        let [finding, cure, ..] = lines[..] else { panic!("{told}") };
        (finding.split(" ms ").nth(1).unwrap().trim().to_owned(), cure.trim().to_owned())
    };

    let (finding, cure) = told(&place(), "");
    assert!(finding.starts_with("not logged in: "), "{finding}");
    assert!(cure.starts_with("→ Run `nexudus-proxy login` "), "{cure}");

    let (finding, cure) = told(&place(), "wrong");
    assert!(finding.starts_with("unauthorized: Nexudus refused the stored e-mail"), "{finding}");
    assert!(cure.starts_with("→ Correct NEXUDUS_EMAIL and NEXUDUS_PASSWORD where"), "{cure}");

    let member = place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD).member());
    let (finding, cure) = told(&member, DEMO_PASSWORD);
    assert!(finding.starts_with("forbidden: the account has no API access"), "{finding}");
    assert!(cure.starts_with("→ Ask an administrator"), "{cure}");
}

/// A code works once (RFC 6238 §5.2): it is not offered again, nor is that a failure.
#[test]
fn whoami_waits_for_the_next_code_where_this_one_was_used_and_says_so() {
    let place = place_of(account_with_2fa());
    place.configure("store = \"memory\"");
    let whoami = || {
        let mut command = place.home.command("whoami");
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

fn account_with_2fa() -> Account {
    Account::new(DEMO_EMAIL, DEMO_PASSWORD).with_totp_secret(TOTP_SECRET)
}

const TOTP_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

//! Logging in at a terminal: what is asked, what is shown, and each failure with its exit code.

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD};

use crate::support::login::{account_with_2fa, place, place_of};

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
    for (account, typed, told) in failures().into_iter().chain([wrong_codes()]) {
        let place = place_of(account);

        let shown = place.in_terminal("login --session-only --color never", typed);

        let asked = match typed.len() {
            1 => "E-mail: \n",
            _ => "E-mail: ada@example.test\nPassword: \n",
        };
        assert_eq!(shown.replace('\r', ""), format!("{asked}{told}"));
        assert!(!place.session_file());
    }
}

/// A window that is closed sends SIGHUP only to programs that it controls.
#[test]
fn a_terminal_that_goes_away_while_a_prompt_waits_ends_the_command() {
    let place = place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD));
    for (typed, what, instead) in [
        (&["E-mail: =!GONE"][..], "the e-mail address", "Give it with --email ADDRESS."),
        (&[EMAIL, "Password: =!GONE"], "the password", STDIN_PASSWORD),
        (&[EMAIL, "Password: =!EOF"], "the password", STDIN_PASSWORD),
        (&[EMAIL, "Password: =wrong", "Password: =!GONE"], "the password", STDIN_PASSWORD),
    ] {
        let shown = place.in_terminal_with("--gone", "login --color never", typed);

        let told = format!(
            "error: the terminal's input ended before {what} was typed\nhint: {instead}\n=> 2\n"
        );
        assert!(shown.ends_with(&told), "{typed:?}: {shown}");
    }
    let asked = place.in_terminal_with("--gone", "service uninstall --purge", &["[y/N]=!GONE"]);
    assert!(asked.contains("the terminal's input ended before your consent was typed"), "{asked}");
}

/// The account, what is typed at the prompts, and what is told.
fn failures() -> [Failure; 5] {
    [
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD),
            &[EMAIL, "Password: =wrong", "Password: =worse", "Password: =worst"],
            "warning: unauthorized: Nexudus refused this e-mail address or password; 2 of 3 tries \
             left\n\
             Password: \n\
             warning: unauthorized: Nexudus refused this e-mail address or password; 1 of 3 tries \
             left\n\
             Password: \n\
             error: unauthorized: Nexudus refused this e-mail address or password\n\
             hint: Check both at https://spaces.nexudus.com; nothing was stored, and 3 passwords \
             were tried.\n\
             => 4\n",
        ),
        (
            Account { must_reset_password: true, ..Account::new(DEMO_EMAIL, DEMO_PASSWORD) },
            &[EMAIL, "Password: =demo-password"],
            "error: unauthorized: Nexudus wants a new password set for this account\n\
             hint: Set one at https://spaces.nexudus.com, then log in again.\n\
             => 4\n",
        ),
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD).member(),
            &[EMAIL, "Password: =demo-password"],
            "error: forbidden: ada@example.test has no API access\n\
             hint: Ask an administrator of your Nexudus account to turn on API access for it.\n\
             => 5\n",
        ),
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD),
            &[EMAIL, "Password: ="],
            "error: the password is empty\n=> 2\n",
        ),
        (
            Account::new(DEMO_EMAIL, DEMO_PASSWORD),
            &["E-mail: ="],
            "error: the e-mail address is empty\n=> 2\n",
        ),
    ]
}

/// The code is asked for three times; a text that cannot be one costs no try.
fn wrong_codes() -> Failure {
    (
        account_with_2fa(),
        &[
            EMAIL,
            "Password: =demo-password",
            "2FA code: =000000",
            "2FA code: =12345x",
            "2FA code: =000001",
            "2FA code: =000002",
        ],
        "2FA code: \n\
             warning: unauthorized: Nexudus rejected the 2FA code or the password; 2 of 3 tries \
             left\n\
             2FA code: \n\
             warning: a 2FA code is 6 to 8 digits\n\
             2FA code: \n\
             warning: unauthorized: Nexudus rejected the 2FA code or the password; 1 of 3 tries \
             left\n\
             2FA code: \n\
             error: unauthorized: Nexudus rejected the 2FA code or the password\n\
             hint: Wait for the next code, check the clock of this machine, try again.\n\
             => 4\n",
    )
}

type Failure = (Account, &'static [&'static str], &'static str);

const EMAIL: &str = "E-mail: =ada@example.test";

#[test]
fn a_corrected_password_needs_no_second_e_mail_address() {
    let place = place_of(account_with_2fa());
    let code = place.simulator.totp_code(DEMO_EMAIL).unwrap();
    let code = format!("2FA code: ={code}");

    let shown = place.in_terminal(
        "login --session-only --color never",
        &[EMAIL, "Password: =wrong", "Password: =demo-password", "2FA code: =000000", &code],
    );

    assert!(shown.ends_with("=> 0\n"), "{shown}");
    assert_eq!(shown.matches("E-mail: ").count(), 1, "{shown}");
    for secret in [DEMO_PASSWORD, "wrong", "000000"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// The answer comes as fast as a program can type, so the terminal must hide it before it asks.
#[test]
fn what_is_typed_the_instant_that_a_prompt_appears_is_never_shown() {
    let place = place();
    for _ in 0..40 {
        let shown = place.in_terminal_with(
            "--at-once",
            "login --session-only --color never --email ada@example.test",
            &["Password: =demo-password"],
        );
        assert!(shown.ends_with("=> 0\n"), "{shown}");
        assert!(!shown.contains(DEMO_PASSWORD), "{shown}");
    }
}

/// Interrupted, terminated, hung up, and stopped and continued in the middle of a hidden prompt.
#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let place = place_of(account_with_2fa());
    let line = "login --session-only --color never --email ada@example.test";
    for (signal, code) in [("INT", 130), ("TERM", 143), ("QUIT", 131), ("HUP", 129)] {
        for answers in [
            vec![format!("Password: =!{signal}")],
            vec!["Password: =demo-password".to_owned(), format!("2FA code: =!{signal}")],
        ] {
            let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
            let shown = place.in_terminal_with("--signals", line, &answers);
            let ended = format!("<echo on>=> {code}\n");
            assert!(shown.ends_with(&ended), "{signal}: {shown}");
        }
    }
    let code = place.simulator.totp_code(DEMO_EMAIL).unwrap();
    let code = format!("2FA code: ={code}");
    let shown = place.in_terminal_with(
        "--signals",
        line,
        &["Password: =!TSTP", "Password: =demo-password", &code],
    );
    assert!(shown.contains("Password: <stopped, echo on>Password: "), "{shown}");
    assert!(shown.ends_with("<echo on>=> 0\n") && !shown.contains(DEMO_PASSWORD), "{shown}");
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

const STDIN_PASSWORD: &str = "Give it on standard input with --password-stdin.";

//! The cures of `hints.rs` that log in: each hint is typed at a terminal, as it is printed.

#![cfg(all(unix, feature = "demo"))]

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD};

use crate::shared::cures::commands;
use crate::support::login::{Place, SESSION_ONLY, TOTP_SECRET, place};

const LOGIN: &str = "login --password-stdin --email ada@example.test";

pub(crate) fn no_login() {
    let place = place();

    place.is_cured("=> 3\n", "", DEMO_PASSWORD);
}

pub(crate) fn an_old_password() {
    let place = logged_in();
    assert!(place.simulator.change_password(DEMO_EMAIL, "a-new-password"));

    place.is_cured("=> 4\n", "", "a-new-password");
    a_login_that_basic_has_refused();
}

/// Under Basic there is no session to keep: the hint proves the login itself, from whichever source.
fn a_login_that_basic_has_refused() {
    let place = place();
    let command = "[credentials]\nsource = \"command\"\nemail = \"ada@example.test\"\n\
                   command = [\"printf\", \"demo-password\"]";
    place.configure(&format!("key_command = [\"printf\", \"sixteen bytes ok\"]\n{command}"));
    place.choose_basic();
    assert!(place.simulator.change_password(DEMO_EMAIL, "another"));
    assert!(place.home.run("whoami").ends_with("=> 4\n"));
    // The login is right again, and still not tried: it was refused.
    assert!(place.simulator.change_password(DEMO_EMAIL, DEMO_PASSWORD));
    let said = place.home.run("whoami");
    assert!(said.ends_with("=> 4\n"), "{said}");

    let refused = place.given("login --password-stdin", DEMO_PASSWORD);
    for hint in [said, refused] {
        let line = commands(&hint).pop().unwrap_or_else(|| panic!("{hint}"));
        let line = line.strip_prefix("nexudus-proxy ").unwrap();
        assert_eq!(line, "login --credentials-source auto", "{hint}");
        let shown = place.in_terminal(line, &[&format!("Password: ={DEMO_PASSWORD}")]);
        assert!(shown.ends_with("=> 0\n"), "{shown}");
    }

    let said = place.home.run("whoami");
    assert!(said.ends_with("=> 0\n"), "{said}");
}

pub(crate) fn a_second_factor() {
    let place = logged_in();
    let secret = Some(TOTP_SECRET.to_owned());
    assert!(place.simulator.change_account(DEMO_EMAIL, |account| account.totp_secret = secret));
    let code = place.simulator.totp_code(DEMO_EMAIL).unwrap();

    place.is_cured("=> 4\n", &code, DEMO_PASSWORD);
}

pub(crate) fn a_session_that_has_ended() {
    let place = place();
    assert!(place.given(SESSION_ONLY, DEMO_PASSWORD).ends_with("=> 0\n"));
    place.simulator.revoke_refresh_tokens();
    place.simulator.revoke_access_tokens();

    place.is_cured("=> 3\n", "", DEMO_PASSWORD);
}

/// A place whose login is stored, and whose session is lost.
fn logged_in() -> Place {
    let place = place();
    assert!(place.given(LOGIN, DEMO_PASSWORD).ends_with("=> 0\n"));
    std::fs::remove_file(place.home.path(".local/state/nexudus-proxy/session.sealed")).unwrap();
    place
}

impl Place {
    /// Sees the problem, types its hint, and sees the problem gone.
    fn is_cured(&self, ended: &str, code: &str, password: &str) {
        let said = self.home.run("whoami");
        assert!(said.ends_with(ended), "{said}");

        let command = commands(&said).remove(0).replace("CODE", code);
        let line = command.strip_prefix("nexudus-proxy ").unwrap();
        let password = format!("Password: ={password}");
        let shown = self.in_terminal(line, &["E-mail: =ada@example.test", &password]);

        assert!(shown.ends_with("=> 0\n"), "{line}: {shown}");
        let said = self.home.run("whoami");
        assert!(said.ends_with("=> 0\n"), "{line}: {said}");
    }
}

//! Logging in on a machine without a keychain: the login in a sealed file, its key beside it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD};
use nix::sys::signal::Signal;

use crate::shared::{eventually, run_with_input};
use crate::support::daemon::Served;
use crate::support::login::{Place, SESSION_ONLY, TOTP_SECRET, account_with_2fa, place, place_of};

const LOGIN: &str = "login --password-stdin --email ada@example.test";

/// A machine without a keychain, where nothing is configured but the upstream.
fn headless() -> Place {
    let place = place();
    place.configure("");
    place
}

impl Place {
    fn state(&self, name: &str) -> PathBuf {
        self.home.path(".local/state/nexudus-proxy").join(name)
    }

    fn key(&self) -> PathBuf {
        self.state("session.key")
    }

    /// The sealed logins.
    fn logins(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state("")).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.to_str().unwrap().contains("login.sealed")).collect()
    }

    fn without_paths(&self, said: &str) -> String {
        let said = said.replace("~/.local/state/nexudus-proxy", "STATE");
        match self.logins().as_slice() {
            [login] => {
                let name = login.file_name().unwrap().to_str().unwrap();
                said.replace(name, "LOGIN")
            }
            _ => said,
        }
    }

    fn serve(&self) -> Served {
        let mut command = self.home.command("serve");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Served::start(command)
    }
}

#[test]
fn a_login_goes_into_a_sealed_file_and_its_key_beside_it_said_aloud() {
    let place = headless();

    let said = place.given(LOGIN, DEMO_PASSWORD);

    assert_eq!(
        place.without_paths(&said),
        "logged in as Ada Example <ada@example.test> (profile default)\n\
         ! note: no keychain here; the key is in STATE/session.key (0600)\n\
         ! note: kept the login in STATE/LOGIN; `nexudus-proxy serve` uses it from now on\n\
         => 0\n"
    );
    for path in [&place.key(), &place.logins()[0]] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(path).unwrap();
        for secret in [DEMO_EMAIL, DEMO_PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
    assert_eq!(place.simulator.token_calls().len(), 1, "it is tried once");
    assert!(place.home.run("whoami").starts_with("Ada Example <ada@example.test>\n"));
    assert_eq!(place.simulator.token_calls().len(), 1, "the session is in a file too");
    let again = place.given(LOGIN, DEMO_PASSWORD);
    assert!(!again.contains("no keychain here"), "the key is made once: {again}");
}

#[test]
fn the_daemon_logs_in_from_the_file_after_its_tokens_are_lost_and_says_where_from() {
    let place = place_of(account_with_2fa());
    place.configure("");
    let input = format!("{DEMO_PASSWORD}\n{TOTP_SECRET}\n");
    let said = place.given(&format!("{LOGIN} --totp-secret-stdin"), &input);
    assert!(said.ends_with("=> 0\n"), "{said}");
    fs::remove_file(place.state("session.sealed")).unwrap();

    let mut daemon = place.serve();
    eventually("it serves", || place.home.run("wait --timeout 30s").ends_with("=> 0\n"));

    let status = daemon.status(&place.home);
    assert_eq!(status["session"]["source"], "sealed file");
    assert_eq!(status["session"]["store"], "file");
    assert_eq!(
        status["session"]["store_reason"],
        "its key comes from the key file that `login` made where it found no keychain"
    );
    let checks = place.home.run("doctor");
    assert!(checks.contains("ada@example.test from the sealed file"), "{checks}");
    assert!(checks.contains("one was written, read and deleted; the key file"), "{checks}");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert_eq!(place.simulator.token_calls().len(), 2);

    let mut restarted = place.serve();
    eventually("it serves", || place.home.run("wait --timeout 30s").ends_with("=> 0\n"));
    assert_eq!(place.simulator.token_calls().len(), 2, "the saved session is resumed");
    assert_eq!(restarted.end(Signal::SIGTERM), Some(0));
}

#[test]
fn logout_removes_the_file_and_its_key_and_says_what_it_leaves() {
    let place = headless();
    place.given(LOGIN, DEMO_PASSWORD);
    let authority = place.state("ca-localhost.sealed");
    fs::write(&authority, "sealed with the key").unwrap();

    let said = place.home.run("logout");

    assert!(said.contains("! note: cleared the login at https://localhost:"), "{said}");
    assert!(place.logins().is_empty() && !place.key().exists() && !place.session_file());
    assert!(!authority.exists(), "nothing opens it");

    place.configure("key = \"file\"");
    place.given(LOGIN, DEMO_PASSWORD);
    fs::write(&authority, "sealed with the key").unwrap();
    let said = place.home.run("logout");
    let left = "! note: STATE/session.key stays, because session.key = \"file\" names it; it opens \
                nothing now\n";
    assert!(place.without_paths(&said).contains(left), "{said}");
    assert!(place.logins().is_empty() && place.key().exists() && authority.exists());
}

#[test]
fn only_login_makes_the_key() {
    let place = headless();
    for session in ["", "key = \"file\"", "store = \"file\"\nkey = \"file\""] {
        place.configure(session);
        place.home.run("whoami");
        place.home.run("doctor");
        place.home.run("config show");
        let mut command = place.home.command("serve");
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = Served::start(command);
        eventually("it answers", || place.home.run("status").ends_with("=> 0\n"));
        eventually("it has tried", || {
            daemon.status(&place.home)["session"]["renewing"] == serde_json::json!(false)
        });
        let status = daemon.status(&place.home);
        if session.contains("key") {
            let told = status["session"].to_string();
            assert!(told.contains("there is no key file at "), "{told}");
        }
        daemon.end(Signal::SIGTERM);
        assert!(!place.key().exists(), "{session}");
    }
}

#[test]
fn a_named_key_file_and_a_named_sealed_file_work_alone() {
    for (session, source) in [("key = \"file\"", "auto"), ("", "file"), ("key = \"file\"", "file")]
    {
        let place = place();
        place.configure(&format!("{session}\n[credentials]\nsource = \"{source}\""));

        let said = place.given(LOGIN, DEMO_PASSWORD);

        assert!(said.ends_with("=> 0\n"), "{session} {source}: {said}");
        assert!(place.key().exists() && place.logins().len() == 1);
        assert!(place.home.run("whoami").ends_with("=> 0\n"));
    }
}

/// Any other key that the configuration has is better than one in a file.
#[test]
fn a_key_from_a_command_seals_the_login_and_no_key_file_is_made() {
    let place = place();

    let said = place.given(LOGIN, DEMO_PASSWORD);

    assert!(said.ends_with("=> 0\n") && !said.contains("the key is in"), "{said}");
    assert!(!place.key().exists() && place.logins().len() == 1);
    place.configure("key_command = [\"printf\", \"another key, long\"]");
    let said = place.home.run("whoami");
    assert!(said.contains("cannot be decrypted") && said.ends_with("=> 8\n"), "{said}");
}

#[test]
fn a_session_alone_outlives_a_reboot_with_a_key_file() {
    let place = headless();

    let said = place.given(SESSION_ONLY, DEMO_PASSWORD);

    assert!(said.contains("! note: no keychain here; the key is in "), "{said}");
    assert!(said.ends_with("=> 0\n") && place.session_file() && place.logins().is_empty());
}

#[test]
fn two_logins_at_once_agree_on_the_key() {
    let place = headless();
    std::thread::scope(|scope| {
        let logins: Vec<_> =
            (0..4).map(|_| scope.spawn(|| place.given(LOGIN, DEMO_PASSWORD))).collect();
        for login in logins {
            let said = login.join().unwrap();
            assert!(said.ends_with("=> 0\n"), "{said}");
        }
    });
    fs::remove_file(place.state("session.sealed")).unwrap();
    assert!(place.home.run("whoami").ends_with("=> 0\n"), "the login opens with the key");
}

#[test]
fn what_another_user_may_have_touched_is_refused_before_anything_is_asked() {
    let place = headless();
    place.given(LOGIN, DEMO_PASSWORD);
    let calls = place.simulator.token_calls().len();
    let refused = |told: &str| {
        for said in [place.given(LOGIN, DEMO_PASSWORD), place.home.run("doctor")] {
            assert!(said.contains(told), "{told}: {said}");
            assert!(said.ends_with("=> 8\n") || said.ends_with("=> 1\n"), "{said}");
        }
    };

    fs::set_permissions(place.key(), PermissionsExt::from_mode(0o644)).unwrap();
    refused("session.key can be read by others (mode 644)");
    refused("chmod 600 ");
    fs::set_permissions(place.key(), PermissionsExt::from_mode(0o600)).unwrap();

    let aside = place.state("aside");
    fs::rename(place.key(), &aside).unwrap();
    symlink(&aside, place.key()).unwrap();
    refused("session.key is a symbolic link");
    fs::remove_file(place.key()).unwrap();

    let whole = fs::read(&aside).unwrap();
    fs::write(place.key(), &whole[..32]).unwrap();
    fs::set_permissions(place.key(), PermissionsExt::from_mode(0o600)).unwrap();
    refused("session.key does not hold a whole key of 64 hexadecimal digits");
    fs::write(place.key(), &whole).unwrap();

    assert_eq!(place.simulator.token_calls().len(), calls, "nothing was sent");
    let sealed = place.logins()[0].clone();
    let cut = fs::read(&sealed).unwrap();
    fs::write(&sealed, &cut[..cut.len() - 1]).unwrap();
    fs::remove_file(place.state("session.sealed")).unwrap();
    let said = place.home.run("whoami");
    assert!(said.contains("cannot be decrypted") && said.ends_with("=> 8\n"), "{said}");
    assert!(place.given(LOGIN, DEMO_PASSWORD).ends_with("=> 0\n"), "a login replaces it");
}

#[test]
fn where_nothing_can_be_stored_nothing_is_asked() {
    let place = headless();
    fs::create_dir_all(place.home.path(".local/state")).unwrap();
    // Root may write anywhere, so a file takes the place of the directory.
    fs::write(place.home.path(".local/state/nexudus-proxy"), "").unwrap();

    let said = place.home.run("login");

    assert!(said.starts_with("! error: could not store the login in a sealed file\n"), "{said}");
    assert!(said.ends_with("=> 8\n"), "{said}");
}

#[test]
fn the_json_names_the_place() {
    let place = headless();
    let mut command: Command = place.home.command(&format!("{LOGIN} --json"));
    let output = run_with_input(&mut command, DEMO_PASSWORD);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["place"].as_str(), place.logins()[0].to_str());
}

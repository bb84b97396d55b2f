//! `doctor` about the account: the login, the password, the API access.

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD};

use crate::support::login::{Place, place, place_of};

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
    for check in CHECKS {
        assert!(well.lines().any(|line| line.contains(&format!(" {check} "))), "{check}: {well}");
    }
    assert!(well.contains("personal data"), "{well}");
    if cfg!(target_os = "linux") {
        assert!(well.contains("peers of TCP connections: other users are refused\n"), "{well}");
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

/// The checks of `doctor`.
const CHECKS: [&str; 15] = [
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
];

#[test]
fn doctor_tells_the_troubles_that_people_know_each_with_its_cure() {
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
}

/// `APIAccess` was seen to read false on accounts whose requests are answered.
#[test]
fn doctor_warns_where_the_account_seems_to_have_no_api_access() {
    let mut account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
    account.hides_api_access = true;
    let member = Account::new(DEMO_EMAIL, DEMO_PASSWORD).member();
    for (account, finding, cure) in [
        (account, "has no API access, but answered a request", "→ Ask an administrator"),
        (member, "has no API access, which is not always true", "→ Try a request."),
    ] {
        let place = place_of(account);
        let mut command = place.home.command("doctor");
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        let told = place.home.transcript(&mut command);

        assert!(told.ends_with("=> 0\n") && !told.contains("FAIL"), "{told}");
        let access = told.lines().skip_while(|line| !line.contains("api access"));
        let access: Vec<_> = access.take(2).collect();
        assert!(access[0].starts_with("warn "), "{told}");
        assert!(access[0].contains(finding), "{told}");
        assert!(access[1].contains(cure), "{told}");
    }
}

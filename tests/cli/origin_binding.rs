//! A session belongs to the origin that issued it: nothing of one upstream ever reaches another.

use std::process::{Command, Stdio};

use nexudus_simulator::DEMO_PASSWORD;

use crate::support::origins::{SESSION_ONLY, Serving, assert_untouched, kept, place};

/// The attack: only `upstream.origin` has changed, and the daemon starts again.
#[test]
fn another_origin_gets_neither_token_of_a_session() {
    let place = place();
    place.log_in();
    {
        let _daemon = place.serve("serve");
        assert_eq!(place.ask().0, 200);
    }

    place.configure(&place.b);
    {
        let _daemon = place.serve("serve");
        let (status, answer) = place.ask();
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("session.not-logged-in"), "{answer}");
        let told = place.run("status");
        let (a, b) = (place.a.origin(), place.b.origin());
        assert!(told.contains(&format!("the stored login is for {a}, not for {b}")), "{told}");
        assert!(told.contains("`nexudus-proxy login`"), "{told}");
        let told = place.run("whoami");
        assert!(told.contains(&format!("the stored login is for {a}")), "{told}");
        assert!(told.ends_with("=> 3\n"), "{told}");
    }
    assert_untouched(&place.b, &place.a);
    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    // It asks B whether it is there, and shows it nothing.
    let told = place.run("doctor");
    let (a, b) = (place.a.origin(), place.b.origin());
    let login = told.lines().find(|line| line.contains("  login  "));
    let said = format!("the stored login is for {a}, not for {b}");
    assert!(login.is_some_and(|line| line.ends_with(&said)), "{told}");
    assert_untouched(&place.b, &place.a);

    place.configure(&place.a);
    let _daemon = place.serve("serve");
    assert_eq!(place.ask().0, 200, "the session of A is found again");
    assert_eq!(place.a.token_calls().len(), 1);
}

/// However the other origin is named: a flag, a variable, a profile's part of the file.
#[test]
fn another_origin_gets_nothing_however_it_is_named() {
    let place = place();
    place.log_in();
    let b = place.b.origin();
    let ask_b = |mut command: Command| {
        let serving = Serving(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let told = place.run("wait --timeout 30s");
        assert!(told.ends_with("=> 3\n"), "{told}");
        let (status, answer) = place.ask();
        assert!(status == 503 && answer.contains("session.not-logged-in"), "{answer}");
        drop(serving);
    };

    ask_b(place.command(&format!("serve --upstream {b}")));
    let mut by_variable = place.command("serve");
    by_variable.env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", &b);
    ask_b(by_variable);
    place.configure_with(&place.a, &format!("[profile.default.upstream]\norigin = \"{b}\"\n"));
    ask_b(place.command("serve"));

    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    assert_eq!(place.a.token_calls().len(), 1);
}

/// `upstream.origin` takes a restart: until then the daemon goes on as it was, and says so.
#[test]
fn a_reload_changes_no_origin() {
    let place = place();
    place.log_in();
    let _daemon = place.serve("serve");
    place.configure(&place.b);

    let told = place.run("reload");

    assert!(told.contains("error: NOT applied until restart: upstream.origin"), "{told}");
    assert_eq!(place.ask().0, 200);
    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
}

#[test]
fn a_login_for_another_upstream_than_the_daemons_is_refused_before_it_is_offered() {
    let place = place();
    place.log_in();
    let _daemon = place.serve("serve");
    let (a, b) = (place.a.origin(), place.b.origin());
    let kept = kept(&place);

    for line in [
        format!("{SESSION_ONLY} --upstream {b}"),
        format!("login --import-stdin --upstream {b}"),
        format!("login --email ada@example.test --password-stdin --upstream {b}"),
    ] {
        let told = place.given(&line, DEMO_PASSWORD);
        assert!(
            told.starts_with(&format!(
                "! error: the running daemon serves {a}, and this login would be for {b}\n! hint: "
            )),
            "{told}"
        );
        assert!(told.ends_with("=> 2\n"), "{told}");
    }
    place.configure(&place.b);
    let told = place.run("doctor");
    let serves = format!("the running daemon serves {a}");
    assert!(
        told.contains(&format!("{serves}, and {b} is configured here (profile default); what it")),
        "{told}"
    );
    assert!(
        told.contains(
            "→ Restart the daemon, so that it serves the upstream.origin that is configured now.\n"
        ),
        "{told}"
    );
    let told = place.given(SESSION_ONLY, DEMO_PASSWORD);
    assert!(told.contains(&a) && told.contains(&b) && told.ends_with("=> 2\n"), "{told}");

    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    assert_eq!(place.a.token_calls().len(), 1);
    assert_eq!(self::kept(&place), kept, "nothing is stored");
    let told = place.given(&format!("{SESSION_ONLY} --upstream {a}"), DEMO_PASSWORD);
    assert!(told.contains("; the running daemon uses it from now on"), "{told}");
}

/// The daemon compares too: it may have been started again between two questions of a command.
#[test]
fn a_daemon_refuses_to_hear_of_a_login_for_another_origin() {
    let place = place();
    place.log_in();
    let _daemon = place.serve("serve");
    let (a, b) = (place.a.origin(), place.b.origin());
    let tell = |query: &str| {
        let output = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "-X", "POST", "--unix-socket"])
            .arg(place.home.path(".local/state/nexudus-proxy/run/admin.sock"))
            .arg(format!("http://localhost/v1/login{query}"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    let told = tell(&format!("?upstream={b}"));
    assert!(told.ends_with("\n409") && told.contains("session.origin"), "{told}");
    assert!(told.contains(&format!("this daemon serves {a}, and the login is for {b}")), "{told}");
    // An earlier command does not say for which.
    for query in ["", &format!("?upstream={a}")] {
        assert!(tell(query).ends_with("\n200"));
    }
}

/// The login in this shell's environment is meant for the upstream that is configured here.
#[test]
fn whoami_says_which_upstream_answers_and_gives_it_no_login_meant_for_another() {
    let place = place();
    place.configure_with(&place.a, "[policy]\nanonymous = \"none\"\n");
    place.log_in();
    let (a, b) = (place.a.origin(), place.b.origin());
    let calls = place.a.token_calls().len();
    {
        let _daemon = place.serve("serve");
        place.configure(&place.b);
        let mut whoami = place.command("whoami");
        whoami.env("NEXUDUS_EMAIL", "grace@example.test").env("NEXUDUS_PASSWORD", "for-b-only");
        let told = place.home.transcript(&mut whoami);
        let said = format!("! error: the running daemon serves {a}, and {b} is configured here\n");
        assert!(told.starts_with(&said) && told.ends_with("=> 2\n"), "{told}");
        let mut doctor = place.command("doctor");
        doctor.env("NEXUDUS_EMAIL", "grace@example.test").env("NEXUDUS_PASSWORD", "for-b-only");
        let told = place.home.transcript(&mut doctor);
        let login = told.lines().find(|line| line.contains("  login  ")).unwrap();
        assert!(login.starts_with("warn"), "{told}");
        let said = format!("; it is for {b}, and the running daemon serves {a}");
        assert!(login.ends_with(&said), "{told}");
    }
    assert_eq!(place.a.token_calls().len(), calls);

    place.configure(&place.a);
    let _daemon = place.serve("serve");
    place.configure(&place.b);
    let told = place.run("whoami");
    assert!(told.contains(&format!("Upstream    {a}\n")), "{told}");
    let said = format!("! warning: the running daemon serves {a}; {b} is configured here\n");
    assert!(told.contains(&said), "{told}");
    assert!(place.run("whoami --json").contains(&format!("\"upstream\": \"{a}\"")));
}

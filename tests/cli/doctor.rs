//! `doctor` where the way to Nexudus leads through a proxy.

#![cfg(all(unix, feature = "demo"))]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};
use serde_json::Value as Json;

use crate::support::{Home, home};

#[test]
fn a_proxy_that_is_not_there_fails_a_check_of_its_own_and_nobody_is_sent_in_circles() {
    let (home, _simulator) = stage();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let told = doctor(&home, &format!("http://127.0.0.1:{}", dead.port()));

    assert!(of(&told, "proxy").starts_with("ok "));
    let said = format!("fail no connection to {dead}: ");
    assert!(of(&told, "tcp").starts_with(&said), "{told:#}");
    assert_eq!(
        line(&told, "tcp")["fix"],
        "Check the proxy that upstream.proxy names, and its login."
    );
    assert_eq!(of(&told, "tls"), "skip there is no connection");
    assert!(of(&told, "token").starts_with("fail "));
    assert_eq!(line(&told, "token")["fix"], "Repair first what fails beside it: tcp.");
    assert!(!told.to_string().contains("nexudus-proxy doctor"), "{told:#}");
}

#[test]
fn what_the_proxy_says_is_told_and_its_password_is_not() {
    let (home, _simulator) = stage();
    let proxy = proxy(|_| Err("HTTP/1.1 407 Authenticate\r\n\r\n"));

    let told = doctor(&home, &format!("http://ada:marker-secret@127.0.0.1:{proxy}"));

    assert!(of(&told, "tcp").ends_with(": the proxy responded with 407 to CONNECT"), "{told:#}");
    assert!(!told.to_string().contains("marker-secret"));
}

#[test]
fn behind_a_proxy_everything_is_checked_as_without_one() {
    let (home, simulator) = stage();
    let port = simulator.address().port();
    let proxy = proxy(move |head| {
        assert!(head.starts_with(&format!("CONNECT localhost:{port} ")), "{head}");
        Ok(TcpStream::connect(("127.0.0.1", port)).unwrap())
    });

    let told = doctor(&home, &format!("http://127.0.0.1:{proxy}"));

    assert!(of(&told, "tcp").contains(" through 127.0.0.1:"), "{told:#}");
    assert_eq!(of(&told, "tls"), "ok verified");
    assert!(of(&told, "clock").starts_with("ok "));
    assert!(of(&told, "token").starts_with("ok "), "{told:#}");
}

#[test]
fn half_a_login_that_is_passed_over_is_warned_of_and_half_of_the_only_one_fails() {
    let (home, _simulator) = stage();
    home.write("handed/nexudus-email", DEMO_EMAIL);
    let half = "the systemd credentials have nexudus-email but not nexudus-password";
    let doctor = |password: Option<&str>| -> Json {
        let mut command = home.command("doctor --json");
        command.env("CREDENTIALS_DIRECTORY", home.path("handed"));
        if let Some(password) = password {
            command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", password);
        }
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    };

    let told = doctor(Some(DEMO_PASSWORD));
    assert_eq!(
        of(&told, "login"),
        format!(
            "warn {DEMO_EMAIL} from the environment, the most explicit source that has one; {half}"
        )
    );
    assert_eq!(line(&told, "login")["fix"], "Complete that half, or take it away.");
    assert!(of(&told, "token").starts_with("ok "), "{told:#}");

    let told = doctor(None);
    assert_eq!(of(&told, "login"), format!("fail {half}"));
    assert_eq!(line(&told, "login")["fix"], "Give nexudus-password too.");
}

/// The next source may hold another account's login, so it is not used instead.
#[test]
fn a_command_that_fails_is_named_and_no_other_source_is_asked() {
    let (home, simulator) = stage();
    let whole = |line: &str| {
        let mut command = home.command(line);
        command.env("NEXUDUS_PROXY_CREDENTIALS_COMMAND", "['false']");
        command.env("NEXUDUS_PROXY_CREDENTIALS_EMAIL", DEMO_EMAIL);
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        command
    };
    let said = "credentials.command gave no password, and no other source is tried: \
                `false` failed (exit status: 1)";

    let told = home.transcript(&mut whole("whoami"));
    assert!(told.contains(said) && told.ends_with("=> 8\n"), "{told}");
    assert!(simulator.token_calls().is_empty());
    let told = serde_json::from_slice(&whole("doctor --json").output().unwrap().stdout).unwrap();
    assert_eq!(of(&told, "login"), format!("fail {said}"));
    assert_eq!(
        line(&told, "login")["fix"],
        "Repair it, or name the source to read instead with credentials.source."
    );
}

fn stage() -> (Home, Simulator) {
    let home = home();
    let simulator =
        Simulator::builder().account(Account::new(DEMO_EMAIL, DEMO_PASSWORD)).start().unwrap();
    simulator.write_ca(&home.path("ca.pem")).unwrap();
    home.configure(format!(
        "[upstream]\norigin = '{}'\nca_file = '{}'\n[listen]\ntcp = ['127.0.0.1:0']\n",
        simulator.origin(),
        home.path("ca.pem").display(),
    ));
    (home, simulator)
}

fn doctor(home: &Home, proxy: &str) -> Json {
    let mut command = home.command("doctor --json");
    command.env("NEXUDUS_PROXY_UPSTREAM_PROXY", proxy);
    command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

fn line<'a>(told: &'a Json, check: &str) -> &'a Json {
    told["checks"].as_array().unwrap().iter().find(|line| line["check"] == check).unwrap()
}

fn of(told: &Json, check: &str) -> String {
    let line = line(told, check);
    format!("{} {}", line["verdict"].as_str().unwrap(), line["finding"].as_str().unwrap())
}

/// A proxy that asks `open` about each CONNECT: whom to connect to, or what to answer.
fn proxy(open: impl Fn(&str) -> Result<TcpStream, &'static str> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for caller in listener.incoming() {
            let mut caller = caller.unwrap();
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                caller.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            match open(std::str::from_utf8(&head).unwrap()) {
                Err(answer) => caller.write_all(answer.as_bytes()).unwrap(),
                Ok(upstream) => {
                    caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    let (one, other) = (caller.try_clone().unwrap(), upstream.try_clone().unwrap());
                    thread::spawn(move || relay(one, other));
                    thread::spawn(move || relay(upstream, caller));
                }
            }
        }
    });
    port
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

//! `api` and `open`: through the daemon, page by page.

#![cfg(all(unix, feature = "demo"))]

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nexudus_simulator::{Fault, FaultAction};
use serde_json::Value as Json;

use crate::shared::run_with_input;
use crate::support::daemon::{Nexudus, Served};
use crate::support::{Home, home};

#[test]
fn one_page_is_printed_as_it_came() {
    let stage = Stage::new(&[]);
    let told = stage.home.run("api /api/spaces/coworkers?size=2");
    let page: Json = serde_json::from_str(told.strip_suffix("=> 0\n").expect(&told)).unwrap();

    assert_eq!(page["Records"].as_array().unwrap().len(), 2);
    assert_eq!(page["PageSize"], 2);
    // Without the first slash, with the method, and with letters that a target cannot have.
    let same = stage.home.run("api get api/spaces/coworkers?size=2");
    assert_eq!(same, told);
    let none = stage.home.run("api /api/spaces/coworkers?Coworker_FullName=Nadine-Ñ");
    assert!(none.contains("\"TotalItems\":0") && none.ends_with("=> 0\n"), "{none}");
}

#[test]
fn all_pages_are_one_document_and_a_line_for_each_record() {
    let stage = Stage::new(&[]);
    let (path, pages, total) = stage.three_pages();

    let told = stage.home.run(&format!("api {path} --all"));
    let document: Json = serde_json::from_str(told.strip_suffix("=> 0\n").expect(&told)).unwrap();
    let lines = stage.home.run(&format!("api {path} --all --ndjson"));
    let lines = lines.strip_suffix("=> 0\n").expect(&lines);

    let records = document["Records"].as_array().unwrap();
    assert_eq!(records.len(), total);
    assert_eq!(document["TotalItems"], total);
    assert_eq!(document["PageNumber"], Json::Null, "no member is about one page");
    let ids: std::collections::BTreeSet<_> =
        records.iter().map(|record| record["Id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), total, "each record once");
    let read: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&read, records);
    let asked = stage.asked("/api/spaces/coworkers");
    assert_eq!(asked.iter().filter(|target| target.contains("page=3")).count(), 2, "{asked:?}");
    assert!(asked.len() >= 2 * pages, "{asked:?}");
}

#[test]
fn an_error_of_nexudus_in_the_daemons_form_is_not_taken_for_the_daemons() {
    let stage = Stage::new(&[]);
    let headers = [
        ("Content-Type", "application/problem+json"),
        ("Proxy-Status", "nexudus-proxy; error=connection_refused"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let body = r#"{"type":"urn:nexudus-proxy:session.locked","title":"x","status":423,"code":"session.locked","detail":"marker","hint":"marker"}"#;
    let answer = FaultAction::Answer { status: 423, headers, body: body.to_owned() };
    stage.nexudus.0.fault(Fault::on("/api/spaces/coworkers", answer).times(1));

    let told = stage.home.run("api /api/spaces/coworkers");

    assert!(told.contains(body), "{told}");
    assert!(told.ends_with("! error: Nexudus responded with 423 Locked\n=> 1\n"), "{told}");
}

#[test]
fn a_page_that_fails_leaves_no_whole_document() {
    let stage = Stage::new(&[]);
    let (path, ..) = stage.three_pages();
    let answer =
        FaultAction::Answer { status: 500, headers: vec![], body: "marker-body".to_owned() };
    stage.nexudus.0.fault(Fault::on("/api/spaces/coworkers", answer.clone()).skip(1).times(1));

    let told = stage.home.command(&format!("api {path} --all")).output().unwrap();

    assert_eq!(told.status.code(), Some(1));
    assert!(serde_json::from_slice::<Json>(&told.stdout).is_err());
    let said = String::from_utf8(told.stderr).unwrap();
    assert_eq!(
        said,
        "warning: the output ends before page 2\n\
         error: Nexudus responded with 500 Internal Server Error\n"
    );
    stage.nexudus.0.fault(Fault::on("/api/spaces/coworkers", answer).skip(1).times(1));
    let lines = stage.home.command(&format!("api {path} --all --ndjson")).output().unwrap();
    assert_eq!(lines.status.code(), Some(1));
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<Json>(line).is_ok()), "{lines}");
}

#[test]
fn errors_are_told_by_their_exit_code() {
    let stage = Stage::new(&[]);
    for (status, code) in [(400, 1), (401, 4), (403, 5), (404, 1), (500, 1)] {
        let body = "{\"Message\":\"said\"}".to_owned();
        let answer = FaultAction::Answer { status, headers: vec![], body };
        stage.nexudus.0.fault(Fault::on("/api/spaces/visitors", answer).times(1));

        let told = stage.home.run("api /api/spaces/visitors");

        assert!(told.starts_with("{\"Message\":\"said\"}"), "{status}: {told}");
        assert!(told.contains(&format!("error: Nexudus responded with {status} ")), "{told}");
        assert!(told.ends_with(&format!("=> {code}\n")), "{status}: {told}");
    }
    assert!(stage.home.run("lock").ends_with("=> 0\n"));
    assert_eq!(
        stage.home.run("api /api/auth/me"),
        "! error: the session is locked\n! hint: Run `nexudus-proxy unlock`.\n=> 1\n"
    );
    let empty = home();
    for command in ["api /api/auth/me", "open /api/x"] {
        assert!(empty.run(command).ends_with("=> 6\n"), "{command}");
    }
    assert!(stage.home.run("api https://spaces.nexudus.com/api/x").ends_with("=> 2\n"));
    assert!(stage.home.run("api POST /api/x --all").ends_with("=> 2\n"));
    assert!(stage.home.run("api /api/x --input missing.json").ends_with("=> 1\n"));
}

#[test]
fn a_body_comes_from_a_file_or_from_stdin_and_a_key_from_the_environment() {
    let stage = Stage::new(&["--policy-anonymous", "none"]);
    let key = stage.home.run("client add api");
    let key = key.lines().find(|line| line.starts_with("nxp_")).expect(&key).to_owned();
    stage.home.write("body.json", "{\"n\":1}");
    let with_key = |line: &str| {
        let mut command = stage.home.command(line);
        command.env("NEXUDUS_PROXY_KEY", &key);
        command
    };

    let file = with_key("api /api/echo --input body.json").output().unwrap();
    let stdin = run_with_input(&mut with_key("api put /api/echo --input -"), "{\"n\":2}");

    for (told, method, body) in [(file, "POST", "{\"n\":1}"), (stdin, "PUT", "{\"n\":2}")] {
        assert_eq!(told.status.code(), Some(0), "{told:?}");
        let seen = stage.nexudus.0.requests();
        let seen =
            seen.iter().rev().find(|seen| seen.method == method && seen.path() == "/api/echo");
        assert_eq!(seen.unwrap().text(), body, "{method}");
    }
    let refused = stage.home.run("api /api/auth/me");
    assert!(refused.contains("client key") && refused.ends_with("=> 1\n"), "{refused}");
    let mut odd = stage.home.command("api /api/auth/me");
    odd.env("NEXUDUS_PROXY_KEY", "marker\nkey");
    let odd = stage.home.transcript(&mut odd);
    assert!(odd.ends_with("=> 2\n") && !odd.contains("marker"), "{odd}");
}

#[test]
fn a_reader_that_has_enough_ends_it() {
    let stage = Stage::new(&[]);
    let program = env!("CARGO_BIN_EXE_nexudus-proxy");
    let script =
        format!("\"{program}\" api /api/spaces/coworkers?size=1 --all --ndjson; echo $? >&2");
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("({script}) | head -n 1")]).env_clear();
    shell.env("HOME", stage.home.root()).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());

    let told = shell.output().unwrap();

    assert_eq!(String::from_utf8(told.stdout).unwrap().lines().count(), 1);
    assert_eq!(String::from_utf8(told.stderr).unwrap(), "0\n");
}

#[test]
fn a_document_is_saved_for_this_user_and_opened() {
    let stage = Stage::new(&[]);
    let opener = stage.home.write("bin/xdg-open", "#!/bin/sh\necho \"$1\" > \"$HOME/opened\"\n");
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = |kind: &str, name: &str| {
        let disposition = format!("attachment; filename=\"{name}\"");
        let headers = [("content-type", kind), ("content-disposition", &disposition)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let answer = FaultAction::Answer { status: 200, headers, body: "%PDF-1.7".to_owned() };
        stage.nexudus.0.fault(Fault::on("/ContentDownload/x", answer).times(1));
        let mut command = stage.home.command("open /ContentDownload/x");
        command.env("PATH", format!("{}:/usr/bin:/bin", stage.home.path("bin").display()));
        stage.home.transcript(&mut command)
    };

    let told = open("application/pdf", "../Invoice 7.pdf");

    let path = told.lines().next().unwrap().replace('~', &stage.home.root().display().to_string());
    assert!(path.ends_with("/Invoice 7.pdf") && told.ends_with("=> 0\n"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), b"%PDF-1.7");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(stage.home.path("opened")).unwrap(), format!("{path}\n"));
    std::fs::remove_file(stage.home.path("opened")).unwrap();
    let program = open("application/octet-stream", "run.desktop");
    assert!(program.contains("not opened") && program.ends_with("=> 0\n"), "{program}");
    let page = open("text/html", "Invoice 7.pdf");
    assert!(
        page.contains("a web page instead of a document") && page.ends_with("=> 1\n"),
        "{page}"
    );
    assert!(!stage.home.path("opened").exists());
}

#[test]
fn a_document_is_saved_where_it_was_wanted() {
    let stage = Stage::new(&[]);

    let told = stage.home.run("open /api/auth/me --output me.json");

    assert_eq!(told, "me.json\n=> 0\n");
    let me: Json =
        serde_json::from_slice(&std::fs::read(stage.home.path("me.json")).unwrap()).unwrap();
    assert_eq!(me["Email"], crate::support::daemon::EMAIL);
    let again = stage.home.run("open /api/auth/me --output me.json");
    assert!(again.contains("File exists") && again.ends_with("=> 1\n"), "{again}");
}

/// A daemon that is logged in, with these flags.
struct Stage {
    home: Home,
    nexudus: Nexudus,
    _daemon: Served,
}

impl Stage {
    fn new(flags: &[&str]) -> Self {
        let (nexudus, home) = (Nexudus::start(), home());
        let daemon = nexudus.serve(&home, |command| {
            command.args(flags);
        });
        assert_eq!(home.run("wait"), "=> 0\n");
        Self { home, nexudus, _daemon: daemon }
    }

    /// Returns a list that has three pages, how many pages that is, and how many records.
    fn three_pages(&self) -> (String, usize, usize) {
        let told = self.home.run("api /api/spaces/coworkers?size=1");
        let page: Json = serde_json::from_str(told.strip_suffix("=> 0\n").unwrap()).unwrap();
        let total = usize::try_from(page["TotalItems"].as_u64().unwrap()).unwrap();
        assert!(total >= 3, "{total}");
        let size = total.div_ceil(3);
        assert_eq!(total.div_ceil(size), 3, "{total}");
        (format!("/api/spaces/coworkers?size={size}"), 3, total)
    }

    fn asked(&self, path: &str) -> Vec<String> {
        let seen = self.nexudus.0.requests();
        seen.iter().filter(|seen| seen.path() == path).map(|seen| seen.target.clone()).collect()
    }
}

//! Unchanged programs that hard-code `https://spaces.nexudus.com`, each under `run`: no hosts entry, no
//! setting of their own. `docs/tools.md` has the same table, and a test compares them.
//!
//! Programs that are on the machine anyway, or small, are tested in every run. `make check-clients` runs those
//! with large packages too, and all with downloads of 200 MB.

#![cfg(all(target_os = "linux", feature = "demo"))]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod direct_path;
mod hosts;
mod programs;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;

use nexudus_simulator::{Account, Simulator};
use serde_json::json;

use crate::direct_path::DirectPath;
use crate::programs::{PROGRAMS, Program, Works};

const EMAIL: &str = "ada@example.test";
const PASSWORD: &str = "marker-password-7f3a";

/// A simulated `spaces.nexudus.com`, and a home whose configuration leads to it.
struct Stage {
    nexudus: Simulator,
    home: tempfile::TempDir,
    direct: DirectPath,
}

fn stage() -> Stage {
    let account = Account::new(EMAIL, PASSWORD);
    let nexudus = Simulator::builder().name("spaces.nexudus.com").account(account).start().unwrap();
    let home = tempfile::tempdir().unwrap();
    nexudus.write_ca(&home.path().join("ca.pem")).unwrap();
    let configuration = format!(
        "[upstream]\naddress = '{}'\nca_file = '{}'\n[session]\nstore = 'memory'\n\
         [listen]\ntcp = ['127.0.0.1:0']\n",
        nexudus.address(),
        home.path().join("ca.pem").display()
    );
    let folder = home.path().join(".config/nexudus-proxy");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), configuration).unwrap();
    let direct = DirectPath::new(home.path());
    Stage { nexudus, home, direct }
}

impl Stage {
    /// Runs a program under `run`, and returns what it printed.
    fn run(&self, line: &str, program: &Program) -> Result<String, String> {
        let mut run = self.direct.command();
        run.args(self.command(line, program));
        run.env_clear().current_dir(self.home.path());
        run.env("HOME", self.home.path()).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        run.env("LC_ALL", "C.UTF-8").env("CLIENTS", packages());
        run.env("NEXUDUS_EMAIL", EMAIL).env("NEXUDUS_PASSWORD", PASSWORD);
        run.envs(program.environment.iter().copied());
        let output = run.output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() { Ok(out.trim().to_owned()) } else { Err(format!("{out}{err}")) }
    }

    /// Returns the whole command, compiled first where that is needed.
    fn command(&self, line: &str, program: &Program) -> Vec<String> {
        let bytes = download_bytes().to_string();
        let file = folder().join(program.file).display().to_string();
        let run = [env!("CARGO_BIN_EXE_nexudus-proxy")].into_iter().chain(line.split(' '));
        let run = run.chain(["--"]).map(str::to_owned);
        let inner = match program.command {
            ["go"] => {
                let binary = self.home.path().join("program").display().to_string();
                // The compiler's cache is the machine's.
                build(Command::new("go").args(["build", "-o", &binary, &file]));
                vec![binary]
            }
            ["java"] => {
                let classes = self.home.path().display().to_string();
                let session = folder().join("Session.java").display().to_string();
                build(Command::new("javac").args(["-d", &classes, &session, &file]));
                let name = program.file.trim_end_matches(".java").to_owned();
                vec!["java".to_owned(), "-cp".to_owned(), classes, name]
            }
            ["MCP"] => return self.host(run.chain([PYTHON.to_owned(), file]).collect(), bytes),
            words => words.iter().map(|word| (*word).to_owned()).chain([file]).collect(),
        };
        run.chain(inner).chain([bytes]).collect()
    }

    /// Returns a host of MCP that starts its server with this command, and hands no variable on but its
    /// configuration's.
    fn host(&self, command: Vec<String>, bytes: String) -> Vec<String> {
        let environment = json!({
            "NEXUDUS_EMAIL": EMAIL, "NEXUDUS_PASSWORD": PASSWORD, "PYTHONPATH": mcp_packages(),
        });
        let server = json!({ "command": command[0], "args": command[1..], "env": environment });
        let file = self.home.path().join("host.json");
        std::fs::write(&file, json!({ "mcpServers": { "nexudus": server } }).to_string()).unwrap();
        let host = folder().join("mcp_host.py").display().to_string();
        vec![PYTHON.to_owned(), host, file.display().to_string(), bytes]
    }

    /// Checks that Nexudus has seen requests with our bearer, and nothing that a program was given; and
    /// that no program went past the proxy.
    fn assert_only_our_bearer_arrived(&self) {
        let tokens = self.nexudus.live_access_tokens();
        let seen = self.nexudus.requests();
        let (logins, rest): (Vec<_>, Vec<_>) =
            seen.iter().partition(|request| request.path() == "/api/token");
        assert_eq!(logins.len(), 1, "our own login and no other");
        assert!(rest.len() >= 7, "{rest:?}");
        for request in rest {
            let bearer = request.bearer.as_ref();
            assert!(bearer.is_some_and(|bearer| tokens.contains(bearer)), "{request:?}");
            let sent = format!("{} {:?} {}", request.target, request.headers, request.text());
            let sent = sent.to_ascii_lowercase();
            for marker in ["nxp_", "basic ", "proxy-", "cookie", "run@localhost", EMAIL, PASSWORD] {
                assert!(!sent.contains(marker), "{marker}: {sent:.2000}");
            }
        }
        assert_eq!(self.direct.connections(), 0, "connections past the proxy");
    }
}

/// Says that a program is served as by Nexudus itself, and how.
fn check(name: &str) {
    let program = PROGRAMS.iter().find(|program| program.name == name).expect(name);
    let expected = format!("2 2 200 200 300000 {} 404", download_bytes());
    let lines: &[&str] = match program.works {
        Works::Run => &["run", "run --isolate"],
        Works::Isolated => &["run --isolate"],
    };
    for line in lines {
        let stage = stage();
        let told = stage.run(line, program);
        assert_eq!(told.as_deref(), Ok(expected.as_str()), "{name} under `{line}`");
        stage.assert_only_our_bearer_arrived();
    }
    if program.works == Works::Isolated {
        let stage = stage();
        let told = stage.run("run", program);
        assert!(told.is_err(), "{name} works under `run` too: {told:?}");
        assert!(stage.nexudus.requests().iter().all(|seen| seen.path() == "/api/token"));
        assert!(stage.direct.connections() > 0, "{name} uses a proxy, and fails for another cause");
    }
}

fn build(command: &mut Command) {
    let output = command.output().expect("the test needs it: run scripts/prepare.sh");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/programs")
}

/// Where `scripts/clients.sh` installs packages.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients")
}

/// Where `scripts/prepare.sh` installs the official SDK of MCP.
fn mcp_packages() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/mcp");
    assert!(folder.is_dir(), "the test needs it: run scripts/prepare.sh");
    folder
}

fn download_bytes() -> u64 {
    std::env::var("CLIENTS_DOWNLOAD").map_or(1_000_000, |bytes| bytes.parse().unwrap())
}

/// Debian's own, whose modules `scripts/prepare.sh` installs.
const PYTHON: &str = "/usr/bin/python3";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

macro_rules! programs {
    ($($test:ident => $name:literal,)*) => {
        $(#[test] fn $test() { check($name); })*
        const TESTED: &[&str] = &[$($name),*];
    };
}

programs! {
    curl_is_served => "curl",
    wget_is_served => "wget",
    python_requests_is_served => "Python requests",
    python_httpx_is_served => "Python httpx",
    python_urllib_is_served => "Python urllib",
    python_aiohttp_is_served => "Python aiohttp (trust_env)",
    python_urllib3_is_served => "Python urllib3 alone",
    node_fetch_of_node_is_served => "Node 20 fetch",
    node_https_request_is_served => "Node https.request",
    ruby_net_http_is_served => "Ruby net/http",
    ruby_httparty_is_served => "Ruby HTTParty",
    php_curl_is_served => "PHP curl",
    php_guzzle_is_served => "PHP Guzzle",
    php_streams_are_served => "PHP streams",
    java_http_client_is_served => "Java HttpClient",
    java_url_connection_is_served => "Java HttpURLConnection",
    go_net_http_is_served => "Go net/http",
    perl_lwp_is_served => "Perl LWP",
    an_mcp_server_that_logs_in_is_served => "MCP server that logs in",
    an_mcp_server_with_a_base_url_is_served => "MCP server with a base URL",
}

/// Programs with large packages, each in a test of its own: `make check-clients`.
macro_rules! large_programs {
    ($($test:ident => $name:literal,)*) => {
        $(#[test] #[ignore = "needs packages of npm and R: make check-clients"]
        fn $test() { check($name); })*
        const LARGE: &[&str] = &[$($name),*];
    };
}

large_programs! {
    node_axios_is_served => "Node axios 1",
    an_older_node_axios_is_served => "Node axios 0.27",
    node_got_is_served => "Node got",
    node_fetch_is_served => "Node node-fetch",
    node_request_promise_is_served => "Node request-promise",
    node_undici_client_is_served => "Node undici Client",
    r_httr_is_served => "R httr",
}

#[test]
fn every_program_has_a_test() {
    for program in PROGRAMS {
        let (tested, other) = if program.is_large { (LARGE, TESTED) } else { (TESTED, LARGE) };
        assert!(
            tested.contains(&program.name) && !other.contains(&program.name),
            "{}",
            program.name
        );
    }
    assert_eq!(TESTED.len() + LARGE.len(), PROGRAMS.len());
}

#[test]
fn the_page_has_the_table_that_is_tested() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tools.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| program |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();

    let rows: Vec<String> = PROGRAMS.iter().map(Program::row).collect();

    assert_eq!(table, rows);
}

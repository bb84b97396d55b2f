//! The variables by which programs trust a `run`, each proven by the program that reads it: with that one
//! alone it comes through, and without it, it does not.

use std::path::{Path, PathBuf};

use nexudus_simulator::{Account, Simulator};

use crate::support::run::script;
use crate::support::{Home, home};

/// A program, the variable that it reads, and the path that it asks for.
struct Case {
    variable: &'static str,
    command: String,
    path: &'static str,
}

#[test]
fn git_trusts_a_run_by_its_variable() {
    check(&[Case {
        variable: "GIT_SSL_CAINFO",
        command: format!("GIT_TERMINAL_PROMPT=0 git clone -q {NEXUDUS}/marker.git"),
        path: "/marker.git/info/refs",
    }]);
}

#[test]
fn pip_trusts_a_run_by_its_variable() {
    check(&[Case {
        variable: "PIP_CERT",
        command: format!(
            "/usr/bin/python3 -m pip download --no-cache-dir --disable-pip-version-check --retries 0 \
             --no-deps --index-url {NEXUDUS}/simple marker"
        ),
        path: "/simple/marker",
    }]);
}

#[test]
fn cargo_trusts_a_run_by_its_variable() {
    check(&[Case {
        variable: "CARGO_HTTP_CAINFO",
        command: format!(
            "mkdir -p it/src it/.cargo && cd it && touch src/lib.rs && \
             printf '[package]\\nname = \"it\"\\n[dependencies]\\nmarker = {{ version = \"1\", registry = \"it\" }}\\n' \
             >Cargo.toml && printf '[registries.it]\\nindex = \"sparse+{NEXUDUS}/index/\"\\n' >.cargo/config.toml && \
             CARGO_HOME=$HOME/cargo CARGO_NET_RETRY=0 {} generate-lockfile",
            env!("CARGO")
        ),
        path: "/index/config.json",
    }]);
}

/// With packages that `make check-clients` installs.
#[test]
#[ignore = "needs boto3 and Deno: make check-clients"]
fn the_aws_sdk_and_deno_trust_a_run_by_their_variables() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/programs");
    let deno = programs.join("node_modules/.bin/deno");
    check(&[
        Case {
            variable: "AWS_CA_BUNDLE",
            command: format!(
                "PYTHONPATH={} AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y /usr/bin/python3 -c \
                 'import boto3, botocore.config as c; boto3.client(\"s3\", endpoint_url=\"{NEXUDUS}/marker\", \
                 region_name=\"x\", config=c.Config(retries={{\"max_attempts\": 0}})).list_buckets()'",
                programs.join("python").display()
            ),
            path: "/marker",
        },
        Case {
            variable: "DENO_CERT",
            command: format!(
                "DENO_DIR=$HOME/deno {} eval 'await (await fetch(\"{NEXUDUS}/api/auth/me\")).text()'",
                deno.display()
            ),
            path: "/api/auth/me",
        },
    ]);
}

fn check(cases: &[Case]) {
    for Case { variable, command, path } in cases {
        for (kept, is_served) in [(Some(*variable), true), (None, false)] {
            let (nexudus, home) = stage();
            let removed = ALL.iter().filter(|it| Some(**it) != kept).copied().collect::<Vec<_>>();
            let text = format!("unset {}; {command}", removed.join(" "));

            let told = home.transcript(&mut script(&home, "run", &text));

            let seen = nexudus.requests();
            let seen: Vec<_> = seen.iter().filter(|it| it.path().starts_with(path)).collect();
            assert_eq!(!seen.is_empty(), is_served, "with {kept:?}: {told}");
            // Whether it connects at all: its TLS, and not its proxy, is what fails.
            let cause = "its TLS does not trust the certificate of this run";
            assert_eq!(told.contains(cause), !is_served, "with {kept:?}: {told}");
            let tokens = nexudus.live_access_tokens();
            let is_ours =
                seen.iter().all(|it| it.bearer.as_ref().is_some_and(|it| tokens.contains(it)));
            assert!(is_ours, "{seen:?}");
        }
    }
}

/// A simulated `spaces.nexudus.com`, and a home whose configuration leads to it.
fn stage() -> (Simulator, Home) {
    let account = Account::new("ada@example.test", "marker-password-7f3a");
    let nexudus = Simulator::builder().name("spaces.nexudus.com").account(account).start().unwrap();
    let home = home();
    let ca: PathBuf = home.path("ca.pem");
    nexudus.write_ca(&ca).unwrap();
    home.configure(format!(
        "[upstream]\naddress = '{}'\nca_file = '{}'\n[session]\nstore = 'memory'\n",
        nexudus.address(),
        ca.display()
    ));
    (nexudus, home)
}

const NEXUDUS: &str = "https://spaces.nexudus.com";

/// The variables that name a file with anchors.
const ALL: [&str; 12] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

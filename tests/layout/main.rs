//! The source tree keeps its shape: floors, file headers, sizes, and one owner for each thing that
//! must have one.
//!
//! The floors stand here once, lowest first. A module names only modules on lower floors; modules
//! of one floor do not know each other. `ARCHITECTURE.md` says why.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod imports;
mod sizes;
mod state_files;
mod test_groups;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first, in the order in which `src/lib.rs` declares their modules.
const FLOORS: &[(&str, &[&str])] = &[
    ("catalogue", &["json", "problem"]),
    (
        "words",
        &["clock", "config", "path_template", "secret", "secure_fs", "tcp_options", "telemetry"],
    ),
    ("kernel", &["children", "peer"]),
    ("world", &["ca", "credentials", "listen", "service", "upstream"]),
    ("tunnels", &["forward_proxy"]),
    ("shared", &["approvals", "audit", "clients", "fleet", "redact", "throttle"]),
    ("token", &["session"]),
    ("faces", &["admin", "gateway"]),
    ("assembly", &["daemon"]),
    ("command", &["run"]),
    ("person", &["cli"]),
];

/// Text that only some files may contain, and those files.
const OWNED: &[(&str, &[&str])] = &[
    // The end of the process.
    ("process::exit(", &["main.rs"]),
    // Printing.
    ("println!", &[]),
    ("print!(", &[]),
    // The second looks at the descriptor that a command gets, and prints nothing.
    ("io::stdout()", &["cli/print.rs", "run/isolate/descriptors.rs"]),
    // Statuses: ours come from the catalogue; the others read those of Nexudus, a proxy or hyper.
    (
        "StatusCode::",
        &[
            "admin/health_probes.rs",
            "admin/problem.rs",
            "admin/queries.rs",
            "cli/doctor/network.rs",
            "gateway/error_response/",
            "gateway/mod.rs",
            "gateway/content.rs",
            "gateway/response_headers.rs",
            "gateway/preflight.rs",
            "listen/",
            "problem/",
            "run/relay.rs",
            "session/current_user.rs",
            "session/refresh/endpoint.rs",
            "session/refresh/login_proof.rs",
            "session/refresh/me.rs",
            "session/refresh/revocation.rs",
            "telemetry/metrics.rs",
            "throttle/retry_after.rs",
            "upstream/",
        ],
    ),
    // Tasks and threads.
    (
        "tokio::spawn(",
        &[
            "daemon/",
            "fleet/handle.rs",
            "run/",
            "session/spawn.rs",
            "throttle/",
            "upstream/acquire.rs",
            "upstream/h2_conn.rs",
        ],
    ),
    ("JoinSet::new(", &["daemon/", "fleet/member_task.rs", "run/", "upstream/connector.rs"]),
    (
        "spawn_blocking(",
        &[
            "admin/clients.rs",
            "admin/context.rs",
            "clients/blocking.rs",
            "credentials/keychain/native.rs",
            "daemon/authorities.rs",
            "daemon/data_plane.rs",
            "gateway/peer_identity.rs",
            "peer/",
            "session/refresh/task/persistence.rs",
            "session/spawn.rs",
            "session/store/write_queue.rs",
        ],
    ),
    ("thread::spawn(", &[]),
    ("thread::Builder", &["audit/", "daemon/", "telemetry/nonblocking.rs"]),
    // Accepting over TCP: each connection comes with its peer, or not at all.
    ("TcpListener::from_std(", &["listen/acceptor.rs"]),
    // Secrets in the clear: where they leave the process, are sealed or are compared.
    (
        ".expose()",
        &[
            "admin/clients.rs",
            "cli/client.rs",
            "cli/ui/",
            "clients/",
            "credentials/",
            "fleet/convert.rs",
            "gateway/client_auth.rs",
            "run/",
            "secret/",
            "session/",
            "upstream/http_proxy.rs",
        ],
    ),
    // Texts that become secrets: where this program makes or stores them. Whatever comes from
    // outside goes through the one reader, `secret/input.rs`.
    (
        "Secret::new(",
        &[
            "cli/demo.rs",
            "cli/ui/gate.rs",
            "clients/key.rs",
            "credentials/keychain/",
            "credentials/keyutils.rs",
            "credentials/sealed_login.rs",
            "credentials/totp_secret.rs",
            "fleet/convert.rs",
            "run/client.rs",
            "secret/",
            "session/refresh/token_response.rs",
            "session/store/record.rs",
            "session/token.rs",
        ],
    ),
];

#[test]
fn a_module_names_only_lower_floors() {
    let wrong = complaints(|source, wrong| {
        let Some(from) = source.module() else { return };
        if source.code.contains("super::super") {
            wrong.push("write `crate::…` instead of `super::super`".to_owned());
        }
        for to in source.named_modules() {
            if to != from && floor(&to) >= floor(&from) {
                wrong.push(format!("`{from}` is not above `{to}` and must not name it"));
            }
        }
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_crate_declares_its_floors_in_order_and_re_exports_nothing() {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();

    let declared: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let expected: Vec<&str> = FLOORS.iter().flat_map(|(_, modules)| *modules).copied().collect();

    assert_eq!(declared, expected);
    assert!(!lib.contains("pub use"), "src/lib.rs re-exports nothing");
}

#[test]
fn the_imports_of_files_form_no_circle() {
    let mut wrong = vec![];
    for root in [src(), root().join("simulator/src")] {
        let imports = imports::Imports::read(&root);
        wrong.extend(imports::circles(&imports.arrows()));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A reader who meets a type must not ask which of many it is. `Error` alone may stand in every
/// module: it is the field's word for the errors of that module.
#[test]
fn a_type_name_stands_in_at_most_two_modules() {
    let mut defined: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for root in [src(), root().join("simulator/src")] {
        for path in rust_files(&root) {
            let source = Source::read(&path, &root);
            for name in source.defined_types().filter(|_| !source.is_test()) {
                defined.entry(name).or_default().insert(path.display().to_string());
            }
        }
    }
    let wrong: Vec<String> = defined
        .iter()
        .filter(|(name, files)| files.len() > 2 && *name != "Error")
        .map(|(name, files)| {
            format!("{name}: {}", files.iter().cloned().collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_file_opens_with_its_purpose() {
    let wrong = complaints(|source, wrong| {
        if !source.text.starts_with("//! ") {
            wrong.push("line one is not `//! ` and what the file is".to_owned());
        }
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_has_one_owner_is_nowhere_else() {
    let wrong = complaints(|source, wrong| {
        for (what, owners) in OWNED.iter().filter(|_| !source.is_test()) {
            let owned = owners.iter().any(|owner| source.name.starts_with(owner));
            if source.code.contains(what) && !owned {
                wrong.push(format!("`{what}` belongs into {owners:?}"));
            }
        }
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let named: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| C"))
        .flat_map(|line| line.rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2))
        .collect();
    let files = [src(), root().join("h1"), root().join("redactor"), root().join("tests")]
        .map(|folder| rust_files(&folder))
        .concat();
    let all: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();

    let missing: Vec<_> =
        named.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();

    assert!(named.len() > 30 && missing.is_empty(), "{missing:?}");
}

#[test]
fn the_simulator_does_not_know_the_proxy() {
    let simulator = root().join("simulator");
    let manifest = fs::read_to_string(simulator.join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    assert!(!dependencies.contains("nexudus-proxy"), "it would share the proxy's mistakes");
    for path in rust_files(&simulator) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("nexudus_proxy::"), "{} names the proxy", path.display());
    }
}

/// One file of `src`.
struct Source {
    /// The path below the source folder, with slashes.
    name: String,
    text: String,
    /// The text without comments and without its tests.
    code: String,
}

impl Source {
    /// Reads the file at `path`, which stands below `root`.
    fn read(path: &Path, root: &Path) -> Self {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(path).unwrap();
        let before_tests = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let before_tests = before_tests.split("\n#[cfg(all(test").next().unwrap();
        let code: Vec<&str> =
            before_tests.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        Self { name, code: code.join("\n"), text }
    }

    /// Says whether the file holds only tests.
    fn is_test(&self) -> bool {
        self.name.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
    }

    /// `gateway/guard.rs` → `[gateway, guard]`; `gateway/mod.rs` → `[gateway]`; `lib.rs` → `[]`.
    fn module_path(&self) -> Vec<String> {
        let mut parts: Vec<String> =
            self.name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            parts.pop();
        }
        parts
    }

    /// `gateway/guard.rs` → `gateway`; `secret.rs` → `secret`; `lib.rs` and `main.rs` → none.
    fn module(&self) -> Option<String> {
        let module = self.name.split('/').next()?.trim_end_matches(".rs");
        (module != "lib" && module != "main").then(|| module.to_owned())
    }

    /// The names of the types that the file defines.
    fn defined_types(&self) -> impl Iterator<Item = String> {
        // An indented one belongs to a trait or a function.
        self.code.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| {
            let line = line.strip_prefix("pub").map_or(line, |rest| match rest.strip_prefix('(') {
                Some(rest) => rest.split_once(") ").map_or(rest, |(_, rest)| rest),
                None => rest.trim_start(),
            });
            let (word, rest) = line.split_once(' ')?;
            let name = first_word(rest);
            matches!(word, "struct" | "enum" | "trait" | "type").then_some(name)
        })
    }

    /// Every `x` of `crate::x` and of `crate::{x, y::z}`.
    fn named_modules(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for part in self.code.split("crate::").skip(1) {
            match part.strip_prefix('{') {
                None => found.insert(first_word(part)),
                Some(list) => {
                    top_level(list).iter().for_each(|item| {
                        found.insert(first_word(item.trim_start()));
                    });
                    true
                }
            };
        }
        found.remove("");
        found
    }
}

/// Splits `a, b::{c, d}, e}…` at the commas that are not inside braces, up to the closing brace.
fn top_level(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (vec![], 0_usize, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|(_, modules)| modules.contains(&module));
    found.unwrap_or_else(|| panic!("`{module}` is on no floor: give it one in tests/layout.rs"))
}

/// Runs `look` over every file of `src` and returns what it complains of, a line each.
fn complaints(look: impl Fn(&Source, &mut Vec<String>)) -> String {
    let mut all = String::new();
    for path in rust_files(&src()) {
        let source = Source::read(&path, &src());
        let mut wrong = vec![];
        look(&source, &mut wrong);
        for complaint in wrong {
            writeln!(all, "src/{}: {complaint}", source.name).unwrap();
        }
    }
    all
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    root().join("src")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

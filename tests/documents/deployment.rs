//! The files of deploy/ and packaging/ name what exists: keys, flags, this version; and they hand
//! secrets over as files alone.

use std::fs;
use std::process::Command;

use nexudus_proxy::config::KEYS;
use serde_json::Value as Json;

use crate::markdown::root;

#[test]
fn the_configurations_are_valid() {
    for file in ["deploy/config.toml", "packaging/config.toml"] {
        let said = program(&["--config", file, "config", "check"]);
        assert!(said.status.success(), "{file}: {}", String::from_utf8_lossy(&said.stderr));
    }
    let packaged = fs::read_to_string(root().join("packaging/config.toml")).unwrap();
    let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
    assert!(packaged.lines().all(is_comment), "a package changes no default");
}

#[test]
fn the_configuration_of_a_fleets_member_is_valid() {
    let text = fs::read_to_string(root().join("deploy/fleet/config.toml")).unwrap();
    // The certificate of an authority that this machine has not.
    let (before, after) =
        text.split_once("ca_file = \"/etc/nexudus-proxy/fleet-ca.pem\"\n").unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    fs::write(&path, format!("{before}{after}")).unwrap();
    let said = program(&["--config", path.to_str().unwrap(), "config", "check"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    // Each secret of the section is a file, named as the daemon looks for it.
    for file in ["fleet/compose.yaml", "fleet/kubernetes.yaml"] {
        let text = fs::read_to_string(root().join("deploy").join(file)).unwrap();
        for name in ["nexudus-fleet-key", "nexudus-fleet-password"] {
            assert!(text.contains(name), "{file}: {name}");
        }
    }
}

#[test]
fn the_packaged_configuration_is_one_with_its_comments_taken_off() {
    let packaged = fs::read_to_string(root().join("packaging/config.toml")).unwrap();
    let (_, example) = packaged.rsplit_once("\n\n").unwrap();
    let (_, example) = example.split_once('\n').unwrap();
    let bare: String = example.lines().map(|line| format!("{}\n", &line[2..])).collect();
    assert!(bare.contains("\"alice\""), "{bare}");
    // A user whom every machine has.
    let bare = bare.replace("alice", "root");
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("config.toml"), &bare).unwrap();

    let path = home.path().join("config.toml");
    let said = program(&["--config", path.to_str().unwrap(), "config", "check"]);
    assert!(said.status.success(), "{bare}: {}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn each_container_runs_this_version_without_rights_and_without_a_secret_in_its_environment() {
    for (file, count) in [
        ("compose.yaml", 1),
        // The part that both members share counts too.
        ("fleet/compose.yaml", 3),
        ("fleet/kubernetes.yaml", 1),
        ("kubernetes/sidecar.yaml", 1),
        ("kubernetes/deployment.yaml", 1),
    ] {
        let mut found = vec![];
        collect(&yaml(file), &mut found);
        assert_eq!(found.len(), count, "{file}");
        found.iter().for_each(|container| check(file, container));
    }
    let quadlet =
        fs::read_to_string(root().join("deploy/quadlet/nexudus-proxy.container")).unwrap();
    assert!(quadlet.contains(&format!("\nImage={IMAGE}{}\n", env!("CARGO_PKG_VERSION"))));
    for line in ["ReadOnly=true", "DropCapability=ALL", "NoNewPrivileges=true"] {
        assert!(quadlet.lines().any(|it| it == line), "{line}");
    }
}

fn check(file: &str, container: &Json) {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container["image"], format!("{IMAGE}{version}"), "{file}");
    for name in environment(container) {
        let is_key = KEYS.iter().any(|key| name == variable(key.section, key.name));
        assert!(is_key || DIRECTORIES.contains(&name.as_str()), "{file}: {name}");
    }
    let text = container.to_string().replace('_', "").to_lowercase();
    assert!(text.contains("readonly"), "{file}: the root is read-only");
    assert!(
        text.contains("\"drop\":[\"all\"]") || text.contains("\"capdrop\":[\"all\"]"),
        "{file}"
    );
    if file.contains("kubernetes") {
        assert_eq!(container["startupProbe"]["httpGet"]["path"], "/readyz", "{file}");
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz", "{file}");
    }
    if let Some(words) = container["args"].as_array() {
        let words = words.iter().map(|word| word.as_str().unwrap());
        let words: Vec<_> = words.chain(["--help"]).collect();
        let said = program(&words);
        assert!(said.status.success(), "{file}: {}", String::from_utf8_lossy(&said.stderr));
    }
}

/// Returns the names in a container's environment, as Compose or as Kubernetes writes them.
fn environment(container: &Json) -> Vec<String> {
    let named = container["environment"].as_object().into_iter().flatten();
    let listed = container["env"].as_array().into_iter().flatten();
    let listed = listed.map(|variable| variable["name"].as_str().unwrap().to_owned());
    named.map(|(name, _)| name.clone()).chain(listed).collect()
}

fn variable(section: &str, name: &str) -> String {
    format!("NEXUDUS_PROXY_{section}_{name}").to_uppercase()
}

/// Collects the containers of our image, wherever they stand.
fn collect(value: &Json, found: &mut Vec<Json>) {
    if value["image"].as_str().is_some_and(|image| image.starts_with(IMAGE)) {
        found.push(value.clone());
    }
    let inner = value.as_object().into_iter().flat_map(|map| map.values());
    inner.chain(value.as_array().into_iter().flatten()).for_each(|it| collect(it, found));
}

fn yaml(file: &str) -> Json {
    let script = "import json,sys,yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))";
    let input = fs::File::open(root().join("deploy").join(file)).unwrap();
    // Debian's own interpreter, for which scripts/prepare.sh installs the module.
    let output = Command::new("/usr/bin/python3").args(["-c", script]).stdin(input).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn program(words: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
    command.args(words).current_dir(root()).env_clear().env("HOME", "/nonexistent");
    command.output().unwrap()
}

const IMAGE: &str = "ghcr.io/nexudus-proxy/nexudus-proxy:";

/// The variables that say where things are.
const DIRECTORIES: [&str; 2] = ["CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY"];

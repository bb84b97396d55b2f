//! The configurations of MCP hosts in `docs/agents.md`, each as a host reads it: with a daemon, a key, and
//! none of our variables in the environment of the host.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::{EMAIL, PASSWORD, PYTHON, Stage, folder, mcp_packages, stage, text};

#[test]
fn the_configuration_of_a_server_with_a_base_url_works_as_printed() {
    let (stage, mut host) = (stage(), configuration(0));
    let daemon = Daemon::start(&stage);
    let key = program(&stage, "client add mcp -q --redact --read-only");
    let variables = host["env"].as_object_mut().unwrap();
    assert_eq!(variables["NEXUDUS_BASE_URL"], "http://localhost:6398");
    variables["NEXUDUS_BASE_URL"] = format!("http://localhost:{}", daemon.port).into();
    assert_eq!(variables["NEXUDUS_ACCESS_TOKEN"], "nxp_…");
    variables["NEXUDUS_ACCESS_TOKEN"] = key.lines().next().unwrap().into();
    variables.insert("PYTHONPATH".to_owned(), json!(mcp_packages()));
    assert_eq!((&host["command"], &host["args"]), (&json!("nexudus-community-mcp"), &json!(null)));
    host["command"] = PYTHON.into();
    host["args"] = json!([folder().join("mcp_community.py")]);

    check(&stage, &host);
}

#[test]
fn the_configuration_of_a_server_that_logs_in_works_as_printed() {
    let (stage, mut host) = (stage(), configuration(1));
    let _daemon = Daemon::start(&stage);
    assert_eq!((&host["command"], &host["env"]), (&json!("nexudus-proxy"), &json!(null)));
    host["command"] = env!("CARGO_BIN_EXE_nexudus-proxy").into();
    let words = host["args"].as_array_mut().unwrap();
    assert_eq!(words.pop().unwrap(), "nexudus-official-mcp");
    words.extend([json!(PYTHON), json!(folder().join("mcp_official.py"))]);
    host["env"] = json!({ "PYTHONPATH": mcp_packages() });

    check(&stage, &host);
}

/// Has a host list records and try to delete one.
fn check(stage: &Stage, server: &Value) {
    let file = stage.home.path().join("host.json");
    std::fs::write(&file, json!({ "mcpServers": { "nexudus": server } }).to_string()).unwrap();
    let script = "import sys, json, mcp_client\n\
        server = mcp_client.Server(sys.argv[1], 'nexudus')\n\
        print(server.call('list_records', {'entity': 'spaces/coworkers', 'size': 2})[0])\n\
        print(json.dumps(server.call('delete_record', {'entity': 'spaces/visitors', 'id': 1})))\n\
        sys.exit(server.end())";
    let mut host = stage.direct.command();
    host.args([PYTHON, "-c", script]).arg(&file).current_dir(stage.home.path());
    host.env_clear().env("HOME", stage.home.path()).env("PATH", "/usr/bin:/bin");
    let output =
        host.env("PYTHONPATH", folder()).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();

    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let mut lines = out.lines();
    let page: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(page["Records"].as_array().unwrap().len(), 2);
    assert!(page["Records"][0]["FullName"].as_str().unwrap().starts_with("«PII:NAME:"), "{page}");
    let deleted: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert!(deleted[0].as_str().unwrap().contains("policy.read-only"), "{deleted}");
    assert_eq!((&deleted[1], stage.direct.connections()), (&json!(true), 0));
}

/// Returns a server of the page: its `number`th block of JSON that configures a host.
fn configuration(number: usize) -> Value {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut hosts = blocks.map(|block| serde_json::from_str::<Value>(block).unwrap());
    hosts.nth(number).unwrap()["mcpServers"]["nexudus"].take()
}

/// Runs the program in the person's home.
fn program(stage: &Stage, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
    command.args(line.split(' ')).env_clear().env("HOME", stage.home.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A daemon that ends with the test.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn start(stage: &Stage) -> Self {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        serve.arg("serve").env_clear().env("HOME", stage.home.path());
        serve.env("NEXUDUS_EMAIL", EMAIL).env("NEXUDUS_PASSWORD", PASSWORD);
        let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // The socket is the last to be told.
        assert!(lines.any(|line| line.unwrap().contains("proxy.sock")));
        std::thread::spawn(move || lines.for_each(drop));
        let status: Value = serde_json::from_str(&program(stage, "status --json")).unwrap();
        let address = status["listening"]["tcp"][0].as_str().unwrap();
        Self { child, port: address.rsplit_once(':').unwrap().1.parse().unwrap() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

//! A person with a daemon, and an agent that is kept away from both: as another user, or isolated.
//!
//! Person and agent are users without a name. The program, Python's packages and the agent's script are
//! copied to where both can read them.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nexudus_simulator::{Account, RecordedRequest, Simulator};
use serde_json::{Value, json};

use crate::{EMAIL, PASSWORD, mcp_packages, text};

pub(super) const PERSON: u32 = 61_233;
pub(super) const AGENT: u32 = 61_234;

/// A simulated Nexudus, and a person whose daemon serves it to the agent's user.
pub(super) struct Stage {
    pub(super) nexudus: Simulator,
    place: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Stage {
    pub(super) fn set() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this takes root: `sudo -E make test`");
        let account = Account::new(EMAIL, PASSWORD);
        let nexudus = Simulator::builder().name("spaces.nexudus.com").account(account);
        let nexudus = nexudus.start().unwrap();
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut stage = Self { nexudus, place, daemon: None };
        fs::copy(env!("CARGO_BIN_EXE_nexudus-proxy"), stage.program()).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = ["tests/clients/programs", "tests/clients/agent"].map(|it| root.join(it));
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(mcp_packages()).arg(stage.python());
        assert!(copy.status().unwrap().success());
        for file in sources.iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|it| it == "py") {
                fs::copy(&file, stage.python().join(file.file_name().unwrap())).unwrap();
            }
        }
        let readable = Command::new("chmod").args(["-R", "a+rX"]).arg(stage.python()).status();
        assert!(readable.unwrap().success());
        for (user, home) in [(PERSON, stage.home()), (AGENT, stage.agent_home())] {
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&home, Some(user), Some(user)).unwrap();
        }
        stage.configure();
        stage.log_in();
        stage.daemon = Some(stage.serve());
        stage
    }

    fn configure(&self) {
        let ca = self.place.path().join("ca.pem");
        self.nexudus.write_ca(&ca).unwrap();
        let text = format!(
            "[upstream]\naddress = '{}'\nca_file = '{}'\n[session]\nstore = 'file'\nkey = 'file'\n\
             [listen]\ntcp = ['127.0.0.1:0']\nusers = ['{AGENT}']\n[policy]\nanonymous = 'none'\n\
             [audit]\nfile = 'auto'\n",
            self.nexudus.address(),
            ca.display()
        );
        let folder = self.home().join(".config/nexudus-proxy");
        let made = self.as_person("mkdir", &["-p"]).arg(&folder).status().unwrap();
        assert!(made.success());
        fs::write(folder.join("config.toml"), text).unwrap();
    }

    /// Has the person log in: the password, and the key of the file that seals it, are the agent's aim.
    fn log_in(&self) {
        let mut login = self.person(&["login", "--email", EMAIL, "--password-stdin"]);
        let mut child = login.stdin(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn serve(&self) -> Child {
        let mut serve = self.person(&["serve"]);
        let mut daemon = serve.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
        let mut said = String::new();
        // The socket is the last to be told.
        while !said.contains("proxy.sock") {
            said += &lines.next().unwrap_or_else(|| panic!("{said}")).unwrap();
        }
        std::thread::spawn(move || lines.for_each(drop));
        daemon
    }

    /// Returns a command of the person's.
    fn as_person(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).uid(PERSON).gid(PERSON).env_clear().current_dir(self.home());
        command.env("HOME", self.home()).env("PATH", PATH);
        command
    }

    /// Returns the program as the person starts it.
    pub(super) fn person(&self, arguments: &[&str]) -> Command {
        self.as_person(&self.program().display().to_string(), arguments)
    }

    /// Runs the program as the person, and returns what it prints.
    pub(super) fn person_says(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.person(arguments).output().unwrap();
        assert!(status.success(), "{arguments:?}: {}{}", text(&stdout), text(&stderr));
        text(&stdout)
    }

    /// Returns the one call that waits for the person, once there is one.
    pub(super) fn wait_for_call(&self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.person_says(&["approvals", "list", "--json"]);
            let told: Value = serde_json::from_str(&told).unwrap();
            let calls = told["calls"].as_array().unwrap();
            let found = calls.iter().find(|call| call["phase"] == "waiting");
            if let Some(call) = found {
                return call.clone();
            }
            assert!(Instant::now() < deadline, "no call waits: {told}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns what Nexudus has received by this method.
    pub(super) fn sent(&self, method: &str) -> Vec<RecordedRequest> {
        let seen = self.nexudus.requests();
        seen.into_iter().filter(|request| request.method == method).collect()
    }

    /// Returns the lines of the audit, as the person reads them.
    pub(super) fn audit(&self) -> Vec<Value> {
        let told = self.person_says(&["audit", "show", "--json"]);
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns where the data listener is.
    pub(super) fn base_url(&self) -> String {
        let status: Value = serde_json::from_str(&self.person_says(&["status", "--json"])).unwrap();
        format!("http://{}", status["listening"]["tcp"][0].as_str().unwrap())
    }

    pub(super) fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    pub(super) fn program(&self) -> PathBuf {
        self.place.path().join("nexudus-proxy")
    }

    pub(super) fn home(&self) -> PathBuf {
        self.place.path().join("person")
    }

    pub(super) fn agent_home(&self) -> PathBuf {
        self.place.path().join("agent")
    }

    pub(super) fn state(&self, file: &str) -> String {
        self.home().join(".local/state/nexudus-proxy").join(file).display().to_string()
    }

    /// Returns where the agent's script, the servers and their packages are.
    fn python(&self) -> PathBuf {
        self.place.path().join("python")
    }

    /// Starts the agent as another user, with the community's server behind this key.
    pub(super) fn agent_as_another_user(&self, key: &str) -> Agent {
        let environment =
            json!({ "NEXUDUS_BASE_URL": self.base_url(), "NEXUDUS_ACCESS_TOKEN": key });
        let home = self.agent_home();
        let configuration = self.write_host(&home, AGENT, "mcp_community.py", &environment);
        let mut command = Command::new("/usr/bin/python3");
        command.arg(self.python().join("agent.py")).arg(configuration).uid(AGENT).gid(AGENT);
        command.env_clear().current_dir(&home).env("HOME", &home).env("PATH", PATH);
        self.start_agent(command, &home, AGENT)
    }

    /// Starts the agent under the person's `run --isolate`, with the official server, which logs in.
    pub(super) fn isolated_agent(&self, limits: &[&str]) -> Agent {
        let home = self.home().join("agent");
        assert!(self.as_person("mkdir", &[]).arg(&home).status().unwrap().success());
        let configuration = self.write_host(&home, PERSON, "mcp_official.py", &json!({}));
        let mut command = self.person(&["run", "-q", "--isolate"]);
        command.args(limits).args(["--", "/usr/bin/python3"]);
        command.arg(self.python().join("agent.py")).arg(configuration);
        self.start_agent(command, &home, PERSON)
    }

    /// Writes the configuration of an MCP host.
    fn write_host(&self, home: &Path, user: u32, server: &str, environment: &Value) -> PathBuf {
        let server = self.python().join(server);
        let server = json!({ "command": "/usr/bin/python3", "args": [server], "env": environment });
        let file = home.join("host.json");
        fs::write(&file, json!({ "mcpServers": { "nexudus": server } }).to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(user), Some(user)).unwrap();
        file
    }

    fn start_agent(&self, mut command: Command, home: &Path, user: u32) -> Agent {
        let received = home.join("received");
        // What the server and the commands write to stderr is received too.
        let file = fs::OpenOptions::new().create(true).append(true).open(&received).unwrap();
        chown(&received, Some(user), Some(user)).unwrap();
        command.env("RECEIVED", &received).env("PYTHONPATH", self.python());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut agent = Agent { child, stdin: Some(stdin), lines, received };
        let tools = agent.answer();
        assert!(tools["tools"].as_array().is_some_and(|tools| tools.len() == 7), "{tools}");
        agent
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let pid = nix::unistd::Pid::from_raw(daemon.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
        daemon.wait().ok();
    }
}

/// A scripted agent with an MCP server.
pub(super) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    received: PathBuf,
}

impl Agent {
    /// Has it call a tool; an error is the text of the failure.
    pub(super) fn call(&mut self, tool: &str, arguments: Value) -> Result<String, String> {
        result(&self.step("call", json!({ "tool": tool, "arguments": arguments })))
    }

    /// Has it begin a call that [`Self::end_call`] waits for.
    pub(super) fn begin_call(&mut self, tool: &str, arguments: Value) {
        self.step("begin", json!({ "tool": tool, "arguments": arguments }));
    }

    pub(super) fn end_call(&mut self) -> Result<String, String> {
        result(&self.step("end", json!({})))
    }

    /// Has it send a request by itself; returns the status and the body.
    pub(super) fn ask(&mut self, url: &str, method: &str, headers: &Value) -> (u64, String) {
        let request = json!({ "url": url, "method": method, "headers": headers, "body": null });
        let answer = self.step("ask", request);
        (answer["status"].as_u64().unwrap(), answer["text"].as_str().unwrap().to_owned())
    }

    /// Has it run a command; returns the exit code and what that printed.
    pub(super) fn run(&mut self, command: &[&str], environment: &Value) -> (i64, String) {
        let answer = self.step("run", json!({ "command": command, "env": environment }));
        (answer["code"].as_i64().unwrap(), answer["text"].as_str().unwrap().to_owned())
    }

    /// Has it read a file; an error is the system's.
    pub(super) fn read(&mut self, path: &str) -> Result<String, String> {
        let answer = self.step("read", json!({ "path": path }));
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["text"].as_str().unwrap().to_owned()),
        }
    }

    /// Ends it, and returns every byte that it has received.
    pub(super) fn end(mut self) -> String {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
        text(&fs::read(&self.received).unwrap())
    }

    fn step(&mut self, name: &str, arguments: Value) -> Value {
        let line = json!([name, arguments]).to_string();
        writeln!(self.stdin.as_ref().unwrap(), "{line}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let Some(line) = self.lines.next() else {
            panic!("the agent has ended: {}", text(&fs::read(&self.received).unwrap()))
        };
        serde_json::from_str(&line.unwrap()).unwrap()
    }
}

fn result(answer: &Value) -> Result<String, String> {
    let told = answer["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    if answer["failed"] == true { Err(told) } else { Ok(told) }
}

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

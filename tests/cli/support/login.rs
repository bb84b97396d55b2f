//! The place of the tests about logging in: a simulated Nexudus and a home without a keychain.

use std::process::Command;

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::shared::run_with_input;
use crate::support::{Home, home};

/// A simulated Nexudus, and a home whose configuration leads to it. The session file's key comes
/// from a command.
pub(crate) struct Place {
    pub(crate) simulator: Simulator,
    pub(crate) home: Home,
}

pub(crate) fn place() -> Place {
    place_of(Account::new(DEMO_EMAIL, DEMO_PASSWORD))
}

pub(crate) fn place_of(account: Account) -> Place {
    let simulator = Simulator::builder().account(account).start().unwrap();
    let home = home();
    simulator.write_ca(&home.path("ca.pem")).unwrap();
    let place = Place { simulator, home };
    place.configure("key_command = [\"printf\", \"sixteen bytes ok\"]");
    place
}

impl Place {
    pub(crate) fn configure(&self, session: &str) {
        self.home.configure(format!(
            "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
             [session]\n{session}\n",
            self.simulator.origin(),
            self.home.path("ca.pem").display(),
        ));
    }

    #[cfg(feature = "demo")]
    /// Has each request carry the login itself.
    pub(crate) fn choose_basic(&self) {
        let file = self.home.path(".config/nexudus-proxy/config.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let basic = text.replacen("[upstream]\n", "[upstream]\nauth = \"basic\"\n", 1);
        std::fs::write(file, basic).unwrap();
    }

    /// Runs a command with this on its standard input.
    pub(crate) fn given(&self, line: &str, input: &str) -> String {
        self.home.format_output(run_with_input(&mut self.home.command(line), input))
    }

    /// Runs a command in a terminal that answers these prompts.
    pub(crate) fn in_terminal(&self, line: &str, answers: &[&str]) -> String {
        self.in_terminal_with("--when-hidden", line, answers)
    }

    /// Does the same in another way of typing, which `terminal.py` describes.
    pub(crate) fn in_terminal_with(&self, mode: &str, line: &str, answers: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/terminal.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(mode)
            .args(answers)
            .arg("--")
            .arg(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.args(line.split_whitespace());
        let path = std::env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path).env("HOME", self.home.root());
        let output = command.output().expect("the test needs python3: run scripts/prepare.sh");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn session_file(&self) -> bool {
        self.home.path(".local/state/nexudus-proxy/session.sealed").exists()
    }
}

pub(crate) const SESSION_ONLY: &str =
    "login --session-only --password-stdin --email ada@example.test";

pub(crate) fn account_with_2fa() -> Account {
    Account::new(DEMO_EMAIL, DEMO_PASSWORD).with_totp_secret(TOTP_SECRET)
}

pub(crate) const TOTP_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

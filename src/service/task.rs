//! Windows: the scheduled task in `windows/`, and `schtasks`.
//!
//! The task starts at the logon of one user, which takes no administrator. The scheduler knows no way to
//! end a program but to kill it: the commands end the daemon through its own pipe.

use std::path::{Path, PathBuf};

use super::{
    Error, Reporter, ServiceCommand, ServiceSpec, ServiceStatus, remove_file, stamp, write_file,
};

/// The task of one profile of one user.
#[derive(Debug)]
pub(super) struct Task {
    name: String,
    user: String,
    /// The definition, as it was registered last.
    file: PathBuf,
    log: PathBuf,
}

/// The definition's file, in the directory of the profile's state.
pub(super) const FILE: &str = "task.xml";

/// The task as shipped.
pub(super) const SHIPPED: &str = include_str!("../../windows/nexudus-proxy.xml");

impl Task {
    /// Names the task after its user: all tasks of a machine share one folder.
    pub(super) fn new(spec: &ServiceSpec, var: impl Fn(&str) -> Option<String>) -> Self {
        let user = var("USERNAME").unwrap_or_default();
        let suffix = spec.profile.as_ref().map(|name| format!("-{name}")).unwrap_or_default();
        let full_name = match var("USERDOMAIN").filter(|domain| !domain.is_empty()) {
            Some(domain) => format!("{domain}\\{user}"),
            None => user.clone(),
        };
        Self {
            name: format!("nexudus-proxy-{user}{suffix}"),
            user: full_name,
            file: spec.state_dir.join(FILE),
            log: spec.state_dir.join("service.log"),
        }
    }

    pub(super) fn install(&self, spec: &ServiceSpec, report: Reporter<'_>) -> Result<(), Error> {
        let launcher = spec.program.with_file_name("nexudus-proxy-task.exe");
        let launcher = launcher.exists().then_some(launcher.as_path());
        // `schtasks` reads this encoding, in which the scheduler itself writes.
        let text =
            format!("{}<!-- {} -->\n", self.render(spec, launcher), stamp::stamp(&[SHIPPED]));
        let text = text.replace('\n', "\r\n");
        let text: Vec<u8> =
            format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        write_file(&self.file, &text, report)?;
        let file = self.file.display().to_string();
        self.schtasks("/Create").args(["/XML", &file, "/F"]).run(report)?;
        self.start(report)
    }

    pub(super) fn uninstall(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.schtasks("/Delete").args(["/F"]).run(report)?;
        remove_file(&self.log, report)?;
        remove_file(&self.file, report)
    }

    pub(super) fn start(&self, report: Reporter<'_>) -> Result<(), Error> {
        self.schtasks("/Run").run(report)
    }

    /// Queries what the scheduler says in every language: whether there is the task.
    pub(super) fn status(&self) -> Result<ServiceStatus, Error> {
        let (enabled, _) = self.schtasks("/Query").output()?;
        Ok(ServiceStatus { enabled, state: "inactive".to_owned(), ..ServiceStatus::default() })
    }

    pub(super) fn logs(&self, lines: u32, follow: bool) -> ServiceCommand {
        let log = self.log.display().to_string().replace('\'', "''");
        let wait = if follow { " -Wait" } else { "" };
        let script = format!("Get-Content -LiteralPath '{log}' -Tail {lines}{wait}");
        ServiceCommand::new(["powershell", "-NoProfile", "-Command", &script])
    }

    pub(super) fn path(&self) -> PathBuf {
        self.file.clone()
    }

    fn schtasks(&self, act: &str) -> ServiceCommand {
        ServiceCommand::new(["schtasks", act, "/TN", &self.name])
    }

    /// Returns the task with the paths, arguments and user of this installation. Without the `launcher`
    /// the program itself is the task, and has a window.
    fn render(&self, spec: &ServiceSpec, launcher: Option<&Path>) -> String {
        let words = spec.arguments.iter().map(String::as_str).chain(["serve"]);
        let log = self.log.display().to_string();
        let words: Vec<_> = launcher.map(|_| log.as_str()).into_iter().chain(words).collect();
        let words: Vec<_> = words.into_iter().map(quote).collect();
        let program = launcher.unwrap_or(&spec.program).display().to_string();
        let text = replace_element(SHIPPED, "UserId", &self.user);
        let text = replace_element(&text, "Command", &program);
        replace_element(&text, "Arguments", &words.join(" "))
    }
}

/// Quotes an argument as programs of Windows read it, where it has to be.
fn quote(word: &str) -> String {
    if word.contains([' ', '\t', '\\']) {
        // A path of a directory may end with a backslash, which would quote the quotation mark.
        let trailing = word.len() - word.trim_end_matches('\\').len();
        format!("\"{word}{}\"", "\\".repeat(trailing))
    } else {
        word.to_owned()
    }
}

/// Replaces the text of each element of this name.
fn replace_element(text: &str, name: &str, value: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut parts = text.split(&open);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once(&close).map_or("", |(_, rest)| rest);
        replaced.push_str(&format!("{open}{value}{close}{rest}"));
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_task_is_the_shipped_one_with_its_own_user_paths_and_arguments() {
        let spec = ServiceSpec {
            program: r"C:\R & D\nexudus-proxy.exe".into(),
            arguments: ["--profile".to_owned(), "work".to_owned()].to_vec(),
            state_dir: "/state".into(),
            ..ServiceSpec::shipped(Some("work"))
        };
        let var = |name: &str| match name {
            "USERNAME" => Some("ada".to_owned()),
            "USERDOMAIN" => Some("DESK".to_owned()),
            _ => None,
        };
        let task = Task::new(&spec, var);

        let rendered = task.render(&spec, Some(Path::new(r"C:\R & D\nexudus-proxy-task.exe")));

        assert_eq!(task.name, "nexudus-proxy-ada-work");
        let is_new = |line: &&str| !SHIPPED.lines().any(|known| known == *line);
        let changed: Vec<_> = rendered.lines().filter(is_new).map(str::trim).collect();
        assert_eq!(
            changed,
            [
                r"<UserId>DESK\ada</UserId>",
                r"<UserId>DESK\ada</UserId>",
                r"<Command>C:\R &amp; D\nexudus-proxy-task.exe</Command>",
                "<Arguments>/state/service.log --profile work serve</Arguments>",
            ]
        );
        let alone = task.render(&spec, None);
        assert!(alone.contains(r"<Command>C:\R &amp; D\nexudus-proxy.exe</Command>"), "{alone}");
        assert!(alone.contains("<Arguments>--profile work serve</Arguments>"), "{alone}");
        assert_eq!(parsed(&rendered), [r"C:\R & D\nexudus-proxy-task.exe", r"DESK\ada"]);
    }

    #[test]
    fn an_argument_is_quoted_as_windows_reads_it() {
        assert_eq!(quote("serve"), "serve");
        assert_eq!(quote(r"C:\a b\c.log"), r#""C:\a b\c.log""#);
        assert_eq!(quote(r"C:\a\"), r#""C:\a\\""#);
    }

    /// Returns the program and the user of the task, as Python's parser reads them.
    fn parsed(text: &str) -> Vec<String> {
        const READ: &str = "import sys, xml.etree.ElementTree as tree\n\
            task = tree.fromstring(sys.stdin.buffer.read().decode().replace('UTF-16', 'UTF-8').encode())\n\
            name = '{http://schemas.microsoft.com/windows/2004/02/mit/task}'\n\
            for wanted in ['Command', 'UserId']: print(next(task.iter(name + wanted)).text)";
        let mut python = Command::new("python3");
        python.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("python3 is there");
        python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(str::to_owned).collect()
    }
}

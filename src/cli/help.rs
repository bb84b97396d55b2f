//! The command line with an example on every help page.

use clap::Command;

/// Returns `command` with its examples, and so for each of its subcommands.
pub(super) fn with_examples(command: Command) -> Command {
    add_examples(command, "nexudus-proxy")
}

fn add_examples(command: Command, path: &str) -> Command {
    let below: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = below.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}");
        command.mut_subcommand(name, |sub| add_examples(sub, &path))
    });
    let Some((_, examples)) = EXAMPLES.iter().find(|(known, _)| *known == path) else {
        return command;
    };
    let examples = format!("Examples:\n  {}", examples.join("\n  "));
    let before = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    let long = command.get_after_long_help().map(|text| format!("{text}\n\n{examples}"));
    let command = command.after_help(format!("{before}{examples}"));
    match long {
        Some(long) => command.after_long_help(long),
        None => command,
    }
}

/// The examples of each command. A test reads each one as a shell and the command line would.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("nexudus-proxy", &["nexudus-proxy login", "nexudus-proxy serve", "nexudus-proxy status"]),
    (
        "nexudus-proxy login",
        &[
            "nexudus-proxy login",
            "nexudus-proxy login --email ada@example.com --password-stdin < password.txt",
            "nexudus-proxy login --session-only --totp 123456",
        ],
    ),
    ("nexudus-proxy logout", &["nexudus-proxy logout", "nexudus-proxy logout --profile work"]),
    ("nexudus-proxy whoami", &["nexudus-proxy whoami", "nexudus-proxy whoami --json"]),
    ("nexudus-proxy doctor", &["nexudus-proxy doctor", "nexudus-proxy doctor --json"]),
    (
        "nexudus-proxy serve",
        &["nexudus-proxy serve", "nexudus-proxy serve --listen localhost:7000 --read-only"],
    ),
    ("nexudus-proxy demo", &["nexudus-proxy demo", "nexudus-proxy demo --token-life 5s"]),
    ("nexudus-proxy ca", &["nexudus-proxy ca show", "nexudus-proxy ca trust"]),
    ("nexudus-proxy ca show", &["nexudus-proxy ca show --json"]),
    (
        "nexudus-proxy ca export",
        &[
            "nexudus-proxy ca export localhost > localhost.pem",
            "nexudus-proxy ca export intercept --output intercept.pem",
        ],
    ),
    (
        "nexudus-proxy ca trust",
        &["nexudus-proxy ca trust", "sudo nexudus-proxy ca trust --system --yes"],
    ),
    ("nexudus-proxy ca untrust", &["nexudus-proxy ca untrust"]),
    ("nexudus-proxy ca rotate", &["nexudus-proxy ca rotate", "nexudus-proxy ca rotate intercept"]),
    (
        "nexudus-proxy client",
        &["nexudus-proxy client add reports --read-only", "nexudus-proxy client list"],
    ),
    (
        "nexudus-proxy client add",
        &[
            "nexudus-proxy client add reports --read-only --expires 30d",
            "nexudus-proxy client add agent --allow 'GET /api/spaces/**' --rate 5/s",
            "nexudus-proxy client add bot --ask 'DELETE /**' --max-writes 50/day --guide",
            "nexudus-proxy client add web --origin http://localhost:5173 --read-only",
        ],
    ),
    (
        "nexudus-proxy client set",
        &[
            "nexudus-proxy client set reports --rate 10/s",
            "nexudus-proxy client set agent --no-delete --clear expires",
        ],
    ),
    ("nexudus-proxy client rotate", &["nexudus-proxy client rotate reports"]),
    ("nexudus-proxy client list", &["nexudus-proxy client list --json"]),
    ("nexudus-proxy client revoke", &["nexudus-proxy client revoke reports"]),
    ("nexudus-proxy fleet", &["nexudus-proxy fleet status", "nexudus-proxy fleet leave"]),
    ("nexudus-proxy fleet status", &["nexudus-proxy fleet status --json"]),
    ("nexudus-proxy fleet leave", &["nexudus-proxy fleet leave --yes"]),
    ("nexudus-proxy approvals", &["nexudus-proxy approvals list", "nexudus-proxy approvals watch"]),
    ("nexudus-proxy approvals list", &["nexudus-proxy approvals list --json"]),
    ("nexudus-proxy approvals show", &["nexudus-proxy approvals show a7k2m9qx"]),
    (
        "nexudus-proxy approvals approve",
        &[
            "nexudus-proxy approvals approve a7k2m9qx",
            "nexudus-proxy approvals approve a7k2m9qx --for 10m --rule",
        ],
    ),
    ("nexudus-proxy approvals deny", &["nexudus-proxy approvals deny a7k2m9qx"]),
    ("nexudus-proxy approvals watch", &["nexudus-proxy approvals watch --json"]),
    ("nexudus-proxy audit", &["nexudus-proxy audit verify", "nexudus-proxy audit show"]),
    ("nexudus-proxy audit verify", &["nexudus-proxy audit verify --json"]),
    ("nexudus-proxy audit show", &["nexudus-proxy audit show --client agent"]),
    ("nexudus-proxy policy", &["nexudus-proxy policy explain GET /api/spaces/coworkers"]),
    (
        "nexudus-proxy policy explain",
        &[
            "nexudus-proxy policy explain GET /api/spaces/coworkers",
            "nexudus-proxy policy explain DELETE /api/spaces/coworkers/5 --client agent",
            "nexudus-proxy policy explain POST /api/spaces/coworkers/runcommand --command \
             COWORKER_DELETE",
        ],
    ),
    (
        "nexudus-proxy run",
        &["nexudus-proxy run -- python3 report.py", "nexudus-proxy run --read-only -- ./agent"],
    ),
    (
        "nexudus-proxy api",
        &[
            "nexudus-proxy api '/api/spaces/coworkers?size=10'",
            "nexudus-proxy api /api/spaces/coworkers --all --ndjson",
            "nexudus-proxy api POST /api/spaces/coworkers --input coworker.json",
        ],
    ),
    (
        "nexudus-proxy open",
        &["nexudus-proxy open '/ContentDownload/DownloadTempDataFile?uniqueId=1'"],
    ),
    (
        "nexudus-proxy env",
        &["eval \"$(nexudus-proxy env)\"", "nexudus-proxy env --shell fish | source"],
    ),
    ("nexudus-proxy status", &["nexudus-proxy status", "nexudus-proxy status --watch"]),
    ("nexudus-proxy wait", &["nexudus-proxy wait --timeout 1m", "nexudus-proxy wait --once"]),
    ("nexudus-proxy stop", &["nexudus-proxy stop"]),
    ("nexudus-proxy reload", &["nexudus-proxy reload"]),
    ("nexudus-proxy refresh", &["nexudus-proxy refresh"]),
    ("nexudus-proxy lock", &["nexudus-proxy lock"]),
    ("nexudus-proxy unlock", &["nexudus-proxy unlock"]),
    (
        "nexudus-proxy tail",
        &[
            "nexudus-proxy tail",
            "nexudus-proxy tail --status 4xx --client agent",
            "nexudus-proxy tail --har requests.har --with-queries",
        ],
    ),
    ("nexudus-proxy ui", &["nexudus-proxy ui", "nexudus-proxy ui --no-open --read-only"]),
    (
        "nexudus-proxy service",
        &["nexudus-proxy service install", "nexudus-proxy service logs --follow"],
    ),
    (
        "nexudus-proxy service install",
        &["nexudus-proxy service install", "sudo nexudus-proxy service install --system"],
    ),
    (
        "nexudus-proxy service uninstall",
        &[
            "nexudus-proxy service uninstall",
            "sudo nexudus-proxy service uninstall --system --purge",
        ],
    ),
    ("nexudus-proxy service start", &["nexudus-proxy service start"]),
    ("nexudus-proxy service stop", &["nexudus-proxy service stop"]),
    ("nexudus-proxy service status", &["nexudus-proxy service status --json"]),
    ("nexudus-proxy service logs", &["nexudus-proxy service logs -n 20 --follow"]),
    ("nexudus-proxy config", &["nexudus-proxy config init", "nexudus-proxy config show"]),
    ("nexudus-proxy config init", &["nexudus-proxy config init --force"]),
    ("nexudus-proxy config check", &["nexudus-proxy config check --config new.toml"]),
    ("nexudus-proxy config show", &["nexudus-proxy config show --profile work"]),
    ("nexudus-proxy config path", &["nexudus-proxy config path"]),
    ("nexudus-proxy config schema", &["nexudus-proxy config schema > schema.json"]),
    (
        "nexudus-proxy completions",
        &[
            "nexudus-proxy completions bash > ~/.local/share/bash-completion/completions/nexudus-proxy",
        ],
    ),
    ("nexudus-proxy man", &["nexudus-proxy man > nexudus-proxy.1"]),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn command() -> Command {
        with_examples(crate::cli::Cli::command())
    }

    /// Visits a command and all below it.
    fn walk(command: &Command, path: &str, visit: &mut impl FnMut(&Command, &str)) {
        visit(command, path);
        for sub in command.get_subcommands() {
            walk(sub, &format!("{path} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn every_help_page_has_an_example() {
        let mut without = vec![];
        walk(&command(), "nexudus-proxy", &mut |command, path| {
            let mut command = command.clone();
            let pages = [command.render_help(), command.render_long_help()];
            let is_shown =
                |page: &clap::builder::StyledStr| page.to_string().contains("Examples:\n");
            if !pages.iter().all(is_shown) {
                without.push(path.to_owned());
            }
        });
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn every_example_belongs_to_a_command_and_can_be_typed() {
        let mut paths = vec![];
        walk(&command(), "nexudus-proxy", &mut |_, path| paths.push(path.to_owned()));
        for (path, examples) in EXAMPLES {
            let is_elsewhere = cfg!(not(unix)) && *path == "nexudus-proxy run";
            assert!(paths.contains(&(*path).to_owned()) || is_elsewhere, "{path}");
            for example in *examples {
                let words = words(example);
                let parsed = command().try_get_matches_from(&words);
                let is_read = parsed.as_ref().err().is_none_or(|error| error.exit_code() == 0);
                assert!(is_read || is_elsewhere, "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    /// Splits an example as a shell does, without `sudo` and redirections.
    fn words(example: &str) -> Vec<String> {
        let command = example.trim_start_matches("sudo ").trim_start_matches("eval \"$(");
        let command = command.split(['<', '>', '|', ')']).next().unwrap();
        let mut parts = vec![];
        for (at, part) in command.split('\'').enumerate() {
            // Every second part stood in quotes.
            if at % 2 == 1 {
                parts.push(part.to_owned());
            } else {
                parts.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        parts
    }
}

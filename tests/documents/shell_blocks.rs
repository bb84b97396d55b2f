//! The blocks of the pages work as printed: each shell block is run, in the order of its page, or says
//! why a test cannot run it.
//!
//! An HTML comment on the line before a block says what becomes of it; no renderer shows it.
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- run -->` | must succeed (`sh`, `python`, `js`) |
//! | `<!-- prints -->` | the output of the block before; `…` stands for anything |
//! | `<!-- file: NAME -->` | is written below the home directory, for the blocks after it |
//! | `<!-- not run: REASON -->` | needs what a test has not |
//!
//! Every `toml` block must be a valid configuration, unless it says why it is none.

use crate::markdown::{Block, Page, pages};

/// The treatment of a block.
enum Treatment<'a> {
    Run,
    Compare,
    Write(&'a str),
    Leave,
}

/// A block that people would paste into a shell.
const SHELLS: [&str; 8] =
    ["sh", "bash", "console", "shell", "zsh", "fish", "powershell", "sh-session"];

#[test]
fn every_shell_block_is_run_or_says_why_not() {
    let mut unmarked = vec![];
    for page in pages() {
        for block in page.blocks() {
            let is_shell = SHELLS.contains(&block.language.as_str());
            let place = format!("{}:{}", page.name, block.line);
            if block.language.is_empty() {
                unmarked.push(format!("{place}: a block without a language: say `text` or `sh`"));
            } else if is_shell && treatment(&block).is_none() {
                unmarked.push(format!("{place}: say `<!-- run -->` or `<!-- not run: REASON -->`"));
            }
        }
    }
    assert!(unmarked.is_empty(), "\n{}", unmarked.join("\n"));
}

#[test]
fn every_page_with_a_block_to_run_has_a_test() {
    let has_one = |page: &Page| page.blocks().iter().any(|it| it.marker.as_deref() == Some("run"));
    let names = pages().into_iter().filter(has_one).map(|page| page.name);
    let untested: Vec<_> = names.filter(|name| !TESTED.contains(&name.as_str())).collect();
    assert!(untested.is_empty(), "add them to `tested!` below: {untested:?}");
}

fn treatment(block: &Block) -> Option<Treatment<'_>> {
    let marker = block.marker.as_deref()?;
    match marker {
        "run" => Some(Treatment::Run),
        "prints" => Some(Treatment::Compare),
        _ => match marker.split_once(": ")? {
            ("file", name) => Some(Treatment::Write(name)),
            ("not run", reason) if !reason.trim().is_empty() => Some(Treatment::Leave),
            _ => None,
        },
    }
}

/// Makes a test of each page.
macro_rules! tested {
    ($($test:ident: $page:literal,)*) => {
        const TESTED: &[&str] = &[$($page),*];
        $(
            #[cfg(target_os = "linux")]
            #[test]
            fn $test() {
                running::follow($page);
            }
        )*
    };
}

tested! {
    the_readme_works_as_printed: "README.md",
    the_page_about_installing_works_as_printed: "docs/install.md",
    the_page_about_tools_works_as_printed: "docs/tools.md",
    the_page_about_clients_works_as_printed: "docs/clients.md",
    the_page_about_redaction_works_as_printed: "docs/redaction.md",
    the_page_about_agents_works_as_printed: "docs/agents.md",
    the_page_about_the_audit_works_as_printed: "docs/audit.md",
    the_page_about_logins_works_as_printed: "docs/login.md",
    the_page_about_the_service_works_as_printed: "docs/service.md",
    the_page_about_certificates_works_as_printed: "docs/certificates.md",
    the_page_about_web_pages_works_as_printed: "docs/web-apps.md",
    the_page_about_throttling_works_as_printed: "docs/throttling.md",
    the_page_about_the_configuration_works_as_printed: "docs/configuration.md",
    the_page_about_the_admin_api_works_as_printed: "docs/admin-api.md",
    the_page_about_troubleshooting_works_as_printed: "docs/troubleshooting.md",
    the_page_about_limits_works_as_printed: "docs/limits.md",
    the_page_about_the_simulator_works_as_printed: "simulator/README.md",
}

#[cfg(target_os = "linux")]
mod running {
    use super::{Treatment, treatment};
    use crate::markdown::{Page, pages};
    use crate::reader::Reader;

    /// Does what a page says, from its first block to its last.
    pub(super) fn follow(name: &str) {
        let mut reader = Reader::new();
        let mut output = String::new();
        for block in Page::read(name).blocks() {
            let place = format!("{name}:{}", block.line);
            match treatment(&block) {
                Some(Treatment::Run) => {
                    let run = match block.language.as_str() {
                        "python" => reader.run(&["/usr/bin/python3", "-c"], &block.text),
                        "js" => reader.run(&["node", "--input-type=module", "--eval"], &block.text),
                        _ => reader.run(
                            &["bash", "-euo", "pipefail", "-c"],
                            // Both streams in the order in which a terminal shows them.
                            &format!("exec 2>&1\n{}", block.text),
                        ),
                    };
                    output = run.unwrap_or_else(|error| panic!("{place}\n{}{error}", block.text));
                }
                Some(Treatment::Compare) => assert!(
                    matches(&block.text, &output),
                    "{place}: expected\n{}\nprinted\n{output}",
                    block.text
                ),
                Some(Treatment::Write(file)) => reader.write(file, &block.text),
                Some(Treatment::Leave) | None => {}
            }
        }
    }

    #[test]
    fn every_toml_block_is_a_valid_configuration() {
        let reader = Reader::new();
        let mut wrong = vec![];
        for page in pages() {
            for block in page.blocks().iter().filter(|block| block.language == "toml") {
                if matches!(treatment(block), Some(Treatment::Leave)) {
                    continue;
                }
                if let Err(error) = reader.check_configuration(&block.text) {
                    wrong.push(format!("{}:{}\n{error}", page.name, block.line));
                }
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert!(matches("valid …, last …\n", "valid 6d 23h, last refresh 0s ago\n"));
        assert!(matches("{\"ready\":true, …}\n", "{\"ready\":true, \"reasons\":[]}\n"));
        assert!(!matches("locked …\n", "unlocked; token: none\n"));
        assert!(!matches("stopped\n", "stopped, but\n"));
    }

    /// Says whether an output is what a block shows, where `…` stands for anything.
    fn matches(shown: &str, output: &str) -> bool {
        let mut parts = shown.trim_end().split('…');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = output.trim_end().strip_prefix(first) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        rest.ends_with(last)
    }
}

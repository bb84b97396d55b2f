//! The page of the configuration keys: its tables are made from the list in `src/config`.
//!
//! `UPDATE_DOCS=1 cargo test --test documents configuration` writes them anew.

use std::fmt::Write as _;
use std::fs;

use nexudus_proxy::config::{KEYS, schema};

use crate::markdown::root;

#[test]
fn the_page_lists_every_key_as_the_program_has_it() {
    let path = root().join("docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();

    let made = format!("{head}{BEGIN}\n{}\n{END}{tail}", tables());

    crate::check("configuration.md", &made);
}

const BEGIN: &str = "<!-- The tables are generated: see tests/documents/configuration.rs. -->";
const END: &str = "<!-- The generated part ends here. -->";

fn tables() -> String {
    let schema = schema();
    let mut text = String::new();
    let mut section = None;
    for key in KEYS {
        if section != Some(key.section) {
            section = Some(key.section);
            let about = schema["properties"][key.section]["description"].as_str();
            let title = match key.section {
                "" => "[[host]]".to_owned(),
                name => format!("[{name}]"),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "\n## `{title}`\n\n");
            if let Some(about) = about {
                let _ = write!(text, "{about}\n\n");
            }
            text.push_str(
                "| key | default | takes | after a change | meaning |\n|---|---|---|---|---|\n",
            );
        }
        let flag = key.shorthand.map(|flag| format!(" Short flag: `--{flag}`."));
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} | {} | {}.{} |",
            key.name,
            key.default(),
            cell(&key.value_type.expected()),
            if key.is_reloadable { "reload" } else { "restart" },
            cell(key.doc),
            flag.unwrap_or_default(),
        );
    }
    text
}

/// Escapes what Markdown would take for markup inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;")
}

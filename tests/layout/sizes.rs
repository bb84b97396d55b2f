//! A file can be read in one sitting and a function on one screen: the code, the simulator and the
//! tests alike.

use std::fs;
use std::path::PathBuf;

use super::{root, rust_files};

/// A file longer than this is not read in one sitting: split it by what changes together.
const MAX_FILE_LINES: usize = 400;

/// A function longer than this does not fit on one screen, from its `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 50;

#[test]
fn a_file_can_be_read_in_one_sitting() {
    let mut wrong = vec![];
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            wrong.push(format!("{}: {lines} lines, more than {MAX_FILE_LINES}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_function_fits_on_one_screen() {
    let (mut seen, mut wrong) = (0, vec![]);
    for (path, text) in sources() {
        for (name, lines) in functions(&text) {
            seen += 1;
            if lines > MAX_FUNCTION_LINES {
                let path = path.display();
                wrong.push(format!("{path}: {name} has {lines} lines, not {MAX_FUNCTION_LINES}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 3_000, "only {seen} functions were found");
}

#[test]
fn the_length_of_a_function_is_counted_to_its_closing_brace() {
    assert_eq!(functions(SAMPLE), [("one", 1), ("four", 5), ("two", 2), ("three", 3)]);
}

const SAMPLE: &str = "\
fn one() {}
pub(in crate::a) async fn four(
) {
    if x {
    }
}
trait T {
    fn two(
    );
    /// A fn in words.
    fn three() {
        1
    }
}
";

/// Returns every source file that people read, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let folders = [
        "src",
        "ca/src",
        "ca/tests",
        "fleet/src",
        "fleet/tests",
        "h1/src",
        "redactor/src",
        "redactor/tests",
        "simulator/src",
        "tests",
    ];
    folders
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_owned(), text)
        })
        .collect()
}

/// Returns the name and the lines of each function, as the indentation has it: it ends with the
/// first line that is indented as its first one and closes a brace or a declaration.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let found = lines.iter().enumerate().filter_map(|(start, first)| {
        let name = function_name(first)?;
        let ends = |line: &&str| {
            let is_one_line = *line == *first && line.ends_with('}');
            let closes = line.trim_start().starts_with('}') || line.ends_with(';');
            indentation(line) == indentation(first) && (closes || is_one_line)
        };
        Some((name, lines[start..].iter().position(ends)? + 1))
    });
    found.collect()
}

/// Returns the name of the function that begins on a line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_qualifier = |word: &str| {
        word.starts_with("pub")
            || word.ends_with(')')
            || matches!(word, "const" | "async" | "unsafe")
    };
    let name = after.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    (before.split_whitespace().all(is_qualifier) && !name.is_empty()).then_some(name)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

//! Which file takes names from which other file, read from the text of a source folder.
//!
//! A path is followed through re-exports to the file that defines its item. A `pub use` alone is no
//! import: it only passes a name on. A file may name what the module above it declares (`super::…`):
//! parent and child are one module, so that arrow is not drawn. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{Source, rust_files};

/// The files of one crate and the names that each takes from the others.
pub(crate) struct Imports {
    files: BTreeMap<Vec<String>, Module>,
}

/// One file as a module.
struct Module {
    /// The path below the source folder.
    file: String,
    code: String,
    /// Names that this module passes on, with the path where each is found.
    exports: BTreeMap<String, Vec<String>>,
}

impl Imports {
    /// Reads every file below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        for path in rust_files(root) {
            let source = Source::read(&path, root);
            if source.is_test() || source.name == "main.rs" {
                continue;
            }
            let module = source.module_path();
            let exports = use_statements(&source.code)
                .filter(|(is_public, _)| *is_public)
                .flat_map(|(_, tree)| expand(tree))
                .map(|(path, name)| (name, path))
                .collect();
            files.insert(module, Module { file: source.name, code: source.code, exports });
        }
        Self { files }
    }

    /// Returns the arrows: from a file to a file, with the names that it takes.
    pub(crate) fn arrows(&self) -> BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> {
        let mut arrows: BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
        for (module, at) in &self.files {
            for path in self.paths_in(module, at) {
                if let Some((to, item)) = self.resolve(module, &path, 0)
                    && !self.is_above(to, module)
                {
                    arrows.entry(&at.file).or_default().entry(to).or_default().insert(item);
                }
            }
        }
        arrows
    }

    /// Says whether a file is this module's own or that of a module above it.
    fn is_above(&self, file: &str, module: &[String]) -> bool {
        (0..=module.len())
            .any(|length| self.files.get(&module[..length]).is_some_and(|it| it.file == file))
    }

    /// Every path that a file names: imported, written out, or through a child module.
    fn paths_in(&self, module: &[String], at: &Module) -> Vec<Vec<String>> {
        let imported = use_statements(&at.code)
            .filter(|(is_public, _)| !is_public)
            .flat_map(|(_, tree)| expand(tree))
            .map(|(path, _)| path);
        let body: String = without_use_statements(&at.code);
        let written = written_paths(&body, &["crate", "super", "self"]);
        let children: Vec<&str> = self
            .files
            .keys()
            .filter(|other| other.len() == module.len() + 1 && other.starts_with(module))
            .filter_map(|other| other.last().map(String::as_str))
            .collect();
        let through_children = written_paths(&body, &children);
        let own = through_children.into_iter().map(|path| [vec!["self".to_owned()], path].concat());
        imported.chain(written).chain(own).collect()
    }

    /// Finds the file that defines what a path names, seen from a module.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<(&str, String)> {
        let mut at = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
            }
            child => {
                at.push(child.to_owned());
                self.files.get(&at)?;
            }
        }
        rest = &rest[1..];
        while let Some(segment) = rest.first() {
            if segment == "super" {
                at.pop();
            } else if self.files.contains_key(&[at.clone(), vec![segment.clone()]].concat()) {
                at.push(segment.clone());
            } else {
                break;
            }
            rest = &rest[1..];
        }
        let module = self.files.get(&at)?;
        let Some(item) = rest.first() else { return Some((&module.file, "self".to_owned())) };
        if let Some(target) = module.exports.get(item).filter(|_| depth < 8) {
            let further = [target.clone(), rest[1..].to_vec()].concat();
            if let Some(found) = self.resolve(&at, &further, depth + 1) {
                return Some(found);
            }
        }
        Some((&module.file, item.clone()))
    }
}

/// Returns the circles: each as the files that reach each other.
pub(crate) fn circles(arrows: &BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>>) -> Vec<String> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|from| (*from, reachable(from, arrows))).collect();
    let mut found = BTreeSet::new();
    for (from, reached) in &reach {
        let circle: BTreeSet<&str> = reached
            .iter()
            .filter(|to| reach.get(**to).is_some_and(|back| back.contains(from)))
            .copied()
            .collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.iter().map(|circle| describe(circle, arrows)).collect()
}

fn reachable<'a>(
    from: &str,
    arrows: &BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<String>>>,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> =
        arrows.get(from).into_iter().flat_map(BTreeMap::keys).copied().collect();
    while let Some(to) = next.pop() {
        if found.insert(to) {
            next.extend(arrows.get(to).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}

fn describe(
    circle: &BTreeSet<&str>,
    arrows: &BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>>,
) -> String {
    let mut lines = vec![format!("a circle of {} files:", circle.len())];
    for from in circle {
        for (to, names) in
            arrows.get(from).into_iter().flatten().filter(|(to, _)| circle.contains(*to))
        {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines.push(format!("  {from} takes {} from {to}", names.join(", ")));
        }
    }
    lines.join("\n")
}

/// Each `use` statement: whether it is public, and its tree.
fn use_statements(code: &str) -> impl Iterator<Item = (bool, &str)> {
    statements(code).filter_map(|(_, text)| {
        let (visibility, tree) = text.split_once("use ")?;
        Some((visibility.starts_with("pub"), tree))
    })
}

fn without_use_statements(code: &str) -> String {
    let mut rest = code.to_owned();
    for (at, text) in statements(code).collect::<Vec<_>>().into_iter().rev() {
        rest.replace_range(at..at + text.len(), "");
    }
    rest
}

/// The `use` statements of a file with their places, up to the semicolon.
fn statements(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    code.split_inclusive('\n')
        .filter_map(move |line| {
            let start = at;
            at += line.len();
            let word = line.trim_start();
            let is_use =
                word.starts_with("use ") || word.starts_with("pub") && word.contains(" use ");
            let end = code[start..].find(';')?;
            is_use.then(|| (start, code[start..start + end].trim_start()))
        })
        .map(|(start, text)| (start + code[start..].find(text).unwrap_or_default(), text))
}

/// `a::{b, c::{self, d as e}}` → the path and the name of each leaf.
fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = vec![];
    expand_into(&tree, &[], &mut found);
    found
}

fn expand_into(tree: &str, above: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some((head, list)) = tree.split_once('{') {
        let head = [above.to_vec(), segments(head)].concat();
        for item in crate::top_level(list) {
            expand_into(item, &head, found);
        }
        return;
    }
    let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path = [above.to_vec(), segments(path)].concat();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name =
        if name.is_empty() { path.last().cloned().unwrap_or_default() } else { name.to_owned() };
    if !path.is_empty() {
        found.push((path, name));
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
}

/// Paths in running code that begin with one of these words.
fn written_paths(code: &str, first: &[&str]) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = vec![];
    for word in first {
        for (at, _) in code.match_indices(&format!("{word}::")) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if is_word(before) || before == ':' {
                continue;
            }
            let end = code[at..].find(|c: char| !is_word(c) && c != ':').unwrap_or(code.len() - at);
            found.push(segments(&code[at..at + end]));
        }
    }
    found
}

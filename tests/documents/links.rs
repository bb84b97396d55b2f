//! Links, named files and the table of contents: each leads to something that exists.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::markdown::{Page, files, name_of, pages, root};

#[test]
fn every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut dead = vec![];
    for page in pages() {
        for link in page.links() {
            if !link.contains("://") && !link.starts_with("mailto:") && !is_alive(&page, &link) {
                dead.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    let all: Vec<String> = files(root()).iter().map(|path| name_of(path)).collect();
    let mut missing = vec![];
    // The changelog speaks of files of its time.
    for page in pages().into_iter().filter(|page| page.name != "CHANGELOG.md") {
        for name in page.code_spans().into_iter().filter(|span| is_source_file(span)) {
            let end = format!("/{name}");
            if !all.iter().any(|file| *file == name || file.ends_with(&end)) {
                missing.push(format!("{}: {name}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn every_function_in_the_diagrams_of_the_map_exists() {
    let sources =
        files(&root().join("src")).into_iter().filter(|path| name_of(path).ends_with(".rs"));
    let sources: String = sources.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let blocks = Page::read("ARCHITECTURE.md").blocks();
    let diagrams = blocks.iter().filter(|block| block.marker.as_deref() == Some("names functions"));

    let words = diagrams.flat_map(|block| {
        block.text.split(|c: char| !c.is_ascii_alphanumeric() && !"_:.".contains(c))
    });
    // `module::function` and `value.method`.
    let named: BTreeSet<&str> = words
        .filter_map(|word| Some(word.rsplit_once([':', '.'])?.1))
        .filter(|it| !it.is_empty())
        .collect();
    let exists =
        |name: &str| ["(", "<"].iter().any(|it| sources.contains(&format!("fn {name}{it}")));
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();

    assert!(named.len() > 5 && missing.is_empty(), "of {named:?} these are missing: {missing:?}");
}

#[test]
fn the_table_of_contents_names_every_page_below_docs_once() {
    let mut listed = Page::read("docs/SUMMARY.md").links();
    listed.retain(|link| !link.starts_with("../"));
    listed.sort();

    let all = pages();
    let below = all.iter().filter_map(|page| page.name.strip_prefix("docs/"));
    let below: Vec<&str> = below.filter(|name| *name != "SUMMARY.md").collect();

    let missing: Vec<_> =
        below.iter().filter(|name| !listed.iter().any(|it| it == *name)).collect();
    let unknown: Vec<_> = listed.iter().filter(|name| !below.contains(&name.as_str())).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    assert_eq!(listed, below, "a page stands twice");
}

#[test]
fn the_readme_is_short_enough_to_be_read() {
    let lines = std::fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(
        lines <= 150,
        "README.md has {lines} lines: move what is not for every reader to docs/"
    );
}

fn is_alive(page: &Page, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.name.clone(),
        path => resolve(&page.name, path),
    };
    let is_there = root().join(&target).exists();
    is_there && (anchor.is_empty() || Page::read(&target).anchors().contains(anchor))
}

/// Returns the path below the root that a relative link of a page means.
fn resolve(page: &str, link: &str) -> String {
    let directory = Path::new(page).parent().unwrap();
    let mut parts: Vec<&str> = vec![];
    let joined = directory.join(link);
    for component in joined.components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

fn is_source_file(span: &str) -> bool {
    let kinds: BTreeSet<&str> = ["rs", "sh", "py", "toml", "service", "socket", "plist"].into();
    let has_kind = span.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(kind));
    let is_path = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    has_kind
        && is_path
        && !span.contains("NAME")
        && span.contains('/')
        && !span.starts_with(['/', '~', '.'])
}

//! The parts of a Markdown page that the tests look at: fenced blocks, headings, links, code spans.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A page of the documentation.
pub(crate) struct Page {
    /// The path below the root of the repository.
    pub(crate) name: String,
    text: String,
}

/// A fenced block of a page.
pub(crate) struct Block {
    /// The line of its opening fence, from 1.
    pub(crate) line: usize,
    /// The first word after the opening fence.
    pub(crate) language: String,
    /// The lines between the fences, without the indentation of the opening fence.
    pub(crate) text: String,
    /// The one-line HTML comment right before the block.
    pub(crate) marker: Option<String>,
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads every Markdown page of the repository.
pub(crate) fn pages() -> Vec<Page> {
    let paths =
        files(root()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "md"));
    let mut pages: Vec<_> = paths.map(|path| Page::read(&name_of(&path))).collect();
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(pages.len() > 10, "few pages were found");
    pages
}

/// Returns the path of a file below the root, with slashes.
pub(crate) fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// Returns every file of the repository, without hidden directories and what a build leaves.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_left_out = ["target", "corpus", "artifacts"].contains(&name.as_str());
        if entry.file_type().unwrap().is_dir() {
            if !is_left_out && !name.starts_with('.') {
                found.extend(files(&entry.path()));
            }
        } else {
            found.push(entry.path());
        }
    }
    found
}

impl Page {
    /// Reads a page by its path below the root.
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap();
        Self { name: name.to_owned(), text }
    }

    /// Returns the fenced blocks, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![];
        let mut before: Option<&str> = None;
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(info) = line.trim_start().strip_prefix("```") else {
                before = Some(line.trim()).filter(|line| !line.is_empty()).or(before);
                continue;
            };
            let indentation = line.len() - line.trim_start().len();
            let content = lines.by_ref().map(|(_, line)| line);
            let content = content.take_while(|line| line.trim() != "```");
            let content = content.map(|line| line.get(indentation..).unwrap_or_default());
            blocks.push(Block {
                line: number + 1,
                language: info.split([' ', ',']).next().unwrap().to_owned(),
                text: content.map(|line| format!("{line}\n")).collect(),
                marker: before.take().and_then(comment).map(str::to_owned),
            });
        }
        blocks
    }

    /// Returns the anchors of the headings, as GitHub and mdBook make them.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for line in self.prose().lines().filter(|line| line.starts_with('#')) {
            let anchor = anchor(line.trim_start_matches('#').trim());
            let again = (1..).map(|count| format!("{anchor}-{count}"));
            let free = [anchor.clone()].into_iter().chain(again).find(|it| !anchors.contains(it));
            anchors.extend(free);
        }
        anchors
    }

    /// Returns the targets of the links and images.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.map(str::to_owned).collect()
    }

    /// Returns the texts in backticks.
    pub(crate) fn code_spans(&self) -> Vec<String> {
        self.without_blocks().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Returns the page without its code.
    fn prose(&self) -> String {
        let text = self.without_blocks();
        // A heading keeps the words in backticks: they are part of its anchor.
        let lines = text.lines().map(|line| {
            if line.starts_with('#') {
                line.replace('`', "")
            } else {
                line.split('`').step_by(2).collect::<Vec<_>>().join("code")
            }
        });
        lines.map(|line| line + "\n").collect()
    }

    fn without_blocks(&self) -> String {
        let mut is_inside = false;
        let mut text = String::new();
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            is_inside ^= is_fence;
            if !is_inside && !is_fence {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

fn comment(line: &str) -> Option<&str> {
    Some(line.strip_prefix("<!--")?.strip_suffix("-->")?.trim())
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect()
}

//! Rules compiled to one trie over the segments of paths, so that a match costs about the same
//! whatever their number.
//!
//! A node is what some rules have in common at their beginning. A walk keeps the nodes that the
//! path has reached so far: one for each way to read the rules' wildcards, hence few. From each of
//! them a segment leads on by its text (a binary search), by the globs that begin or end as the
//! segment does, and through `**`. Only globs with a `*` at both ends (`*x*`) are tried one by one.
//! `docs/decisions/41-rules-are-one-trie.md` has the alternatives and the figures.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use super::rule::{Rule, Segment, glob_matches, next_segment, without_extension};

/// Rules in their order, compiled. Clones share them. Matching a usual path allocates nothing.
#[derive(Clone)]
pub struct RuleSet(Arc<Compiled>);

struct Compiled {
    rules: Vec<Rule>,
    nodes: Vec<Node>,
}

/// Which rules of a set are about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleMatches {
    /// The position of the first rule that decides by itself.
    pub first: Option<usize>,
    /// Whether a rule decides as soon as the command is known.
    pub has_command: bool,
}

impl RuleSet {
    /// Adds to `found` the rules that are about this request, as
    /// [`Rule::matches_ignoring_extensions`] has it; `path` is one reading of its path.
    pub fn find_ignoring_extensions(&self, method: &str, path: &str, found: &mut RuleMatches) {
        self.visit(method, path, Reading::WithoutExtensions, |at| {
            if self.0.rules[at].is_command() {
                found.has_command = true;
            } else {
                found.first = Some(found.first.map_or(at, |first| first.min(at)));
            }
        });
    }

    /// Returns the rules about commands that are about this request, in their order, as
    /// [`Rule::matches_ignoring_extensions`] has it.
    pub fn commands_ignoring_extensions(&self, method: &str, path: &str) -> Vec<&Rule> {
        let mut found = vec![];
        self.visit(method, path, Reading::WithoutExtensions, |at| found.push(at));
        found.sort_unstable();
        // A command's rule may end in two places.
        found.dedup();
        found.into_iter().map(|at| &self.0.rules[at]).filter(|rule| rule.is_command()).collect()
    }

    /// Returns the rules that are about this request, in their order, as [`Rule::matches`] has it.
    /// Of rules that are about the same requests, the first stands for all.
    pub fn all(&self, method: &str, path: &str) -> impl Iterator<Item = &Rule> {
        let mut found = SmallVec::<[usize; 8]>::new();
        self.visit(method, path, Reading::Whole, |at| found.push(at));
        found.sort_unstable();
        found.into_iter().map(|at| &self.0.rules[at])
    }

    /// Calls `each` with the position of every rule that is about this request.
    fn visit(&self, method: &str, path: &str, reading: Reading, mut each: impl FnMut(usize)) {
        if self.is_empty() {
            return;
        }
        let nodes = &self.0.nodes;
        let (mut reached, mut next) = (NodeIds::new(), NodeIds::new());
        reach(nodes, ROOT, &mut reached);
        let mut rest = path;
        while let Some((segment, after)) = next_segment(rest) {
            next.clear();
            let mut lower = SmallVec::<[u8; 64]>::from_slice(segment.as_bytes());
            lower.make_ascii_lowercase();
            for node in &reached {
                let node = &nodes[*node as usize];
                if let Some(itself) = node.is_any {
                    reach(nodes, itself, &mut next);
                }
                match reading {
                    Reading::Whole => node.follow(&lower, |to| reach(nodes, to, &mut next)),
                    Reading::WithoutExtensions => without_extension(&lower)
                        .for_each(|text| node.follow(text, |to| reach(nodes, to, &mut next))),
                }
            }
            if next.is_empty() {
                return;
            }
            // More than one way may lead to a node.
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut reached, &mut next);
            rest = after;
        }
        let ends = reached.iter().flat_map(|node| &nodes[*node as usize].ends);
        ends.filter(|end| end.is_about(method, reading)).for_each(|end| each(end.rule));
    }
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As [`Rule::matches`] does.
    Whole,
    /// As [`Rule::matches_ignoring_extensions`] does.
    WithoutExtensions,
}

type NodeIds = SmallVec<[u32; 16]>;

const ROOT: u32 = 0;

/// Adds a node, and those that `**` leads to without a segment.
fn reach(nodes: &[Node], mut node: u32, reached: &mut NodeIds) {
    loop {
        reached.push(node);
        match nodes[node as usize].any {
            Some(any) => node = any,
            None => return,
        }
    }
}

/// The rules that begin alike.
#[derive(Default)]
struct Node {
    /// The segments without `*` that lead on, ordered as [`search`] wants them.
    literals: Globs,
    by_prefix: GlobIndex,
    by_suffix: GlobIndex,
    /// The globs with neither.
    others: Globs,
    /// Where `**` leads.
    any: Option<u32>,
    /// The node itself, if `**` led to it: there it stays, whatever the segment.
    is_any: Option<u32>,
    ends: Vec<End>,
}

/// A rule that ends at a node.
struct End {
    method: Option<Box<str>>,
    is_command: bool,
    /// Whether only a server that takes more segments behind a command comes here.
    is_beyond: bool,
    /// The first of the rules that are about the same requests.
    rule: usize,
}

impl End {
    fn is_about(&self, method: &str, reading: Reading) -> bool {
        let is_method = self
            .method
            .as_deref()
            .is_none_or(|ours| ours == method || (ours == "GET" && method == "HEAD"));
        // A command is sent by POST, unless a server knows better.
        let is_strict = reading == Reading::Whole && self.is_command;
        is_method && !(is_strict && (self.is_beyond || method != "POST"))
    }
}

/// Texts or globs, each with the node that it leads to.
type Globs = Vec<(Box<[u8]>, u32)>;

/// Globs by the longest text that they begin with, or end with.
#[derive(Default)]
struct GlobIndex {
    /// The lengths of the texts.
    lengths: Vec<usize>,
    globs: Vec<(Box<[u8]>, Globs)>,
}

impl Node {
    /// Calls `to` with each node that a segment in lower case leads to.
    fn follow(&self, text: &[u8], mut to: impl FnMut(u32)) {
        if let Ok(at) = search(&self.literals, text) {
            to(self.literals[at].1);
        }
        let within = |index: &GlobIndex,
                      edge: fn(&[u8], usize) -> Option<&[u8]>,
                      to: &mut dyn FnMut(u32)| {
            let edges = index.lengths.iter().filter_map(|length| edge(text, *length));
            let found = edges.filter_map(|edge| search(&index.globs, edge).ok());
            found.for_each(|at| fitting(&index.globs[at].1, text).for_each(&mut *to));
        };
        within(&self.by_prefix, |text, length| text.get(..length), &mut to);
        within(
            &self.by_suffix,
            |text, length| text.get(text.len().checked_sub(length)?..),
            &mut to,
        );
        fitting(&self.others, text).for_each(to);
    }
}

fn fitting<'a>(globs: &'a [(Box<[u8]>, u32)], text: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    globs.iter().filter(|(glob, _)| glob_matches(glob, text)).map(|(_, to)| *to)
}

/// Finds a text among texts ordered by length, then by bytes: most comparisons are of two numbers.
fn search<T>(texts: &[(Box<[u8]>, T)], wanted: &[u8]) -> Result<usize, usize> {
    texts.binary_search_by(|(text, _)| (text.len(), &**text).cmp(&(wanted.len(), wanted)))
}

impl Compiled {
    fn new(rules: Vec<Rule>) -> Self {
        let mut compiled = Self { rules: vec![], nodes: vec![Node::default()] };
        for (at, rule) in rules.iter().enumerate() {
            let end = rule.segments.iter().fold(ROOT, |node, it| compiled.child(node, it));
            compiled.end(end, rule, at, false);
            if rule.is_command() {
                let beyond = compiled.child(end, &Segment::Any);
                compiled.end(beyond, rule, at, true);
            }
        }
        compiled.rules = rules;
        compiled
    }

    fn end(&mut self, node: u32, rule: &Rule, at: usize, is_beyond: bool) {
        let (method, is_command) = (rule.method.as_deref(), rule.is_command());
        let ends = &mut self.nodes[node as usize].ends;
        // Rules about commands differ in their keys.
        let is_same = |end: &End| !is_command && !end.is_command && end.method.as_deref() == method;
        if !ends.iter().any(is_same) {
            ends.push(End { method: method.map(Box::from), is_command, is_beyond, rule: at });
        }
    }

    /// Returns the node that a segment of a rule leads to, which is made if there is none.
    fn child(&mut self, node: u32, segment: &Segment) -> u32 {
        let next = u32::try_from(self.nodes.len()).expect("there are fewer rules");
        let from = &mut self.nodes[node as usize];
        let found = match segment {
            Segment::Any => *from.any.get_or_insert(next),
            Segment::One(glob) => from.insert(glob.as_bytes(), next),
        };
        if found == next {
            let is_any = (*segment == Segment::Any).then_some(next);
            self.nodes.push(Node { is_any, ..Node::default() });
        }
        found
    }
}

impl Node {
    /// Returns where this glob leads; to `next` if it is new.
    fn insert(&mut self, glob: &[u8], next: u32) -> u32 {
        let is_star = |byte: &u8| *byte == b'*';
        let Some(first) = glob.iter().position(is_star) else {
            return match search(&self.literals, glob) {
                Ok(at) => self.literals[at].1,
                Err(at) => {
                    self.literals.insert(at, (glob.into(), next));
                    next
                }
            };
        };
        let last = glob.iter().rposition(is_star).unwrap_or(first);
        let (prefix, suffix) = (&glob[..first], &glob[last + 1..]);
        if prefix.is_empty() && suffix.is_empty() {
            insert_glob(&mut self.others, glob, next)
        } else if prefix.len() >= suffix.len() {
            self.by_prefix.insert(prefix, glob, next)
        } else {
            self.by_suffix.insert(suffix, glob, next)
        }
    }
}

impl GlobIndex {
    fn insert(&mut self, edge: &[u8], glob: &[u8], next: u32) -> u32 {
        if !self.lengths.contains(&edge.len()) {
            self.lengths.push(edge.len());
        }
        let at = search(&self.globs, edge).unwrap_or_else(|at| {
            self.globs.insert(at, (edge.into(), vec![]));
            at
        });
        insert_glob(&mut self.globs[at].1, glob, next)
    }
}

fn insert_glob(globs: &mut Globs, glob: &[u8], next: u32) -> u32 {
    match globs.iter().find(|(known, _)| **known == *glob) {
        Some((_, to)) => *to,
        None => {
            globs.push((glob.into(), next));
            next
        }
    }
}

impl From<Vec<Rule>> for RuleSet {
    fn from(rules: Vec<Rule>) -> Self {
        Self(Arc::new(Compiled::new(rules)))
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        rules.into_iter().collect::<Vec<_>>().into()
    }
}

impl Default for RuleSet {
    fn default() -> Self {
        vec![].into()
    }
}

impl Deref for RuleSet {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.0.rules
    }
}

impl PartialEq for RuleSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.rules == other.0.rules
    }
}

impl Eq for RuleSet {}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.rules.fmt(f)
    }
}

#[cfg(test)]
mod tests;
